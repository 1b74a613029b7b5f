//! Behaviour tests: one file per behaviour.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod baggage;
mod bodies;
mod cancelled;
mod support;
mod traits;
mod vectors;

#[cfg(feature = "tokio")]
mod ambient;
#[cfg(feature = "tokio")]
mod echo;
#[cfg(feature = "tokio")]
mod fuzzed;
#[cfg(feature = "tokio")]
mod identity;
#[cfg(feature = "tokio")]
mod outbound;

#[cfg(feature = "observe")]
mod observe_corners;
#[cfg(feature = "observe")]
mod observe_ends;
#[cfg(feature = "observe")]
mod observe_errors;
#[cfg(feature = "observe")]
mod observe_lines;
#[cfg(feature = "observe")]
mod observe_metrics;
#[cfg(feature = "observe")]
mod observe_outcomes;
#[cfg(feature = "observe")]
mod observe_sampling;
#[cfg(feature = "observe")]
mod observe_spans;
#[cfg(feature = "observe")]
mod observe_threshold;
#[cfg(feature = "observe")]
mod observed;
#[cfg(all(feature = "tokio", feature = "tracing"))]
mod spans;

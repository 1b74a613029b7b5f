//! Behaviour tests: one file per behaviour.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod attacks;
mod auto_traits;
mod behaviours;
mod behaviours_ours;
mod bodies;
mod bulkhead;
mod differential;
mod edges;
mod expectations;
mod fallback;
mod handle;
mod hosts;
mod keyed;
mod machine;
mod metrics;
mod outcomes;
mod probing;
mod readiness;
mod readiness_random;
mod reentrant;
#[cfg(feature = "retry")]
mod retry_edges;
#[cfg(feature = "retry")]
mod retry_grpc;
#[cfg(feature = "retry")]
mod retry_replay;
#[cfg(feature = "retry")]
mod retry_rules;
#[cfg(feature = "retry")]
mod retry_support;
#[cfg(feature = "retry")]
mod retry_time;
#[cfg(feature = "retry")]
mod retry_tower;
mod simulation;
#[cfg(feature = "stack")]
mod stack;
#[cfg(feature = "stack")]
mod stack_bodies;
mod support;
#[cfg(feature = "throttle")]
mod throttle;
mod uploads;

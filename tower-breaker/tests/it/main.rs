//! Behaviour tests: one file per behaviour.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod bulkhead;
mod machine;
mod outcomes;
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
#[cfg(feature = "stack")]
mod stack;
mod support;
#[cfg(feature = "throttle")]
mod throttle;
mod keyed;
mod fallback;
mod readiness;
mod behaviours;
mod hosts;
mod auto_traits;
mod metrics;
mod simulation;

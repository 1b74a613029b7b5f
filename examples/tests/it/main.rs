//! What only shows when the crates meet.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod dated_api;
#[cfg(feature = "grpc")]
mod failing_trailers;
mod gateway_messages;
mod golden_rejections;
mod issuer;
#[cfg(all(feature = "grpc", feature = "reqwest"))]
mod one_id;
mod readme;
mod rest;
mod roles;
mod shared_state;
mod stacks;
#[path = "../tokens/mod.rs"]
mod tokens;
mod trace_relay;

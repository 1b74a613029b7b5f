//! What only shows when the crates meet.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod dated_api;
mod golden_rejections;
mod readme;
mod rest;
mod roles;
mod shared_state;
mod stacks;
#[path = "../tokens/mod.rs"]
mod tokens;

//! What only shows when the crates meet.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod readme;
mod roles;

//! The crate as its users see it.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod client;
mod layer;
mod remote;
mod support;
mod verify;

//! Behaviour tests: one file per behaviour.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod vectors;

#[cfg(feature = "tokio")]
mod ambient;
#[cfg(feature = "tokio")]
mod echo;
#[cfg(feature = "tokio")]
mod fuzzed;
#[cfg(feature = "tokio")]
mod identity;

//! Behaviour tests: one file per behaviour.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod bulkhead;
mod machine;
mod outcomes;
mod support;
mod keyed;
mod fallback;

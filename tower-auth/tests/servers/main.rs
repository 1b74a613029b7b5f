//! The crate with a real OpenID provider.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

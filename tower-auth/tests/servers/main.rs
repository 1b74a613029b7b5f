//! The crate with programs that are not ours: an OpenID provider and JWT libraries, which `scripts/test` installs.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod differential;
mod http;
mod provider;

//! The decisions of this crate, as pure functions and values: no clock, randomness, lock, task or I/O in here.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub(crate) mod base64url;
pub(crate) mod challenge;
pub(crate) mod claims;
pub(crate) mod der;
pub(crate) mod document;
#[cfg(feature = "dpop")]
pub(crate) mod dpop;
#[cfg(feature = "introspection")]
pub(crate) mod introspection;
pub(crate) mod json;
pub(crate) mod jwk;
pub(crate) mod jws;
#[cfg(feature = "metadata")]
pub(crate) mod metadata;
pub(crate) mod refresh;
pub(crate) mod typed;
pub(crate) mod unauthorized;
pub(crate) mod validation;

//! The crate as its users see it.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod attacks;
mod attacks_claims;
mod attacks_confusion;
mod attacks_header;
mod attacks_issuer;
mod attacks_json;
mod attacks_keys;
mod attacks_kid;
mod attacks_signature;
mod attacks_state;
mod attacks_transport;
mod client;
mod client_forward;
mod client_hostile;
mod client_retry;
mod client_tokens;
mod discovery;
#[cfg(feature = "dpop")]
mod dpop;
#[cfg(feature = "dpop")]
mod dpop_proofs;
#[cfg(feature = "axum")]
mod extractors;
mod generators;
mod grpc;
#[cfg(feature = "introspection")]
mod introspection;
mod issuer_hostile;
mod keysets;
mod layer;
#[cfg(feature = "metadata")]
mod metadata;
mod nested;
mod preflight;
mod remote;
mod render;
mod rules;
mod secrets;
mod secrets_of_types;
mod single_flight;
mod sources;
mod spawning;
mod support;
mod vectors;
mod verify;

//! Behaviour tests: one file per behaviour.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod attacks;
mod auto_traits;
mod bad_input;
mod behaviours;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod client_fields;
#[cfg(feature = "client")]
mod client_vectors;
mod generated;
mod lifecycle;
mod media_types;
mod metrics;
#[cfg(feature = "migrate")]
mod migrate;
#[cfg(feature = "migrate")]
mod migrate_attacks;
#[cfg(feature = "migrate")]
mod migrate_documents;
#[cfg(feature = "migrate")]
mod migrate_http;
#[cfg(feature = "migrate")]
mod migrate_tags;
mod negotiation;
mod properties;
mod ranges;
mod reload;
mod resolving;
mod router;
mod rules;
mod selection;
mod sources;
mod suites;
mod support;
mod versions;
mod ways;

#[cfg(feature = "axum")]
mod mounting;

//! Behaviour tests: one file per behaviour.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod auto_traits;
mod bodies;
mod budget;
mod bypass;
mod cancel;
mod cancel_threads;
mod cancel_world;
mod collapse;
mod conditional;
mod corners;
mod dice;
#[cfg(feature = "etag")]
mod etag;
mod failing_store;
mod freshness;
mod freshness_model;
mod freshness_tables;
mod freshness_world;
mod generators;
mod head;
mod herds;
mod hostile;
mod hot;
mod invalidation;
mod leaks;
mod leaks_model;
mod leaks_purge;
mod leaks_world;
mod leases;
mod lifetimes;
mod malformed;
mod metrics;
mod nested;
mod others;
mod partition;
mod post;
mod pressure;
mod purge;
mod purge_points;
mod purge_threads;
mod ranges;
mod readiness;
mod refresh;
mod refresh_ahead;
mod revalidation;
mod sharing;
mod status;
mod storing;
mod support;
#[cfg(feature = "tags")]
mod tags;
mod vary;
mod waits;

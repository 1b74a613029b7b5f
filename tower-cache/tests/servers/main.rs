//! `RedisStore` against real servers: `redis-server` and `redis-cli` must be installed.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod cluster;
mod faults;
mod load;
mod processes;
mod purging;
mod rubbish;
mod server;
mod sharing;
mod support;
mod tls;

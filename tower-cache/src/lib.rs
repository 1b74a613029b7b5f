#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
#[cfg(feature = "axum")]
mod axum;
mod body;
mod builder;
mod cache;
mod content;
mod error;
mod etag;
mod fill;
mod flight;
mod flights;
mod grpc;
mod guard;
mod handle;
mod layer;
mod lead;
mod look;
mod metrics;
#[cfg(loom)]
#[doc(hidden)]
pub mod model;
mod passing;
mod plan;
mod policy;
mod problem;
mod reference;
mod refresh;
mod renew;
mod service;
mod status;
mod sync;

#[doc(hidden)]
pub mod door;
pub mod future;
pub mod key;
pub mod outcome;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
pub mod rejection;
pub mod spawn;
pub mod store;
#[cfg(feature = "tags")]
#[cfg_attr(docsrs, doc(cfg(feature = "tags")))]
pub mod tags;

pub use body::ResponseBody;
pub use builder::CacheBuilder;
pub use cache::Cache;
pub use error::{BoxError, CacheError, ConfigError};
pub use handle::{CacheHandle, Statistics};
pub use layer::CacheLayer;
pub use outcome::{CacheBypass, CacheOnly, CacheOutcome};
pub use service::CacheService;
pub use store::{MemoryStore, Store};

#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod breaker;
mod builder;
mod cells;
#[cfg(test)]
mod checks;
mod circuit;
mod defect;
mod error;
mod events;
mod gate;
mod grpc;
mod guarded;
mod hot;
mod http;
mod metrics;
mod name;
mod observer;
mod permit;
mod policy;
mod problem;
#[cfg(any(feature = "retry", feature = "throttle"))]
mod random;
mod rejection;
mod seat;
mod sync;

pub mod bulkhead;
pub mod classify;
pub mod clock;
pub mod fallback;
pub mod keyed;
pub mod layer;
#[cfg(loom)]
#[doc(hidden)]
pub mod model;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "stack")]
pub mod stack;
#[cfg(feature = "throttle")]
pub mod throttle;

pub use body::ResponseBody;
pub use breaker::{Breaker, Snapshot};
pub use builder::BreakerBuilder;
pub use bulkhead::{Bulkhead, BulkheadLayer, HttpBulkheadLayer};
pub use clock::Clock;
pub use error::{BoxError, ConfigError, Error, RejectReason, Rejected, find_rejection};
pub use events::{Event, Subscription};
pub use gate::Mode;
pub use guarded::GuardedBody;
pub use http::HttpBreakerLayer;
pub use keyed::{HttpKeyedBreakerLayer, KeyedBreaker, KeyedBreakerLayer};
pub use layer::BreakerLayer;
pub use permit::Permit;
pub use policy::{CancelPolicy, OpenPeriod, Outcome, State, Verdict};
pub use rejection::{Negotiated, RenderRejection};

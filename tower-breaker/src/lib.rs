#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod breaker;
mod builder;
mod error;
mod metrics;
mod permit;
mod policy;

pub mod classify;

pub use breaker::{Breaker, Snapshot};
pub use builder::BreakerBuilder;
pub use error::{BoxError, ConfigError, Error, RejectReason, Rejected, find_rejection};
pub use permit::Permit;
pub use policy::{CancelPolicy, OpenPeriod, Outcome, State, Verdict};

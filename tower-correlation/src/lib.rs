#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod ambient;
mod body;
mod context;
pub mod echo;
mod error;
mod fields;
mod generate;
mod layer;
mod metrics;
#[cfg(feature = "observe")]
pub mod observe;
mod policy;
pub mod problem;
mod propagate;
mod span;

pub use ambient::{InCurrentCorrelation, Scoped, current, scope, scope_sync};
#[cfg(feature = "tokio")]
pub use ambient::{spawn, spawn_blocking};
pub use body::ResponseBody;
pub use context::Correlation;
#[cfg(feature = "axum")]
pub use context::MissingLayer;
pub use error::ConfigError;
pub use generate::Generator;
pub use layer::{CorrelationLayer, CorrelationService, ResponseFuture, Trust};
pub use policy::id::CorrelationId;
pub use policy::inbound::{Origin, Replaced, Validation, ValidationBuilder};
pub use propagate::{Propagate, PropagateLayer};

/// W3C Trace Context and Baggage.
pub mod trace {
    pub use crate::fields::{extract, inject};
    pub use crate::policy::baggage::{Baggage, BaggageLimits};
    pub use crate::policy::state::TraceState;
    pub use crate::policy::trace::TraceParent;
}

#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod context;
pub mod echo;
mod generate;
mod layer;
mod metrics;
mod policy;
pub mod problem;
mod propagate;
mod span;

pub use body::ResponseBody;
pub use context::Correlation;
#[cfg(feature = "axum")]
pub use context::MissingLayer;
#[cfg(feature = "tokio")]
pub use context::{InCurrentCorrelation, current, scope, scope_sync, spawn, spawn_blocking};
pub use generate::Generator;
pub use layer::{CorrelationLayer, CorrelationService, ResponseFuture, Trust};
pub use policy::id::CorrelationId;
pub use policy::inbound::{Origin, Replaced, Validation};
pub use propagate::{Propagate, PropagateLayer};

/// W3C Trace Context and Baggage.
pub mod trace {
    pub use crate::policy::baggage::{Baggage, BaggageLimits};
    pub use crate::policy::state::TraceState;
    pub use crate::policy::trace::TraceParent;
}

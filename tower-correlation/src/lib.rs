#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod context;
mod generate;
mod layer;
mod metrics;
mod policy;
mod propagate;
mod span;

pub use body::ResponseBody;
pub use context::Correlation;
#[cfg(feature = "axum")]
pub use context::MissingLayer;
#[cfg(feature = "tokio")]
pub use context::{current, scope, spawn, spawn_blocking};
pub use generate::Generator;
pub use layer::{CorrelationLayer, CorrelationService, ResponseFuture, Trust};
pub use policy::id::CorrelationId;
pub use policy::inbound::{Origin, Replaced, Validation};
pub use propagate::{Propagate, PropagateLayer};

/// W3C Trace Context.
pub mod trace {
    pub use crate::policy::trace::{TraceParent, tracestate};
}

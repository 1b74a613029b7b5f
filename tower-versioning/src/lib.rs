#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
mod body;
pub mod boxed;
#[cfg(feature = "client")]
pub mod client;
#[doc(hidden)]
pub mod door;
mod error;
mod grpc;
pub mod guard;
mod kept;
mod layer;
mod metrics;
#[cfg(feature = "migrate")]
pub mod migrate;
mod misplaced;
mod policy;
mod problem;
mod registry;
mod rejection;
mod report;
mod resolved;
mod router;
mod service;

#[cfg(feature = "axum")]
pub use axum::MissingLayer;
pub use body::ResponseBody;
pub use error::{BoxError, ConfigError};
pub use layer::VersionLayer;
pub use policy::decide::VersionErrorKind;
pub use policy::moment::Moment;
pub use policy::range::VersionRange;
pub use policy::source::Source;
pub use policy::version::Version;
pub use registry::{Registry, RegistryBuilder};
pub use rejection::{Negotiated, RenderRejection, VersionError};
pub use resolved::ApiVersion;
pub use router::VersionRouter;
pub use service::VersionService;

/// What settings are made of: lifecycle, selection, conflicts, reports; and errors of parsing.
pub mod settings {
    pub use crate::policy::lifecycle::{AfterSunset, VersionPolicy};
    pub use crate::policy::range::ParseRangeError;
    pub use crate::policy::select::{CustomSelect, Select};
    pub use crate::policy::source::{Conflict, SourceKind};
    pub use crate::policy::version::ParseVersionError;
    pub use crate::report::Reports;
}

/// The futures of the services.
pub mod future {
    pub use crate::guard::ResponseFuture as InRangeFuture;
    pub use crate::router::RouteFuture;
    pub use crate::service::ResponseFuture;
}

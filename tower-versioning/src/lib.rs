#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
mod body;
mod error;
mod grpc;
mod layer;
mod metrics;
mod policy;
mod problem;
mod registry;
mod rejection;
mod router;

#[cfg(feature = "axum")]
pub use axum::MissingLayer;
pub use body::ResponseBody;
pub use error::{BoxError, ConfigError};
pub use layer::{ApiVersion, ResponseFuture, VersionLayer, VersionService};
pub use policy::source::{PathSource, Source};
pub use policy::version::{ParseVersionError, Version};
pub use registry::{AfterSunset, Registry, RegistryBuilder, VersionPolicy};
pub use rejection::{Negotiated, RenderRejection, VersionError, VersionErrorKind};
pub use router::{RouteFuture, VersionRouter};

#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(feature = "aws-lc-rs", feature = "rust-crypto")))]
compile_error!("tower-auth needs a signature backend: enable the feature `aws-lc-rs` or `rust-crypto`");

pub mod authenticator;
mod body;
pub mod client;
#[cfg(feature = "dpop")]
pub mod dpop;
mod error;
mod fetch;
mod form;
mod granted;
mod grpc;
#[cfg(feature = "introspection")]
pub mod introspection;
pub mod keys;
pub mod layer;
#[cfg(feature = "metadata")]
pub mod metadata;
mod metrics;
mod policy;
mod problem;
mod token;
pub mod verify;

pub use authenticator::{Authenticator, AuthenticatorBuilder, Issuer};
pub use body::ResponseBody;
pub use error::{AuthError, BoxError, ConfigError, TokenFault};
pub use keys::{RemoteJwks, StaticKeys};
pub use layer::{Auth, AuthLayer, Negotiated, RenderRejection, RequireScopes};
pub use policy::validation::TokenType;
pub use token::{Claims, MaybeVerified, TokenFacts, Verified};

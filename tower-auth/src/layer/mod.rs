//! The server side: a layer that authenticates, one that authorizes, and how refusals look.

mod extras;
mod render;
mod rules;
mod scopes;
mod service;
pub mod source;

#[cfg(feature = "axum")]
pub(crate) use render::refuse;
pub use render::{Negotiated, RenderRejection};
pub use rules::{Authorize, Authorized, AuthorizedFuture, Claimed, RequireClaims};
pub use scopes::{RequireRoles, RequireScopes, Scoped, ScopedFuture};
pub use service::{Auth, AuthLayer, ResponseFuture};

/// For [`AuthLayer::skip`]: the preflight requests of browsers (Fetch §3.2.2), which never carry credentials.
#[must_use]
pub fn is_cors_preflight(request: &http::request::Parts) -> bool {
    request.method == http::Method::OPTIONS
        && request.headers.contains_key(http::header::ORIGIN)
        && request.headers.contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
}

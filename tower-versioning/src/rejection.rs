//! Refusals and how they are rendered.

use std::fmt;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};

use crate::grpc;
use crate::policy::version::Version;
use crate::problem::Problem;
use crate::registry::Registry;

/// Why a request was refused; also in the extensions of the response.
#[derive(Debug, Clone)]
pub struct VersionError {
    kind: VersionErrorKind,
    requested: Option<Version>,
    registry: Registry,
    url_only: bool,
}

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionErrorKind {
    /// What the request says is no version.
    Malformed,
    /// The request names no version, and there is no default.
    Missing,
    /// The request names several versions.
    Ambiguous,
    /// The version is not registered.
    Unsupported,
    /// The version's sunset has passed.
    Gone,
}

impl VersionError {
    pub(crate) fn new(
        kind: VersionErrorKind,
        requested: Option<Version>,
        registry: &Registry,
        url_only: bool,
    ) -> Self {
        Self { kind, requested, registry: registry.clone(), url_only }
    }

    /// What was wrong.
    #[must_use]
    pub fn kind(&self) -> VersionErrorKind {
        self.kind
    }

    /// The version asked for, when it could be read.
    #[must_use]
    pub fn requested(&self) -> Option<Version> {
        self.requested
    }

    /// The status of the default rendering: 400; 410 after a sunset; 404 where only the URL carries versions, because
    /// there the URL names nothing.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind {
            VersionErrorKind::Gone => StatusCode::GONE,
            VersionErrorKind::Unsupported | VersionErrorKind::Missing if self.url_only => {
                StatusCode::NOT_FOUND
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn words(&self) -> (&'static str, &'static str) {
        match self.kind {
            VersionErrorKind::Malformed => ("malformed-version", "the requested API version cannot be read"),
            VersionErrorKind::Missing => ("missing-version", "an API version is required"),
            VersionErrorKind::Ambiguous => ("ambiguous-version", "the request names several API versions"),
            VersionErrorKind::Unsupported => ("unsupported-version", "the API version is not supported"),
            VersionErrorKind::Gone => ("gone-version", "the API version is no longer served"),
        }
    }
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

impl std::error::Error for VersionError {}

/// Turns a refusal into the answer that the client sees.
pub trait RenderRejection: Send + Sync + 'static {
    /// The answer to `request`, whose body is not at hand any more.
    fn render(&self, rejection: &VersionError, request: &Parts) -> Response<Bytes>;
}

impl<F> RenderRejection for F
where
    F: Fn(&VersionError, &Parts) -> Response<Bytes> + Send + Sync + 'static,
{
    fn render(&self, rejection: &VersionError, request: &Parts) -> Response<Bytes> {
        self(rejection, request)
    }
}

/// The default: a problem document with the supported versions, or trailers only for gRPC (12, unimplemented).
#[derive(Debug, Clone, Copy, Default)]
pub struct Negotiated;

impl RenderRejection for Negotiated {
    fn render(&self, rejection: &VersionError, request: &Parts) -> Response<Bytes> {
        let (kind, title) = rejection.words();
        if grpc::is_grpc(&request.headers) {
            return grpc::trailers_only(&request.headers, 12, title);
        }
        let supported: Vec<String> =
            rejection.registry.versions().map(|version| version.to_string()).collect();
        let type_uri = format!("https://docs.rs/tower-versioning/latest/tower_versioning/#{kind}");
        let mut problem =
            Problem::new(&type_uri, title, rejection.status()).text("supported", &supported.join(", "));
        if let Some(requested) = rejection.requested {
            problem = problem.text("requested", &requested.to_string());
        }
        problem.correlation(&request.headers).into_response(request)
    }
}

//! Refusals and how they are rendered.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};

use crate::grpc;
use crate::policy::decide::{Refusal, VersionErrorKind};
use crate::policy::table::Served;
use crate::policy::version::Version;
use crate::problem::Problem;

/// Why a request was refused; also in the extensions of the response.
#[derive(Debug, Clone)]
pub struct VersionError {
    refusal: Refusal,
    served: Arc<Served>,
}

impl VersionError {
    pub(crate) fn new(refusal: Refusal, served: Arc<Served>) -> Self {
        Self { refusal, served }
    }

    /// What was wrong.
    #[must_use]
    pub fn kind(&self) -> VersionErrorKind {
        self.refusal.kind
    }

    /// The version asked for, when it could be read.
    #[must_use]
    pub fn requested(&self) -> Option<Version> {
        self.refusal.requested
    }

    /// The versions that are served now, in ascending order; none from a [`guard`](crate::guard), which does not know them.
    #[must_use]
    pub fn supported(&self) -> &[Version] {
        &self.served.versions
    }

    /// The status of the default rendering: 400; 410 after a sunset; 404 where only the target of the request carries
    /// versions, because there the target names nothing; 406 or 415 where only media types do.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.refusal.status
    }

    /// The problem type, and its title.
    fn words(&self) -> (&'static str, &'static str) {
        macro_rules! words {
            ($kind:literal, $title:literal) => {
                (concat!("https://docs.rs/tower-versioning/latest/tower_versioning/#", $kind), $title)
            };
        }
        match self.refusal.kind {
            VersionErrorKind::Malformed => {
                words!("malformed-version", "the requested API version cannot be read")
            }
            VersionErrorKind::Missing => words!("missing-version", "an API version is required"),
            VersionErrorKind::Ambiguous => {
                words!("ambiguous-version", "the request names several API versions")
            }
            VersionErrorKind::Unsupported => {
                words!("unsupported-version", "the API version is not supported")
            }
            VersionErrorKind::Gone => words!("gone-version", "the API version is no longer served"),
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
        let (type_uri, title) = rejection.words();
        if grpc::is_grpc(&request.headers) {
            return grpc::trailers_only(&request.headers, 12, title);
        }
        let mut problem = Problem::new(type_uri, title, rejection.status());
        if let Some(requested) = rejection.refusal.requested {
            problem = problem.text("requested", &requested.to_string());
        } else if let Some(text) = &rejection.refusal.text {
            problem = problem.text("requested", text);
        }
        let response = problem.correlation(&request.headers).into_response(request);
        // A guard does not know what is served.
        if rejection.served.versions.is_empty() {
            response
        } else {
            with_supported(response, &rejection.served.json)
        }
    }
}

/// The member `supported`, a list. The writer shared by the crates knows texts alone.
fn with_supported(response: Response<Bytes>, list: &str) -> Response<Bytes> {
    const MEMBER: &str = ",\"supported\":";
    let (mut parts, body) = response.into_parts();
    let length =
        parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(length) = length {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length + MEMBER.len() + list.len()));
    }
    let body = match body.strip_suffix(b"}") {
        Some(start) => Bytes::from([start, MEMBER.as_bytes(), list.as_bytes(), b"}"].concat()),
        None => body,
    };
    Response::from_parts(parts, body)
}

//! Why something could not be translated, and how that is answered.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Method, Request, Response, StatusCode, request::Parts};

use crate::error::BoxError;
use crate::policy::migrate::{Changes, Failed};
use crate::policy::version::Version;
use crate::problem::Problem;

/// What could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MigrateErrorKind {
    /// The body of the request is larger than what is buffered: 413.
    RequestTooLarge,
    /// The body of the request says it is JSON and cannot be read as that: 400.
    RequestMalformed,
    /// The body of the request has a content coding: 415 (RFC 9110 §15.5.16).
    RequestEncoded,
    /// A change failed on the request: 500.
    RequestChange,
    /// The body of the response is larger than what is buffered: 500.
    ResponseTooLarge,
    /// The body of the response has a content coding although none was asked for: 500.
    ResponseEncoded,
    /// The response is a part of a representation although none was asked for: 500.
    ResponsePartial,
    /// The body of the response says it is JSON and is not: 500.
    ResponseMalformed,
    /// A change failed on the response: 500.
    ResponseChange,
}

impl MigrateErrorKind {
    /// The status that it is answered with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestMalformed => StatusCode::BAD_REQUEST,
            Self::RequestEncoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::RequestTooLarge => ("request-too-large", "the content is too large for this API version"),
            Self::RequestMalformed => ("request-malformed", "the content is not the JSON that it says it is"),
            Self::RequestEncoded => {
                ("request-encoded", "this API version takes content without a content coding")
            }
            Self::RequestChange | Self::ResponseChange => {
                ("change-failed", "the message could not be translated between API versions")
            }
            _ => ("untranslatable-response", "the response does not exist in this API version"),
        }
    }
}

/// Why a request or its response could not be translated; also in the extensions of the answer.
#[derive(Debug, Clone)]
pub struct MigrateError {
    kind: MigrateErrorKind,
    change: Option<(Version, Box<str>)>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl MigrateError {
    pub(crate) fn new(kind: MigrateErrorKind) -> Self {
        Self { kind, change: None, source: None }
    }

    pub(crate) fn with(mut self, source: BoxError) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn failed(kind: MigrateErrorKind, changes: &Changes, failed: Failed) -> Self {
        let (version, change) = changes.step(failed.step);
        Self { change: Some((version, change.name().into())), ..Self::new(kind).with(failed.error) }
    }

    /// What could not be done.
    #[must_use]
    pub fn kind(&self) -> MigrateErrorKind {
        self.kind
    }

    /// The name of the change that failed.
    #[must_use]
    pub fn change(&self) -> Option<&str> {
        self.change.as_ref().map(|(_, name)| &**name)
    }

    /// The version that brought the change that failed.
    #[must_use]
    pub fn changed_in(&self) -> Option<Version> {
        self.change.as_ref().map(|(version, _)| *version)
    }

    pub(crate) fn into_response(self, asked: &Asked) -> Response<Bytes> {
        let (kind, title) = self.kind.words();
        let type_uri = format!("https://docs.rs/tower-versioning/latest/tower_versioning/#{kind}");
        let request = asked.as_parts();
        let problem = Problem::new(&type_uri, title, self.kind.status()).correlation(&request.headers);
        let mut response = problem.into_response(&request);
        if self.kind == MigrateErrorKind::RequestEncoded {
            // RFC 9110 §12.5.3: which codings would have been taken.
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.words().1)?;
        if let Some((version, change)) = &self.change {
            write!(f, ": `{change}` of version {version}")?;
        }
        Ok(())
    }
}

impl std::error::Error for MigrateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// What an answer needs to know about the request once that has gone on.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    id: Option<HeaderValue>,
}

const REQUEST_ID: &str = "x-request-id";

impl Asked {
    pub(crate) fn new(request: &Parts) -> Self {
        Self { method: request.method.clone(), id: request.headers.get(REQUEST_ID).cloned() }
    }

    fn as_parts(&self) -> Parts {
        let mut parts = Request::new(()).into_parts().0;
        parts.method = self.method.clone();
        if let Some(id) = &self.id {
            parts.headers.insert(REQUEST_ID, id.clone());
        }
        parts
    }
}

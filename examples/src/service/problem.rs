//! How the services say no: problem documents (RFC 9457).

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::BoxError;

/// What a handler returns instead of an answer.
#[derive(Debug)]
pub enum Problem {
    /// There is no such thing.
    NotFound,
    /// The request cannot be understood.
    Malformed(String),
    /// The content is not JSON.
    MediaType,
    /// What was asked conflicts with the state of things.
    Conflict(&'static str),
    /// Another service is needed and does not answer.
    Dependency(String),
    /// The database failed.
    Internal(BoxError),
}

impl From<BoxError> for Problem {
    fn from(error: BoxError) -> Self {
        Self::Internal(error)
    }
}

/// axum tells malformed JSON (400, 422) from another media type (415).
impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::MissingJsonContentType(_) => Self::MediaType,
            other => Self::Malformed(other.body_text()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, title, detail) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "no such resource", String::new()),
            Self::Malformed(detail) => (StatusCode::BAD_REQUEST, "the request content is malformed", detail),
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the request content must be application/json",
                String::new(),
            ),
            Self::Conflict(detail) => (StatusCode::CONFLICT, "conflict", detail.to_owned()),
            Self::Dependency(detail) => {
                (StatusCode::SERVICE_UNAVAILABLE, "a needed service does not answer", detail)
            }
            Self::Internal(error) => {
                tracing::error!(%error, "a request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal error", String::new())
            }
        };
        let mut body = json!({ "type": "about:blank", "title": title, "status": status.as_u16() });
        if !detail.is_empty() {
            body["detail"] = detail.into();
        }
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

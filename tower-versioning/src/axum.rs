//! Extraction of the resolved version in axum handlers.

use axum::extract::{FromRequestParts, OptionalFromRequestParts, OriginalUri};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Extensions, StatusCode, Uri};
use std::convert::Infallible;

use crate::resolved::ApiVersion;

/// A handler asks for the [`ApiVersion`], and no layer resolved one: a mistake of the program, answered with 500. Where
/// requests may be neutral, ask for `Option<ApiVersion>`.
#[derive(Debug, Clone, Copy)]
pub struct MissingLayer;

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for ApiVersion {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingLayer> {
        parts.extensions.get().cloned().ok_or(MissingLayer)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ApiVersion {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

/// axum's routers set [`OriginalUri`] only where it is missing; a rewrite in front of them has to do it. Given back where
/// a router outside has set it.
#[inline]
pub(crate) fn keep_original_uri(extensions: &mut Extensions, uri: Uri) -> Option<Uri> {
    // Seldom is there one already, so it is looked for and inserted in one.
    let outer = extensions.insert(OriginalUri(uri))?;
    extensions.insert(outer).map(|OriginalUri(uri)| uri)
}

pub(crate) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    extensions.get::<OriginalUri>().map(|OriginalUri(uri)| uri)
}

//! How the cache's own refusals look.

use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};

use crate::error::CacheError;
use crate::grpc;
use crate::problem::Problem;

/// Makes the response to a request the cache refuses. Implemented for closures.
pub trait RenderRejection: Send + Sync + 'static {
    /// The response; the cache adds `Cache-Status` and puts the error into its extensions.
    fn render(&self, rejection: &CacheError, request: &Parts) -> Response<Bytes>;
}

impl<F> RenderRejection for F
where
    F: Fn(&CacheError, &Parts) -> Response<Bytes> + Send + Sync + 'static,
{
    fn render(&self, rejection: &CacheError, request: &Parts) -> Response<Bytes> {
        self(rejection, request)
    }
}

/// The default: a problem document (RFC 9457), or a gRPC answer of trailers only where the request is gRPC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Negotiated;

impl RenderRejection for Negotiated {
    fn render(&self, rejection: &CacheError, request: &Parts) -> Response<Bytes> {
        match rejection {
            CacheError::NotCached if grpc::is_grpc(&request.headers) => {
                grpc::trailers_only(&request.headers, UNAVAILABLE, "not cached")
            }
            CacheError::NotCached => Problem::new(
                "https://docs.rs/tower-cache/latest/tower_cache/#not-cached",
                "Not cached",
                StatusCode::GATEWAY_TIMEOUT,
            )
            .text("detail", &rejection.to_string())
            .correlation(&request.headers)
            .into_response(request),
        }
    }
}

/// The gRPC code `UNAVAILABLE`.
const UNAVAILABLE: u8 = 14;

impl fmt::Debug for dyn RenderRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<fn>")
    }
}

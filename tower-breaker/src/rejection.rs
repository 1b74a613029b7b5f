//! How rejections look over HTTP.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};

use crate::error::{RejectReason, Rejected};
use crate::grpc;
use crate::problem::Problem;

/// Turns a rejection into the answer that the client sees.
pub trait RenderRejection: Send + Sync + 'static {
    /// The answer to `request`, whose body is not at hand any more.
    fn render(&self, rejection: &Rejected, request: &Parts) -> Response<Bytes>;
}

impl<F> RenderRejection for F
where
    F: Fn(&Rejected, &Parts) -> Response<Bytes> + Send + Sync + 'static,
{
    fn render(&self, rejection: &Rejected, request: &Parts) -> Response<Bytes> {
        self(rejection, request)
    }
}

/// The default: 503 with `Retry-After` and a problem document, or trailers only for gRPC (14, unavailable, with
/// `grpc-retry-pushback-ms`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Negotiated;

impl RenderRejection for Negotiated {
    fn render(&self, rejection: &Rejected, request: &Parts) -> Response<Bytes> {
        let (kind, title) = match rejection.reason() {
            RejectReason::Open
            | RejectReason::ProbesTaken
            | RejectReason::ForcedOpen
            | RejectReason::Ramping => ("circuit-open", "the upstream is failing and was not called"),
            RejectReason::Full => ("bulkhead-full", "too many calls are under way"),
            RejectReason::Throttled => ("throttled", "the upstream has too much to do and was not called"),
        };
        if grpc::is_grpc(&request.headers) {
            let mut response = grpc::trailers_only(&request.headers, 14, title);
            if let Some(wait) = rejection.retry_after() {
                let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
                response.headers_mut().insert("grpc-retry-pushback-ms", HeaderValue::from(millis));
            }
            return response;
        }
        let kind = format!("https://docs.rs/tower-breaker/latest/tower_breaker/#{kind}");
        let mut response = Problem::new(&kind, title, StatusCode::SERVICE_UNAVAILABLE)
            .text("breaker", rejection.breaker())
            .correlation(&request.headers)
            .into_response(request);
        if let Some(wait) = rejection.retry_after() {
            // Whole seconds (RFC 9110 §10.2.3), rounded up: coming back too early is of no use.
            let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The answer to a call that was not let through, with the rejection in its extensions.
pub(crate) fn reject<B>(
    render: &dyn RenderRejection,
    rejected: Rejected,
    request: Request<B>,
) -> Response<Bytes> {
    let (parts, _) = request.into_parts();
    let mut response = render.render(&rejected, &parts);
    response.extensions_mut().insert(rejected);
    response
}

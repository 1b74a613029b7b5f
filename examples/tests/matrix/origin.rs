//! What stands behind (or, for a client, opposite) the layer under test: it counts its calls, remembers the last
//! request, and answers with a body of two frames and trailers.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, Iter};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request};
use http_body::Frame;
use http_body_util::StreamBody;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server::Health};

/// The request header that makes the origin fail.
pub(crate) const FAIL: HeaderName = HeaderName::from_static("x-fail");
/// The request header that makes the origin never answer.
pub(crate) const HANG: HeaderName = HeaderName::from_static("x-hang");
/// The trailer that proves that trailers arrive.
pub(crate) const CHECKSUM: HeaderName = HeaderName::from_static("x-checksum");
/// A gRPC message frame that says `SERVING`.
pub(crate) const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// Two data frames, then trailers.
pub(crate) type OriginBody = StreamBody<Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    calls: Arc<AtomicUsize>,
    last: Arc<Mutex<HeaderMap>>,
}

impl Origin {
    /// How many requests arrived here.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The header fields of the last one.
    pub(crate) fn last(&self) -> HeaderMap {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn arrived(&self, headers: &HeaderMap) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = headers.clone();
        if headers.contains_key(HANG) {
            std::future::pending::<()>().await;
        }
    }

    /// The answer of an HTTP origin, and of a gRPC one when the request is gRPC.
    pub(crate) async fn answer(&self, request: &request::Parts) -> Response<OriginBody> {
        self.arrived(&request.headers).await;
        let fails = request.headers.contains_key(FAIL);
        let grpc = request.headers.get(header::CONTENT_TYPE).is_some_and(|t| t == "application/grpc");
        let mut trailers = HeaderMap::from_iter([(CHECKSUM, HeaderValue::from_static("7"))]);
        let mut data = vec![Bytes::from_static(b"first "), Bytes::from_static(b"second")];
        if grpc {
            trailers.insert("grpc-status", HeaderValue::from_static(if fails { "14" } else { "0" }));
            data = if fails { Vec::new() } else { vec![Bytes::from_static(SERVING)] };
        }
        let frames: Vec<_> =
            data.into_iter().map(Frame::data).chain([Frame::trailers(trailers)]).map(Ok).collect();
        let mut response = Response::new(StreamBody::new(stream::iter(frames)));
        let headers = response.headers_mut();
        if grpc {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        } else {
            // Without it a server of HTTP/1.1 sends no trailers.
            headers.insert(header::TRAILER, HeaderValue::from_static("x-checksum"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
            if fails {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
        }
        response
    }
}

/// The same origin behind tonic's generated server.
#[tonic::async_trait]
impl Health for Origin {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        let headers = request.metadata().clone().into_headers();
        self.arrived(&headers).await;
        if headers.contains_key(FAIL) {
            return Err(tonic::Status::unavailable("asked to fail"));
        }
        Ok(tonic::Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    type WatchStream = stream::Pending<Result<HealthCheckResponse, tonic::Status>>;

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Err(tonic::Status::unimplemented("not part of this test"))
    }
}

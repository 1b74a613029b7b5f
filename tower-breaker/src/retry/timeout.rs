//! The time of one attempt.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::grpc;

/// Ends an attempt whose response has not begun in time with 504 (gRPC: 4, deadline exceeded). Stands below the breaker
/// of an endpoint, so that the breaker sees a hanging endpoint fail.
#[derive(Debug, Clone, Copy)]
pub struct AttemptTimeoutLayer {
    limit: Duration,
}

impl AttemptTimeoutLayer {
    /// The time until the head of the response; the body may take longer.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for AttemptTimeoutLayer {
    type Service = AttemptTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptTimeout { inner, limit: self.limit }
    }
}

/// What [`AttemptTimeoutLayer`] builds.
#[derive(Debug, Clone)]
pub struct AttemptTimeout<S> {
    inner: S,
    limit: Duration,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for AttemptTimeout<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = AttemptTimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let content_type = grpc::is_grpc(request.headers())
            .then(|| request.headers().get(header::CONTENT_TYPE).cloned())
            .flatten();
        AttemptTimeoutFuture {
            inner: self.inner.call(request),
            sleep: tokio::time::sleep(self.limit),
            grpc: content_type,
        }
    }
}

pin_project! {
    /// The future of [`AttemptTimeout`].
    #[derive(Debug)]
    pub struct AttemptTimeoutFuture<F> {
        #[pin]
        inner: F,
        #[pin]
        sleep: tokio::time::Sleep,
        grpc: Option<http::HeaderValue>,
    }
}

impl<F, B, E> Future for AttemptTimeoutFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.inner.poll(cx) {
            return Poll::Ready(result.map(|response| response.map(ResponseBody::inner)));
        }
        match this.sleep.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(late(this.grpc.take()).map(ResponseBody::own))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn late(grpc: Option<http::HeaderValue>) -> Response<Bytes> {
    if let Some(content_type) = grpc {
        let request: HeaderMap = [(header::CONTENT_TYPE, content_type)].into_iter().collect::<HeaderMap<_>>();
        return grpc::trailers_only(&request, 4, "the upstream did not answer in time");
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
}

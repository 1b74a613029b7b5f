//! Counts what is read of a request, for those who want `bytes_in` of requests that announce no size.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// What was read of a request; in its extensions where that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Received(Arc<AtomicU64>);

/// More than anybody reads.
const NOBODY_COUNTS: u64 = u64::MAX;

impl Default for Received {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(NOBODY_COUNTS)))
    }
}

impl Received {
    fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// `None` where nobody counts.
    pub(super) fn bytes(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|bytes| *bytes != NOBODY_COUNTS)
    }
}

/// Stands inside of an [`ObserveLayer`](super::ObserveLayer) whose handle
/// [counts requests](super::ObserveBuilder::count_requests), anywhere above what reads the body. A layer of its own, as it
/// changes the type of the request's body, which not every service takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountRequestLayer;

impl CountRequestLayer {
    /// The layer; there is nothing to set.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for CountRequestLayer {
    type Service = CountRequestService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountRequestService { inner }
    }
}

/// What [`CountRequestLayer`] builds.
#[derive(Debug, Clone)]
pub struct CountRequestService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for CountRequestService<S>
where
    S: Service<Request<RequestBody<B>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let received: Option<Received> = request.extensions_mut().remove();
        if let Some(received) = &received {
            received.begin();
        }
        self.inner.call(request.map(|inner| RequestBody { inner, received }))
    }
}

pin_project! {
    /// The inner body, passed through untouched and counted.
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        inner: B,
        received: Option<Received>,
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let (Some(received), Some(Ok(frame))) = (this.received, &frame) {
            received.add(frame.data_ref().map_or(0, Buf::remaining));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

//! The HTTP form of the bulkhead: rejections are responses, and a slot is held until the body has ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::layer::Entry;
use super::{Bulkhead, BulkheadPermit};
use crate::body::ResponseBody;
use crate::rejection::{Negotiated, RenderRejection, reject};

/// Puts a [`Bulkhead`] before an HTTP service. Rejections are 503 with `Retry-After` (or gRPC unavailable), so the error
/// type stays what it was; the [`Rejected`](crate::Rejected) is in the extensions of such a response.
///
/// Readiness is the inner service's own, as with [`BulkheadLayer`](crate::BulkheadLayer).
#[derive(Clone)]
pub struct HttpBulkheadLayer {
    bulkhead: Bulkhead,
    render: Arc<dyn RenderRejection>,
}

impl HttpBulkheadLayer {
    /// All services made by this layer and its clones share the bulkhead.
    #[must_use]
    pub fn new(bulkhead: Bulkhead) -> Self {
        Self { bulkhead, render: Arc::new(Negotiated) }
    }

    /// How rejections look. Default: [`Negotiated`].
    #[must_use]
    pub fn render_with(self, render: impl RenderRejection) -> Self {
        Self { render: Arc::new(render), ..self }
    }
}

impl fmt::Debug for HttpBulkheadLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBulkheadLayer").field("bulkhead", &self.bulkhead).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for HttpBulkheadLayer {
    type Service = HttpBulkheadService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HttpBulkheadService { inner, bulkhead: self.bulkhead.clone(), render: self.render.clone() }
    }
}

/// What [`HttpBulkheadLayer`] builds. A slot is held until the body of the response has ended or is dropped.
#[derive(Clone)]
pub struct HttpBulkheadService<S> {
    inner: S,
    bulkhead: Bulkhead,
    render: Arc<dyn RenderRejection>,
}

impl<S: fmt::Debug> fmt::Debug for HttpBulkheadService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBulkheadService")
            .field("inner", &self.inner)
            .field("bulkhead", &self.bulkhead)
            .finish_non_exhaustive()
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for HttpBulkheadService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<BulkheadBody<ResB>>>;
    type Error = S::Error;
    type Future = HttpResponseFuture<S, ReqB, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let entry = Entry::new(&self.bulkhead, &mut self.inner, request);
        HttpResponseFuture { entry, render: self.render.clone() }
    }
}

pin_project! {
    /// The future of [`HttpBulkheadService`].
    pub struct HttpResponseFuture<S, B, F> {
        #[pin]
        entry: Entry<S, Request<B>, F>,
        render: Arc<dyn RenderRejection>,
    }
}

impl<S, B, F> fmt::Debug for HttpResponseFuture<S, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponseFuture({})", self.entry.name())
    }
}

impl<S, ReqB, ResB> Future for HttpResponseFuture<S, ReqB, S::Future>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<BulkheadBody<ResB>>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.entry.poll_entry(cx)) {
            Ok((result, permit)) => result
                .map(|response| response.map(|body| ResponseBody::inner(BulkheadBody::new(body, permit)))),
            Err((rejected, request)) => Ok(reject(&**this.render, rejected, request).map(ResponseBody::own)),
        })
    }
}

pin_project! {
    /// The inner body, passed through untouched, and the slot that it holds.
    #[derive(Debug)]
    pub struct BulkheadBody<B> {
        #[pin]
        body: B,
        permit: Option<BulkheadPermit>,
    }
}

impl<B: Body> BulkheadBody<B> {
    pub(crate) fn new(body: B, permit: Option<BulkheadPermit>) -> Self {
        // Nothing more to come: the slot is free at once.
        let permit = permit.filter(|_| !body.is_end_stream());
        Self { body, permit }
    }
}

/// What layers around this one answer with that make a body of the same type, such as those for CORS and timeouts of
/// `tower-http`.
impl<B: Default> Default for BulkheadBody<B> {
    fn default() -> Self {
        Self { body: B::default(), permit: None }
    }
}

impl<B: Body> Body for BulkheadBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        // hyper does not poll a body beyond its last byte.
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            *this.permit = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The HTTP form of keyed breakers.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::KeyedBreaker;
use super::layer::ByKey;
use super::way::Way;
use crate::body::ResponseBody;
use crate::bulkhead::BulkheadBody;
use crate::classify::{ClassifyHttp, HttpClassifier};
use crate::guarded::GuardedBody;
use crate::http::HttpResponseFuture;
use crate::rejection::{Negotiated, RenderRejection, reject};

/// Puts a [`KeyedBreaker`] before an HTTP service. Rejections are 503 with `Retry-After` (or gRPC unavailable), so the
/// error type stays what it was; the [`Rejected`](crate::Rejected) is in the extensions of such a response.
///
/// Which breaker it is shows only in `call`, so readiness is the inner service's own: keep it one that is soon ready.
#[derive(Clone)]
pub struct HttpKeyedBreakerLayer<P, C = HttpClassifier> {
    keys: P,
    classify: C,
    render: Arc<dyn RenderRejection>,
}

impl<K, F> HttpKeyedBreakerLayer<ByKey<K, F>> {
    /// Chooses the breaker by `key`, a closure `Fn(&Request<B>) -> Option<K>` or [`host`](crate::keyed::host). Judges by
    /// [`HttpClassifier`].
    #[must_use]
    pub fn new(family: KeyedBreaker<K>, key: F) -> Self {
        let keys = ByKey { family, key };
        Self { keys, classify: HttpClassifier::new(), render: Arc::new(Negotiated) }
    }
}

impl<P, C> HttpKeyedBreakerLayer<P, C> {
    /// Judges responses, as [`HttpBreakerLayer::classify`](crate::HttpBreakerLayer::classify) does.
    #[must_use]
    pub fn classify<D: ClassifyHttp>(self, classify: D) -> HttpKeyedBreakerLayer<P, D> {
        HttpKeyedBreakerLayer { keys: self.keys, classify, render: self.render }
    }

    /// How rejections look. Default: [`Negotiated`].
    #[must_use]
    pub fn render_with(self, render: impl RenderRejection) -> Self {
        Self { render: Arc::new(render), ..self }
    }
}

impl<P: fmt::Debug, C> fmt::Debug for HttpKeyedBreakerLayer<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpKeyedBreakerLayer").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl<S, P: Clone, C: Clone> Layer<S> for HttpKeyedBreakerLayer<P, C> {
    type Service = HttpKeyedBreakerService<S, P, C>;

    fn layer(&self, inner: S) -> Self::Service {
        HttpKeyedBreakerService { inner, layer: self.clone() }
    }
}

/// What [`HttpKeyedBreakerLayer`] builds.
#[derive(Clone)]
pub struct HttpKeyedBreakerService<S, P, C = HttpClassifier> {
    inner: S,
    layer: HttpKeyedBreakerLayer<P, C>,
}

impl<S: fmt::Debug, P: fmt::Debug, C> fmt::Debug for HttpKeyedBreakerService<S, P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpKeyedBreakerService")
            .field("inner", &self.inner)
            .field("keys", &self.layer.keys)
            .finish_non_exhaustive()
    }
}

impl<S, K, F, C, ReqB, ResB> Service<Request<ReqB>> for HttpKeyedBreakerService<S, ByKey<K, F>, C>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    S::Error: 'static,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    F: Fn(&Request<ReqB>) -> Option<K>,
    C: ClassifyHttp + Clone,
    ResB: Body<Data = Bytes>,
    ResB::Error: 'static,
{
    type Response = Response<BulkheadBody<ResponseBody<GuardedBody<ResB, C>>>>;
    type Error = S::Error;
    type Future = HttpKeyedResponseFuture<S, ReqB, C, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let ByKey { family, key } = &self.layer.keys;
        let way = Way::new(family, key(&request), &mut self.inner, request, &self.layer.classify);
        HttpKeyedResponseFuture { way, render: Arc::clone(&self.layer.render) }
    }
}

pin_project! {
    /// The future of [`HttpKeyedBreakerService`]. Dropped before its end, it is a cancelled call.
    pub struct HttpKeyedResponseFuture<S, B, C, F> {
        #[pin]
        way: Way<S, Request<B>, C, HttpResponseFuture<F, C>>,
        render: Arc<dyn RenderRejection>,
    }
}

impl<S, B, C, F> fmt::Debug for HttpKeyedResponseFuture<S, B, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpKeyedResponseFuture({})", self.way.name())
    }
}

impl<S, C, ReqB, ResB> Future for HttpKeyedResponseFuture<S, ReqB, C, S::Future>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    S::Error: 'static,
    C: ClassifyHttp,
    ResB: Body<Data = Bytes>,
    ResB::Error: 'static,
{
    type Output = Result<Response<BulkheadBody<ResponseBody<GuardedBody<ResB, C>>>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.way.poll_way(cx)) {
            Ok((result, slot)) => result.map(|response| response.map(|body| BulkheadBody::new(body, slot))),
            Err((rejected, request)) => {
                let response = reject(&**this.render, rejected, request);
                Ok(response.map(|answer| BulkheadBody::new(ResponseBody::own(answer), None)))
            }
        })
    }
}

//! The id on responses that are made outside of the layer.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use http::{HeaderName, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Where the layer inside leaves the id for the one outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct EchoSlot(Arc<OnceLock<HeaderValue>>);

impl EchoSlot {
    pub(crate) fn fill(&self, value: &HeaderValue) {
        // A second layer inside has the id of the first, so whoever fills it first is right.
        let _ = self.0.set(value.clone());
    }
}

/// Adds the id to responses that lack it, such as those an error handler between this and the
/// [`CorrelationLayer`](crate::CorrelationLayer) made; from
/// [`CorrelationLayer::echo_mapper`](crate::CorrelationLayer::echo_mapper).
#[derive(Debug, Clone)]
pub struct EchoLayer {
    name: HeaderName,
}

impl EchoLayer {
    pub(crate) fn new(name: HeaderName) -> Self {
        Self { name }
    }
}

impl<S> Layer<S> for EchoLayer {
    type Service = Echo<S>;

    fn layer(&self, inner: S) -> Echo<S> {
        Echo { inner, name: self.name.clone() }
    }
}

/// What [`EchoLayer`] builds.
#[derive(Debug, Clone)]
pub struct Echo<S> {
    inner: S,
    name: HeaderName,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for Echo<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = EchoFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        // One slot for all mappers around a layer.
        let slot = request.extensions_mut().get_or_insert_default::<EchoSlot>().clone();
        EchoFuture { inner: self.inner.call(request), slot, name: self.name.clone() }
    }
}

pin_project! {
    /// The future of [`Echo`].
    #[derive(Debug)]
    pub struct EchoFuture<F> {
        #[pin]
        inner: F,
        slot: EchoSlot,
        name: HeaderName,
    }
}

impl<F, B, E> Future for EchoFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx));
        if let (Ok(response), Some(value)) = (&mut result, this.slot.0.get())
            && !response.headers().contains_key(&*this.name)
        {
            response.headers_mut().insert(&*this.name, value.clone());
        }
        Poll::Ready(result)
    }
}

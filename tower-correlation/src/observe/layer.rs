//! The layer: begins an observation with the request and hands it over to the body of the response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::ResponseBody;
use super::call::{Call, Watch, correlation};
use super::metrics::RouteIndex;
use super::{Observe, Shared, Side};
use crate::ambient::Entered;
use crate::context::Correlation;
use crate::policy::record::Outcome;
use crate::policy::sampling::with_threshold;

/// Observes all calls through a service. One stands on each side: each records every call that passes it, so that two
/// around the same router count a call twice.
#[derive(Clone)]
pub struct ObserveLayer {
    shared: Arc<Shared>,
    side: Side,
    route: Option<RouteIndex>,
}

impl std::fmt::Debug for ObserveLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObserveLayer").field("side", &self.side).finish_non_exhaustive()
    }
}

impl ObserveLayer {
    /// For calls that are answered here; stands inside [`CorrelationLayer`](crate::CorrelationLayer).
    #[must_use]
    pub fn server(observe: Observe) -> Self {
        Self { shared: observe.shared, side: Side::Server, route: None }
    }

    /// For calls that are made here; stands outside of [`PropagateLayer`](crate::PropagateLayer), or inside: either way the
    /// line names the span that is sent.
    #[must_use]
    pub fn client(observe: Observe) -> Self {
        Self { shared: observe.shared, side: Side::Client, route: None }
    }

    /// One name for all calls through this layer, such as that of an upstream. Default: what the handle's
    /// [`route`](super::ObserveBuilder::route) says.
    #[must_use]
    pub fn route(mut self, name: &str) -> Self {
        self.route = Some(self.shared.find(self.side, Some(name)));
        self
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = ObserveService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ObserveService { inner, layer: self.clone() }
    }
}

/// What [`ObserveLayer`] builds.
#[derive(Debug, Clone)]
pub struct ObserveService<S> {
    inner: S,
    layer: ObserveLayer,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for ObserveService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ReqB: Body,
    ResB: Body,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let ObserveLayer { shared, side, route } = &self.layer;
        let call = Call::begin(shared, *side, *route, &mut request);
        let told = if shared.head_decides { tell(&call, &mut request) } else { None };
        let mut call = Some(call);
        let mut slot = told.clone();
        let watch = Watch::new(&mut call);
        let current = enter(&mut slot);
        let inner = self.inner.call(request);
        drop(current);
        watch.over();
        ResponseFuture { inner, call, told }
    }
}

/// Puts the threshold where outbound calls take it from, unless a caller's is there.
fn tell<B>(call: &Call, request: &mut Request<B>) -> Option<Correlation> {
    if call.inherits() {
        return None;
    }
    let given = correlation(request)?;
    let state = with_threshold(given.tracestate(), call.threshold())?;
    let told = given.with_tracestate(Some(state));
    // Only in the place of what was there: a task's own is told by being the current one.
    if let Some(known) = request.extensions_mut().get_mut::<Correlation>() {
        *known = told.clone();
    }
    Some(told)
}

/// What outbound calls are to be told is the current correlation while this lives.
pub(super) fn enter(told: &mut Option<Correlation>) -> Option<Entered<'_>> {
    if told.is_some() { Some(Entered::new(told)) } else { None }
}

pin_project! {
    /// The future of [`ObserveService`]. Dropped before its end, it writes the call down as dropped.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
        told: Option<Correlation>,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let watch = Watch::new(this.call);
        let current = enter(this.told);
        // Looked at where it is, as moving a response costs as much as what is done here.
        let mut polled = this.inner.poll(cx);
        drop(current);
        watch.over();
        match &mut polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(response)) => {
                if let Some(call) = this.call.as_mut() {
                    call.head(response);
                }
            }
            Poll::Ready(Err(_)) => {
                if let Some(mut call) = this.call.take() {
                    call.finish(Outcome::Error);
                }
            }
        }
        polled.map_ok(|response| {
            let (call, told) = (this.call.take(), this.told.take());
            response.map(|body| ResponseBody::new(body, call, told))
        })
    }
}

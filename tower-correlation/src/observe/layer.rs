//! The layer: begins an observation with the request and hands it over to the body of the response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::ResponseBody;
use super::call::{Call, watched};
use super::metrics::RouteIndex;
use super::{Observe, Shared, Side};
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

    /// For calls that are made here; stands outside of [`PropagateLayer`](crate::PropagateLayer).
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
        let inner = watched(&mut call, || scoped(told.as_ref(), || self.inner.call(request)));
        ResponseFuture { inner, call, told }
    }
}

/// Puts the threshold where outbound calls take it from, unless a caller's is there.
fn tell<B>(call: &Call, request: &mut Request<B>) -> Option<Correlation> {
    let given = request.extensions().get::<Correlation>()?;
    if call.inherits() {
        return None;
    }
    let state = with_threshold(given.tracestate(), call.threshold())?;
    let told = given.with_tracestate(Some(state));
    request.extensions_mut().insert(told.clone());
    Some(told)
}

/// Runs the work under what outbound calls are to be told.
pub(super) fn scoped<T>(told: Option<&Correlation>, work: impl FnOnce() -> T) -> T {
    match told {
        Some(correlation) => crate::scope_sync(correlation, work),
        None => work(),
    }
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
        let result = ready!(watched(this.call, || scoped(this.told.as_ref(), || this.inner.poll(cx))));
        let mut call = this.call.take();
        Poll::Ready(match (result, &mut call) {
            (Ok(response), Some(observed)) => {
                let response = observed.head(response);
                Ok(response.map(|body| ResponseBody::new(body, call, this.told.take())))
            }
            (Ok(response), None) => Ok(response.map(|body| ResponseBody::new(body, None, None))),
            (Err(error), call) => {
                if let Some(call) = call {
                    call.finish(Outcome::Error);
                }
                Err(error)
            }
        })
    }
}

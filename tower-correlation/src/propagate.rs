//! The client side: carries id and trace context to outbound calls.

use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::context::Correlation;
use crate::generate::random;
use crate::layer::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use crate::policy::trace::TraceParent;

/// Stamps the id and the trace context of the request at hand on outbound requests; without one, a new trace begins.
///
/// What is stamped is taken in `call`, from the request's extensions or else from the task: buffers and pools that poll
/// elsewhere lose nothing.
#[derive(Debug, Clone)]
pub struct PropagateLayer {
    outbound: Vec<HeaderName>,
}

impl Default for PropagateLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl PropagateLayer {
    /// Sends the id as `x-request-id`.
    #[must_use]
    pub fn new() -> Self {
        Self { outbound: vec![X_REQUEST_ID] }
    }

    /// The fields that carry the id. Default: `x-request-id`.
    #[must_use]
    pub fn outbound(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self { outbound: names.into_iter().collect() }
    }
}

impl<S> Layer<S> for PropagateLayer {
    type Service = Propagate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Propagate { inner, outbound: self.outbound.clone().into() }
    }
}

/// What [`PropagateLayer`] builds.
#[derive(Debug, Clone)]
pub struct Propagate<S> {
    inner: S,
    outbound: std::sync::Arc<[HeaderName]>,
}

impl<S> Propagate<S> {
    fn stamp<B>(&self, request: &mut Request<B>) {
        let correlation = request.extensions().get::<Correlation>().cloned().or_else(ambient);
        let headers = request.headers_mut();
        let (trace, state) = match &correlation {
            Some(correlation) => {
                if let Ok(id) = HeaderValue::from_str(correlation.id().as_str()) {
                    for name in self.outbound.iter() {
                        headers.insert(name, id.clone());
                    }
                }
                // Each call is a span of its own (§3.2.2.4).
                (correlation.trace().child(random()), correlation.tracestate())
            }
            None => (TraceParent::generate(random(), random(), false), None),
        };
        if let Ok(value) = HeaderValue::from_bytes(&trace.to_bytes()) {
            headers.insert(TRACEPARENT, value);
        }
        headers.remove(TRACESTATE);
        if let Some(Ok(value)) = state.map(HeaderValue::from_str) {
            headers.insert(TRACESTATE, value);
        }
    }
}

#[cfg(feature = "tokio")]
fn ambient() -> Option<Correlation> {
    crate::context::current()
}

#[cfg(not(feature = "tokio"))]
fn ambient() -> Option<Correlation> {
    None
}

impl<S, B> Service<Request<B>> for Propagate<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.stamp(&mut request);
        self.inner.call(request)
    }
}

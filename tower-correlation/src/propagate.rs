//! The client side: carries id and trace context to outbound calls.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, HeaderName, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::ambient::current;
use crate::context::Correlation;
use crate::fields::{BAGGAGE, TRACEPARENT, TRACESTATE, X_REQUEST_ID, inject, one_parent, set};
use crate::generate::random;
use crate::policy::trace::TraceParent;

/// Stamps the id and the trace context of the request at hand on outbound requests; without one, a new trace begins.
///
/// What is stamped is taken in `call`, from the request's extensions or else from the task: buffers and pools inside of it
/// that poll elsewhere lose nothing. A `tower::buffer::Buffer` outside of it calls it on a task of its own, where only the
/// extensions are left.
///
/// What the request says in these fields already gives way: set baggage with
/// [`Correlation::with_baggage`](crate::Correlation::with_baggage).
#[derive(Debug, Clone)]
pub struct PropagateLayer {
    config: Arc<Config>,
}

#[derive(Debug, Clone)]
struct Config {
    outbound: Vec<HeaderName>,
    trace_context: bool,
    baggage: bool,
}

impl Default for PropagateLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl PropagateLayer {
    /// Sends the id as `x-request-id`, the trace context and the baggage.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Arc::new(Config {
                outbound: vec![X_REQUEST_ID.clone()],
                trace_context: true,
                baggage: true,
            }),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// The fields that carry the id. Default: `x-request-id`.
    #[must_use]
    pub fn outbound(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().collect();
        self.with(|config| config.outbound = names)
    }

    /// Whether `traceparent` and `tracestate` are sent. Default: yes; `false` for a party that is to learn nothing of the
    /// trace, or where a tracing SDK writes them: then the caller's are taken off a request that is passed on, and those
    /// of any other span stay.
    #[must_use]
    pub fn trace_context(self, send: bool) -> Self {
        self.with(|config| config.trace_context = send)
    }

    /// Whether `baggage` is sent. Default: yes; `false` towards parties that are not to read it: then there is none,
    /// whoever wrote it.
    #[must_use]
    pub fn baggage(self, send: bool) -> Self {
        self.with(|config| config.baggage = send)
    }
}

impl<S> Layer<S> for PropagateLayer {
    type Service = Propagate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Propagate { inner, config: self.config.clone() }
    }
}

/// What [`PropagateLayer`] builds.
#[derive(Debug, Clone)]
pub struct Propagate<S> {
    inner: S,
    config: Arc<Config>,
}

/// The span of a call that goes out, in its request's extensions: left there by who has begun to record it, for who writes
/// the fields.
#[cfg(feature = "observe")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallSpan(pub(crate) TraceParent);

#[cfg(feature = "observe")]
fn observed(extensions: &mut Extensions) -> Option<TraceParent> {
    extensions.remove().map(|CallSpan(span)| span)
}

#[cfg(not(feature = "observe"))]
fn observed(_: &mut Extensions) -> Option<TraceParent> {
    None
}

impl Config {
    fn stamp<B>(&self, request: &mut Request<B>) {
        let correlation = request.extensions().get::<Correlation>().cloned().or_else(current);
        // A span that was made for this very call, by an observation outside of this or by a tracing SDK.
        let own = observed(request.extensions_mut()).or_else(|| request.extensions().get().copied());
        let headers = request.headers_mut();
        let correlation = correlation.as_ref();
        if let (Some(correlation), Some((last, others))) = (correlation, self.outbound.split_last()) {
            let id = correlation.value();
            for name in others {
                headers.insert(name, id.clone());
            }
            headers.insert(last, id);
        }
        if self.trace_context {
            let trace = own.unwrap_or_else(|| match correlation {
                // Each call is a span of its own (§3.2.2.4).
                Some(correlation) => correlation.trace().child(random()),
                None => TraceParent::generate(random(), random(), false),
            });
            // The state of one trace says nothing in another.
            let state = correlation.filter(|it| it.trace().trace_id() == trace.trace_id());
            inject(headers, trace, state.and_then(Correlation::tracestate));
        } else if correlation.and_then(Correlation::parent).is_some_and(|it| one_parent(headers) == Some(it))
        {
            // A request that is passed on as it came still says who called; what an SDK wrote names another span.
            headers.remove(&TRACEPARENT);
            headers.remove(&TRACESTATE);
        }
        // With a correlation, what stood there is its baggage or was not acceptable.
        if !self.baggage || correlation.is_some() {
            let baggage = correlation.and_then(Correlation::baggage).filter(|_| self.baggage);
            set(headers, &BAGGAGE, baggage.map(|baggage| baggage.as_str().as_bytes()));
        }
    }
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
        self.config.stamp(&mut request);
        self.inner.call(request)
    }
}

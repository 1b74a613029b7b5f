//! What is known of the request at hand, and how code without the request gets at it.

use std::sync::Arc;

use http::HeaderValue;

use crate::generate::{Generator, random};
use crate::policy::baggage::Baggage;
use crate::policy::id::CorrelationId;
use crate::policy::inbound::Origin;
use crate::policy::state::TraceState;
use crate::policy::trace::TraceParent;

/// The identity of a request: its id, where that came from, and its place in a trace. Cheap to clone; the one entry
/// that [`CorrelationLayer`](crate::CorrelationLayer) puts into a request's extensions. Keep it in a queued message and
/// [`scope`](crate::scope) the work that handles the message.
#[derive(Debug, Clone)]
pub struct Correlation(Arc<Inner>);

#[derive(Debug, Clone)]
pub(crate) struct Inner {
    pub(crate) id: CorrelationId,
    pub(crate) origin: Origin,
    pub(crate) trace: TraceParent,
    /// Apart, as most requests have none of it and what is made for each of them is to be small.
    pub(crate) more: Option<Box<More>>,
}

/// What not every request has.
#[derive(Debug, Clone, Default)]
pub(crate) struct More {
    pub(crate) cause: Option<CorrelationId>,
    pub(crate) parent: Option<TraceParent>,
    pub(crate) state: Option<TraceState>,
    pub(crate) baggage: Option<Baggage>,
}

impl Correlation {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// A new id in a new trace, for work that no request asked for.
    #[must_use]
    pub fn generate() -> Self {
        Self::new(Inner {
            id: Generator::hex128().generate(),
            origin: Origin::Generated,
            trace: TraceParent::generate(random(), random(), false),
            more: None,
        })
    }

    /// A new id for work that this one leads to and that is to be told apart, such as one of many messages: the new
    /// correlation names this one as its [cause](Self::cause) and stays in its trace.
    #[must_use]
    pub fn follow_up(&self) -> Self {
        let more = More {
            cause: Some(self.0.id.clone()),
            parent: Some(self.0.trace),
            ..self.0.more.as_deref().cloned().unwrap_or_default()
        };
        Self::new(Inner {
            id: Generator::hex128().generate(),
            origin: Origin::Generated,
            trace: self.0.trace.child(random()),
            more: Some(Box::new(more)),
        })
    }

    fn more(&self) -> Option<&More> {
        self.0.more.as_deref()
    }

    /// The same request with a change to what not every request has.
    fn changed(&self, change: impl FnOnce(&mut More)) -> Self {
        let mut inner = Inner::clone(&self.0);
        change(inner.more.get_or_insert_default());
        Self::new(inner)
    }

    /// The id that follows the request through all services.
    #[must_use]
    pub fn id(&self) -> &CorrelationId {
        &self.0.id
    }

    /// Whether the caller named it, or why not.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The id of the request or job that led to this one, when that had another id: see [`follow_up`](Self::follow_up).
    #[must_use]
    pub fn cause(&self) -> Option<&CorrelationId> {
        self.more()?.cause.as_ref()
    }

    /// The caller's span, when it sent a valid `traceparent`: which request led to this one.
    #[must_use]
    pub fn parent(&self) -> Option<TraceParent> {
        self.more()?.parent
    }

    /// This hop's own span: in the caller's trace, or in a new one.
    #[must_use]
    pub fn trace(&self) -> TraceParent {
        self.0.trace
    }

    /// The caller's `tracestate`, when it was valid: what other tracing systems passed along.
    #[must_use]
    pub fn tracestate(&self) -> Option<&TraceState> {
        self.more()?.state.as_ref()
    }

    /// The caller's `baggage`, within the limits of the layer.
    #[must_use]
    pub fn baggage(&self) -> Option<&Baggage> {
        self.more()?.baggage.as_ref()
    }

    /// The same request with another `tracestate` for its outbound calls.
    #[must_use]
    pub fn with_tracestate(&self, state: Option<TraceState>) -> Self {
        self.changed(|more| more.state = state)
    }

    /// The same request with other `baggage` for its outbound calls.
    #[must_use]
    pub fn with_baggage(&self, baggage: Option<Baggage>) -> Self {
        self.changed(|more| more.baggage = baggage)
    }

    /// The same request with a span made elsewhere, such as by an OpenTelemetry SDK. The `tracestate` stays with the trace:
    /// a span of another one comes without.
    #[must_use]
    pub fn with_trace(&self, trace: TraceParent) -> Self {
        let mut inner = Inner { trace, ..Inner::clone(&self.0) };
        if trace.trace_id() != self.0.trace.trace_id()
            && let Some(more) = &mut inner.more
        {
            more.state = None;
        }
        Self::new(inner)
    }

    /// The id as a field value.
    pub(crate) fn value(&self) -> HeaderValue {
        self.0.id.value()
    }
}

#[cfg(feature = "axum")]
impl<S: Sync> axum_core::extract::FromRequestParts<S> for Correlation {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, MissingLayer> {
        parts.extensions.get().cloned().ok_or(MissingLayer)
    }
}

/// A handler asks for the [`Correlation`], and no layer put one there: a mistake of the program, answered with 500.
#[cfg(feature = "axum")]
#[derive(Debug, Clone, Copy)]
pub struct MissingLayer;

#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for MissingLayer {
    fn into_response(self) -> axum_core::response::Response {
        http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

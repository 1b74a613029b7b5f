//! Where a call stands in its trace: which span it is, and whose child. Each call made is a span of its own, and the one
//! that its callee is told as its parent (OpenTelemetry, "Trace semantic conventions"; W3C Trace Context level 2, §3.2.2.4).

use http::Request;

use super::Side;
use crate::context::Correlation;
use crate::fields::{extract, one_parent};
use crate::generate::random;
use crate::policy::sampling::randomness;
use crate::policy::state::TraceState;
use crate::policy::trace::TraceParent;
use crate::propagate::CallSpan;

/// What is known of a call's trace when it begins; less than [`Place`], as most calls are not written down.
pub(super) enum Known {
    /// Nothing that another service would see too.
    Nothing,
    /// The call's own span.
    Own { span: TraceParent, state: Option<TraceState> },
    /// The caller's span alone.
    Caller { parent: TraceParent, state: Option<TraceState> },
    /// The span that the call is part of.
    PartOf(TraceParent),
    /// A trace that begins with this call.
    Root(TraceParent),
}

impl Known {
    pub(super) fn of<B>(side: Side, request: &Request<B>, correlation: Option<&Correlation>) -> Self {
        match side {
            Side::Server => Self::answered(request, correlation),
            Side::Client => Self::made(request, correlation),
        }
    }

    fn answered<B>(request: &Request<B>, correlation: Option<&Correlation>) -> Self {
        if let Some(known) = correlation {
            return Self::Own { span: known.trace(), state: None };
        }
        extract(request.headers()).map_or(Self::Nothing, |(parent, state)| Self::Caller { parent, state })
    }

    fn made<B>(request: &Request<B>, correlation: Option<&Correlation>) -> Self {
        let extensions = request.extensions();
        let around = correlation.map(Correlation::trace);
        if let Some(CallSpan(outer)) = extensions.get() {
            return Self::PartOf(*outer);
        }
        // A span that a tracing SDK made for this very call, and not for the request that led to it.
        if let Some(span) = extensions.get::<TraceParent>().filter(|span| around != Some(**span)) {
            return Self::Own { span: *span, state: None };
        }
        if let Some(around) = around {
            return Self::PartOf(around);
        }
        match extract(request.headers()) {
            Some((span, state)) => Self::Own { span, state },
            None => {
                let (trace_id, span_id) = random();
                Self::Root(TraceParent::generate(trace_id, span_id, false))
            }
        }
    }

    /// A span of the trace that the call is in.
    fn trace(&self) -> Option<TraceParent> {
        match self {
            Self::Nothing => None,
            Self::Own { span, .. } | Self::PartOf(span) | Self::Root(span) => Some(*span),
            Self::Caller { parent, .. } => Some(*parent),
        }
    }

    /// What came along with the trace; the state of one says nothing in another.
    pub(super) fn state<'a>(&'a self, correlation: Option<&'a Correlation>) -> Option<&'a TraceState> {
        match (self, correlation) {
            (Self::Own { state: Some(state), .. } | Self::Caller { state: Some(state), .. }, _) => {
                Some(state)
            }
            (_, Some(known)) => {
                let same = self.trace().is_some_and(|trace| trace.trace_id() == known.trace().trace_id());
                known.tracestate().filter(|_| same)
            }
            (_, None) => None,
        }
    }

    pub(super) fn randomness(&self, state: Option<&TraceState>) -> u64 {
        self.trace().map_or_else(|| random::<u64>() >> 8, |trace| randomness(trace, state))
    }

    /// Tells those inside which trace this is, where nobody else can: they are to be kept where this is.
    pub(super) fn tell<B>(&self, request: &mut Request<B>) {
        if let Self::Root(span) = self {
            request.extensions_mut().insert(CallSpan(*span));
        }
    }

    /// The call's place. What is to be sent is told to [`PropagateLayer`](crate::PropagateLayer) inside; what one outside
    /// has written is what is sent.
    pub(super) fn settle<B>(
        self,
        side: Side,
        request: &mut Request<B>,
        correlation: Option<&Correlation>,
    ) -> Place {
        match self {
            Self::Nothing => Place::default(),
            Self::Own { span, .. } => {
                let parent = match side {
                    Side::Server => correlation.and_then(Correlation::parent),
                    Side::Client => correlation.map(Correlation::trace),
                };
                Place::of(span, parent)
            }
            Self::Root(span) => Place::of(span, None),
            Self::Caller { parent, .. } => {
                let (trace_id, parent_span_id) = (Some(parent.trace_id()), Some(parent.parent_id()));
                Place { trace_id, span_id: None, parent_span_id }
            }
            Self::PartOf(parent) => {
                let written = one_parent(request.headers()).filter(|span| {
                    // What a request that is passed on brought along is its caller's.
                    let brought = correlation.and_then(Correlation::parent);
                    let known = |other: TraceParent| other.parent_id() == span.parent_id();
                    span.trace_id() == parent.trace_id() && !known(parent) && !brought.is_some_and(known)
                });
                let span = written.unwrap_or_else(|| {
                    let span = parent.child(random());
                    request.extensions_mut().insert(CallSpan(span));
                    span
                });
                Place::of(span, Some(parent))
            }
        }
    }
}

/// The place of a call in its trace.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) trace_id: Option<u128>,
    /// The call's own span; nobody has made one for a server without [`CorrelationLayer`](crate::CorrelationLayer).
    pub(super) span_id: Option<u64>,
    pub(super) parent_span_id: Option<u64>,
}

impl Place {
    fn of(span: TraceParent, parent: Option<TraceParent>) -> Self {
        // A span that begins another trace is nobody's child there.
        let parent = parent.filter(|parent| parent.trace_id() == span.trace_id());
        Self {
            trace_id: Some(span.trace_id()),
            span_id: Some(span.parent_id()),
            parent_span_id: parent.map(|parent| parent.parent_id()),
        }
    }
}

//! The server side: accepts or makes the id, tells everybody inside, echoes it.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response, request::Parts};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::ambient::Entered;
use crate::body::ResponseBody;
use crate::context::{Correlation, Inner, More};
use crate::echo::{EchoLayer, EchoSlot};
use crate::fields::{
    BAGGAGE, Found, IdFields, Ids, TRACERESPONSE, Written, X_CORRELATION_ID, X_REQUEST_ID, lines,
};
use crate::generate::{Generator, random};
use crate::metrics::Metrics;
use crate::policy::baggage::{Baggage, BaggageLimits};
use crate::policy::id::CorrelationId;
use crate::policy::inbound::{Origin, Validation, inbound};
use crate::policy::trace::TraceParent;
use crate::span::Span;

type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Whose ids are taken over.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Trust {
    /// Everybody's, once validated: the default. An id names a request; it gives nobody a right.
    #[default]
    Always,
    /// Nobody's: every request gets a new id. For the edge of a system that faces strangers.
    Never,
    /// The ones of requests for which the predicate holds, such as those of known peers.
    When(Predicate),
}

impl Trust {
    /// Trusts the requests for which the predicate holds.
    pub fn when(predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::When(Arc::new(predicate))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "Always",
            Self::Never => "Never",
            Self::When(_) => "When(<fn>)",
        })
    }
}

#[derive(Debug, Clone)]
struct Config {
    inbound: IdFields,
    response: Written,
    generator: Generator,
    trust: Trust,
    validation: Validation,
    baggage: BaggageLimits,
    sampled: bool,
    traceresponse: bool,
    metrics: Metrics,
}

/// Gives every request an id and a place in a trace, and echoes the id on every response.
///
/// Inside of another layer of this kind it keeps what that one decided, which it finds in the request's extensions.
#[derive(Debug, Clone)]
pub struct CorrelationLayer {
    config: Arc<Config>,
}

impl Default for CorrelationLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl CorrelationLayer {
    /// Takes over `x-request-id`, else `x-correlation-id`; answers with `x-request-id`.
    #[must_use]
    pub fn new() -> Self {
        let config = Config {
            inbound: IdFields::new(vec![X_REQUEST_ID.clone(), X_CORRELATION_ID.clone()]),
            response: Written::XRequestId,
            generator: Generator::default(),
            trust: Trust::default(),
            validation: Validation::default(),
            baggage: BaggageLimits::default(),
            sampled: false,
            traceresponse: false,
            metrics: Metrics::default(),
        };
        Self { config: Arc::new(config) }
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// The fields that may bring an id, the most important first; the first one present decides. Default:
    /// `x-request-id`, `x-correlation-id`.
    #[must_use]
    pub fn inbound(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = IdFields::new(names.into_iter().collect());
        self.with(|config| config.inbound = names)
    }

    /// The field of the response that carries the id. Default: `x-request-id`.
    #[must_use]
    pub fn response(self, name: HeaderName) -> Self {
        self.with(|config| config.response = name.into())
    }

    /// How new ids are made. Default: [`Generator::hex128`].
    #[must_use]
    pub fn generate(self, generator: Generator) -> Self {
        self.with(|config| config.generator = generator)
    }

    /// Whose ids, trace context and baggage are taken over. Default: [`Trust::Always`].
    ///
    /// What is not taken over, for this reason or because it is invalid, is taken off the request, so that nobody inside
    /// reads it or passes it on.
    #[must_use]
    pub fn trust(self, trust: Trust) -> Self {
        self.with(|config| config.trust = trust)
    }

    /// What an id may look like. Default: 1 to 128 bytes of `A–Z a–z 0–9 . _ -`.
    #[must_use]
    pub fn validate(self, validation: Validation) -> Self {
        self.with(|config| config.validation = validation)
    }

    /// How much baggage is taken along. Default: 64 members, 8192 bytes.
    #[must_use]
    pub fn baggage(self, limits: BaggageLimits) -> Self {
        self.with(|config| config.baggage = limits)
    }

    /// Whether a trace that begins here is marked as sampled; one that is continued keeps what its caller said. Default: no,
    /// as nobody has recorded it (W3C Trace Context level 2, §3.2.2.5.1). OpenTelemetry's usual sampler does as the caller
    /// does: `true` where services behind this one are to record traces that begin here.
    #[must_use]
    pub fn sampled(self, sampled: bool) -> Self {
        self.with(|config| config.sampled = sampled)
    }

    /// Whether responses name this hop's span in `traceresponse` (W3C Trace Context HTTP Response Headers, a draft).
    /// Default: no; it tells callers whether they are traced.
    #[must_use]
    pub fn traceresponse(self, send: bool) -> Self {
        self.with(|config| config.traceresponse = send)
    }

    /// A layer for outside of an error handler such as axum's `HandleErrorLayer`: an error that leaves this layer has no
    /// header to put the id in, but the response that the handler makes of it has.
    #[must_use]
    pub fn echo_mapper(&self) -> EchoLayer {
        EchoLayer::new(self.config.response.name().clone())
    }
}

impl<S> Layer<S> for CorrelationLayer {
    type Service = CorrelationService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CorrelationService { inner, config: self.config.clone() }
    }
}

/// What [`CorrelationLayer`] builds.
#[derive(Debug, Clone)]
pub struct CorrelationService<S> {
    inner: S,
    config: Arc<Config>,
}

impl Config {
    /// Whether what the request says of its identity is taken over.
    fn trusts<B>(&self, request: &mut Request<B>) -> bool {
        let predicate = match &self.trust {
            Trust::Always => return true,
            Trust::Never => return false,
            Trust::When(predicate) => predicate,
        };
        let (mut parts, ()) = Request::new(()).into_parts();
        let mut exchange = |parts: &mut Parts| {
            mem::swap(&mut parts.method, request.method_mut());
            mem::swap(&mut parts.uri, request.uri_mut());
            mem::swap(&mut parts.version, request.version_mut());
            mem::swap(&mut parts.headers, request.headers_mut());
            mem::swap(&mut parts.extensions, request.extensions_mut());
        };
        exchange(&mut parts);
        let trusted = predicate(&parts);
        exchange(&mut parts);
        trusted
    }

    /// Decides and tells everybody inside: the extension, and the request's fields for layers that know no extension.
    ///
    /// In line, as what it returns is read at once: by way of memory that takes longer.
    #[inline(always)]
    fn identify<B>(&self, request: &mut Request<B>) -> Identified {
        if let Some(known) = request.extensions().get::<Correlation>() {
            let known = known.clone();
            return self.identify_again(request, known);
        }
        let trusted = self.trusts(request);
        // Whoever made a span for this request already, such as an OpenTelemetry SDK, keeps it.
        let own = request.extensions().get::<TraceParent>().copied();
        let headers = request.headers();
        let mut found = Found::default();
        found.look(headers, &self.inbound);
        let (value, same) = found.id.map_or((None, true), |(_, said)| (Some(said.first), said.same));
        let accepted = inbound(value, same, trusted, &self.validation);
        let id = match accepted {
            Ok(value) => CorrelationId::of(value.as_bytes()),
            Err(_) => self.generator.generate(),
        };
        let origin = accepted.err().unwrap_or(Origin::Accepted);
        self.metrics.identified(origin);
        let (parent, state) = if trusted { found.trace(headers) } else { None }.unzip();
        let state = state.flatten();
        let trace = match (own, parent) {
            (Some(own), _) => own,
            (None, Some(parent)) => parent.child(random()),
            (None, None) => {
                let (trace_id, parent_id) = random();
                match origin {
                    // Services that share an id but no trace agree on the bits that sampling goes by.
                    Origin::Accepted => TraceParent::derived(trace_id, parent_id, id.hash64(), self.sampled),
                    _ => TraceParent::generate(trace_id, parent_id, self.sampled),
                }
            }
        };
        let baggage = if trusted && found.baggage {
            Baggage::parse(lines(headers, &BAGGAGE), self.baggage)
        } else {
            None
        };
        // The first of the fields says it already, and nothing else.
        let says_so = accepted.is_ok() && found.id.is_some_and(|(index, said)| index == 0 && said.once);
        let (ids, same) = (found.ids, accepted.ok().filter(|_| says_so).cloned());
        let refused = found.refused(parent.is_some(), state.is_some(), baggage.is_some());
        let more = (parent.is_some() || baggage.is_some()).then(|| {
            // The state of the caller's trace says nothing in another.
            let state = state.filter(|_| parent.is_some_and(|parent| parent.trace_id() == trace.trace_id()));
            Box::new(More { cause: None, parent, state, baggage })
        });
        let value = same.unwrap_or_else(|| id.value());
        let correlation = Correlation::new(Inner { id, origin, trace, more });
        let untouched = !refused.leaves(request.headers_mut());
        self.tell(request, &value, says_so && untouched, ids);
        request.extensions_mut().insert(correlation.clone());
        Identified { correlation, value, again: false }
    }

    /// Another layer stands outside. What it decided holds, or the handler would know the request by another id than the
    /// caller; only a span that somebody made since is taken over.
    fn identify_again<B>(&self, request: &mut Request<B>, known: Correlation) -> Identified {
        let own = request.extensions().get::<TraceParent>().copied().filter(|own| *own != known.trace());
        let again = own.is_none();
        let correlation = match own {
            None => known,
            Some(own) => known.with_trace(own),
        };
        if !again {
            request.extensions_mut().insert(correlation.clone());
        }
        let value = correlation.value();
        self.tell(request, &value, false, Ids::UNKNOWN);
        Identified { correlation, value, again }
    }

    /// Tells those inside and outside that know no extension of ours.
    fn tell<B>(&self, request: &mut Request<B>, value: &HeaderValue, says_so: bool, ids: Ids) {
        self.inbound.tell(request.headers_mut(), value, says_so, ids);
        if let Some(slot) = request.extensions().get::<EchoSlot>() {
            slot.fill(value);
        }
    }
}

/// What a request turned out to be.
struct Identified {
    correlation: Correlation,
    /// The id as a field value.
    value: HeaderValue,
    /// A layer outside has said all this already.
    again: bool,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for CorrelationService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let Identified { correlation, value, again } = self.config.identify(&mut request);
        let span = if again { Span::none() } else { Span::new(&correlation) };
        let mut slot = Some(correlation);
        let inner = {
            let _span = span.enter();
            let _current = Entered::new(&mut slot);
            self.inner.call(request)
        };
        let (name, traceresponse) = (self.config.response.clone(), self.config.traceresponse);
        ResponseFuture { inner: Some(inner), slot, span, name, echo: Some(value), traceresponse }
    }
}

pin_project! {
    /// The future of [`CorrelationService`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Option<F>,
        slot: Option<Correlation>,
        span: Span,
        name: Written,
        echo: Option<HeaderValue>,
        traceresponse: bool,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // What the handler does when it is cancelled belongs to the request too.
            if this.inner.is_some() {
                let _span = this.span.enter();
                let _current = Entered::new(this.slot);
                this.inner.set(None);
            }
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Looked at where it is, as moving a response costs as much as a field.
        let mut polled = {
            let _span = this.span.enter();
            let _current = Entered::new(this.slot);
            // Invariant: it is there until it has answered, and nobody polls a future again after that.
            let inner = this.inner.as_mut().as_pin_mut().expect("polled after it answered");
            let polled = inner.poll(cx);
            if polled.is_ready() {
                this.inner.set(None);
            }
            polled
        };
        match &mut polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => this.span.failed(),
            Poll::Ready(Ok(response)) => {
                let headers = response.headers_mut();
                if let Some(value) = this.echo.take() {
                    this.name.write(headers, value);
                }
                if *this.traceresponse
                    && let Some(correlation) = this.slot
                    && let Ok(value) = HeaderValue::from_bytes(&correlation.trace().to_bytes())
                {
                    headers.insert(&TRACERESPONSE, value);
                }
            }
        }
        polled.map_ok(|response| {
            let (slot, span) = (this.slot.take(), this.span.take());
            response.map(|body| ResponseBody::new(body, slot, span))
        })
    }
}

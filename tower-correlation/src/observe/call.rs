//! One call under observation, from its beginning until the one moment at which it is written down.

use std::cell::RefCell;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, Method, Request, Response, response::Parts};
use http_body::Body;

use super::metrics::{RouteIndex, method_index};
use super::place::{Known, Place};
use super::request::Received;
use super::{FieldOf, Output, Shared, Side};
use crate::context::Correlation;
use crate::policy::ended::grpc_failed;
use crate::policy::record::{Outcome, Record};
use crate::policy::sampling::{End, Kept, Threshold};
use crate::policy::state::TraceState;

/// What is needed only for calls that may be written down.
#[derive(Debug)]
struct Identity {
    correlation: Option<Correlation>,
    place: Place,
    method: Method,
    peer: Option<IpAddr>,
    /// The size of the request that its body announced.
    announced: Option<u64>,
    received: Option<Received>,
    first_byte: Option<Duration>,
    fields: Vec<(&'static str, String)>,
}

/// A call; written down exactly once, when it ends or is dropped. It moves from the future into the body, so it is small:
/// what only lines need is apart.
pub(crate) struct Call {
    shared: Arc<Shared>,
    side: Side,
    method: u8,
    head: bool,
    sampled: bool,
    /// The threshold is the caller's.
    inherits: bool,
    finished: bool,
    route: RouteIndex,
    threshold: Threshold,
    randomness: u64,
    begun: Instant,
    status: Option<u16>,
    grpc_status: Option<u16>,
    bytes_out: u64,
    /// Size that the body announced; what no body reaches stands for none.
    expected: u64,
    identity: Option<Box<Identity>>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("status", &self.status)
            .field("bytes_out", &self.bytes_out)
            .finish_non_exhaustive()
    }
}

/// What is known of a call: of the request itself, else of the task that makes it.
pub(super) fn correlation<B>(request: &Request<B>) -> Option<Correlation> {
    request.extensions().get().cloned().or_else(crate::current)
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Call {
    /// Begins with the request, before the inner service sees it.
    pub(crate) fn begin<B: Body>(
        shared: &Arc<Shared>,
        side: Side,
        fixed: Option<RouteIndex>,
        request: &mut Request<B>,
    ) -> Self {
        let begun = now();
        let red = shared.red(side);
        let method = method_index(request.method());
        let route = fixed.unwrap_or_else(|| shared.route(side, request.extensions()));
        // Nothing of the user's runs between this and the value that takes it back.
        red.begin(method);
        let mut call = Self {
            shared: shared.clone(),
            side,
            method,
            head: *request.method() == Method::HEAD,
            sampled: false,
            inherits: false,
            finished: false,
            route,
            threshold: Threshold::from_bits(0),
            randomness: 0,
            begun,
            status: None,
            grpc_status: None,
            bytes_out: 0,
            expected: u64::MAX,
            identity: None,
        };
        let lines = !matches!(shared.output, Output::None);
        if lines || shared.head_decides {
            call.threshold = shared.threshold(red.routes.get(route));
        }
        if lines {
            call.sample(shared, request);
        } else if shared.head_decides {
            let given = correlation(request);
            call.inherit(shared, given.as_ref().and_then(Correlation::tracestate));
        }
        call
    }

    /// Takes the caller's threshold, where that decides.
    fn inherit(&mut self, shared: &Shared, state: Option<&TraceState>) {
        if let Some(threshold) = shared.inherited(state) {
            (self.threshold, self.inherits) = (threshold, true);
        }
    }

    /// Decides by the trace's randomness, and takes what a line would need if there may be one.
    fn sample<B: Body>(&mut self, shared: &Shared, request: &mut Request<B>) {
        let given = request.extensions().get::<Correlation>();
        let ambient = if given.is_none() { crate::current() } else { None };
        let correlation = given.or(ambient.as_ref());
        let known = Known::of(self.side, request, correlation);
        let state = known.state(correlation);
        self.randomness = known.randomness(state);
        self.inherit(shared, state);
        self.sampled = self.threshold.keeps(self.randomness);
        // The response may bring a route whose rate is another.
        let open = self.route == RouteIndex::Unmatched && !shared.route_rates.is_empty();
        let may_keep = self.sampled || open || shared.always.may_keep(None);
        let correlation = if may_keep { correlation.cloned() } else { None };
        known.tell(request);
        if !may_keep {
            return;
        }
        let received = shared.count_requests.then(Received::default);
        if let Some(received) = &received {
            request.extensions_mut().insert(received.clone());
        }
        let identity = Identity {
            place: known.settle(self.side, request, correlation.as_ref()),
            correlation,
            method: request.method().clone(),
            peer: shared.peer.as_ref().and_then(|peer| peer(request.extensions())),
            announced: request.body().size_hint().exact(),
            received,
            first_byte: None,
            fields: Vec::new(),
        };
        self.identity = Some(Box::new(identity));
    }

    /// The head of the response is there: the first byte.
    pub(crate) fn head<B: Body>(&mut self, response: &mut Response<B>) {
        let waited = now() - self.begun;
        let status = response.status().as_u16();
        self.status = Some(status);
        let ended = response.body().is_end_stream();
        if ended {
            // Trailers-only: the head is all there is.
            self.grpc_status = grpc_status(response.headers());
        }
        if self.route == RouteIndex::Unmatched && self.shared.resolves() {
            // A router inside may have left it on the response.
            self.route = self.shared.route(self.side, response.extensions());
            // Without rates of routes nothing is to be decided again: a rate that changed counts from the next call on.
            if !self.inherits && !self.shared.route_rates.is_empty() {
                self.threshold = self.shared.threshold(self.shared.red(self.side).routes.get(self.route));
                self.sampled = self.threshold.keeps(self.randomness);
            }
        }
        let no_content = self.head || status < 200 || matches!(status, 204 | 304);
        self.expected = if no_content { 0 } else { response.body().size_hint().exact().unwrap_or(u64::MAX) };
        if self.shared.server_timing && self.side == Side::Server {
            super::server_timing(response.headers_mut(), waited);
        }
        if self.identity.is_some() && !self.sampled && !self.shared.always.may_keep(Some(status)) {
            self.identity = None;
        }
        if let Some(identity) = &mut self.identity {
            identity.first_byte = Some(waited);
            if !self.shared.fields.is_empty() {
                identity.fields = taken(&self.shared.fields, response);
            }
        }
        if ended {
            self.finish(Outcome::Complete);
        }
    }

    pub(crate) fn inherits(&self) -> bool {
        self.inherits
    }

    pub(crate) fn threshold(&self) -> Threshold {
        self.threshold
    }

    pub(crate) fn data(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.grpc_status = grpc_status(trailers).or(self.grpc_status);
    }

    /// Writes the call down, the first time.
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        if mem::replace(&mut self.finished, true) {
            return;
        }
        let duration = now() - self.begun;
        let red = self.shared.red(self.side);
        let route = red.routes.get(self.route);
        red.end(self.method, route, (self.status, self.grpc_status), outcome, duration);
        let grpc_failed = self.grpc_status.is_some_and(grpc_failed);
        let unfinished = outcome != Outcome::Complete;
        if let Some(tally) = &route.summary {
            let server_error = self.status.is_some_and(|status| status >= 500);
            tally.add(duration, server_error || grpc_failed || outcome == Outcome::Error);
        }
        if matches!(self.shared.output, Output::None) {
            return;
        }
        let counts = &self.shared.counts;
        counts.finished.fetch_add(1, Ordering::Relaxed);
        let end = End { status: self.status, duration, failed: unfinished || grpc_failed };
        let decision = self.shared.always.decide(&end, self.sampled, self.threshold);
        let (Some((kept, weight)), Some(identity)) = (decision, &self.identity) else {
            counts.sampled_out.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match self.shared.admit(weight) {
            Some(carried) => {
                counts.emitted.fetch_add(1, Ordering::Relaxed);
                self.write(identity, outcome, duration, kept, weight, carried);
            }
            None => {
                counts.rate_limited.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn write(
        &self,
        identity: &Identity,
        outcome: Outcome,
        duration: Duration,
        kept: Kept,
        weight: f64,
        carried: f64,
    ) {
        let correlation = identity.correlation.as_ref();
        let record = Record {
            time: self.shared.wall_clock(),
            constant: &self.shared.constant,
            side: self.side,
            correlation_id: correlation.map(|correlation| correlation.id().as_str()),
            trace_id: identity.place.trace_id,
            span_id: identity.place.span_id,
            parent_span_id: identity.place.parent_span_id,
            method: identity.method.as_str(),
            route: &self.shared.red(self.side).routes.get(self.route).name,
            status: self.status,
            grpc_status: self.grpc_status,
            outcome,
            duration,
            first_byte: identity.first_byte,
            bytes_in: identity.received.as_ref().and_then(Received::bytes).or(identity.announced),
            bytes_out: self.bytes_out,
            peer: identity.peer,
            kept,
            weight,
            carried,
            fields: &identity.fields,
        };
        match &self.shared.output {
            Output::None => {}
            Output::Json(write) => with_line(|line| {
                record.json(line);
                write(line);
            }),
            #[cfg(feature = "tracing")]
            Output::Tracing => super::event::event(&record),
        }
    }
}

/// Stands around the work of a call. When that panics, the call has ended in an error: whoever catches the panic may keep
/// the call until it has answered itself.
pub(crate) struct Watch<'a>(&'a mut Option<Call>);

impl<'a> Watch<'a> {
    pub(crate) fn new(call: &'a mut Option<Call>) -> Self {
        Self(call)
    }

    /// The work has not panicked.
    pub(crate) fn over(self) {
        mem::forget(self);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.0 {
            call.finish(Outcome::Error);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.finished {
            // Servers drop a body of announced length once they have its last byte, without asking for the end.
            let complete = self.status.is_some() && self.bytes_out >= self.expected;
            self.finish(if complete { Outcome::Complete } else { Outcome::Dropped });
        }
    }
}

/// The fields of the user's own, which ask for the head of the response as a whole.
fn taken<B>(fields: &[(&'static str, FieldOf)], response: &mut Response<B>) -> Vec<(&'static str, String)> {
    let (mut parts, ()) = Response::new(()).into_parts();
    let mut exchange = |parts: &mut Parts| {
        mem::swap(&mut parts.status, response.status_mut());
        mem::swap(&mut parts.version, response.version_mut());
        mem::swap(&mut parts.headers, response.headers_mut());
        mem::swap(&mut parts.extensions, response.extensions_mut());
    };
    exchange(&mut parts);
    let taken = fields.iter().filter_map(|(name, take)| Some((*name, take(&parts)?))).collect();
    exchange(&mut parts);
    taken
}

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lends a buffer of this thread; one that grew large is not kept.
pub(crate) fn with_line(write: impl FnOnce(&mut String)) {
    const LARGE: usize = 16 << 10;
    let mut line = LINE.try_with(RefCell::take).unwrap_or_default();
    line.clear();
    write(&mut line);
    if line.capacity() <= LARGE {
        let _ = LINE.try_with(|kept| kept.replace(line));
    }
}

/// The status of a gRPC call (gRPC over HTTP/2, "Responses"): in the trailers, or in the head of a response without a
/// body.
fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

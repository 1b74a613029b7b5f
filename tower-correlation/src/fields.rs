//! The fields that carry ids and trace context.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::state::TraceState;
use crate::policy::trace::TraceParent;

/// `x-request-id`
pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `x-correlation-id`
pub(crate) static X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// `traceparent`
pub(crate) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `traceresponse`
pub(crate) static TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
/// `baggage`
pub(crate) static BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// `tracestate`
pub(crate) static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Reads the caller's trace context: `None` unless there is exactly one `traceparent` and a valid one, in which case the
/// `tracestate` means nothing either (W3C Trace Context level 2, §4.3); an invalid `tracestate` alone is left out.
///
/// The layers do this by themselves; it is for those that speak HTTP without them. What it returns may share the memory of
/// the field's value.
#[must_use]
pub fn extract(headers: &HeaderMap) -> Option<(TraceParent, Option<TraceState>)> {
    let parent = one_parent(headers)?;
    let state = match Said::of(headers, &TRACESTATE) {
        None => None,
        Some(said) if said.once => TraceState::shared(said.first),
        Some(_) => TraceState::parse(lines(headers, &TRACESTATE)),
    };
    Some((parent, state))
}

/// Exactly one `traceparent`, and a valid one (§4.3).
pub(crate) fn one_parent(headers: &HeaderMap) -> Option<TraceParent> {
    Said::of(headers, &TRACEPARENT).and_then(Said::parent)
}

/// Writes exactly this trace context; a `tracestate` that stood there and is not given leaves.
///
/// Give every call a [child](TraceParent::child) of its own (§3.2.2.4).
pub fn inject(headers: &mut HeaderMap, trace: TraceParent, state: Option<&TraceState>) {
    set(headers, &TRACEPARENT, Some(&trace.to_bytes()));
    match state {
        Some(state) => drop(headers.insert(&TRACESTATE, state.value().clone())),
        None => drop(headers.remove(&TRACESTATE)),
    }
}

/// The values of all lines of a field.
pub(crate) fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
}

/// Exactly this value, or none.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static HeaderName, value: Option<&[u8]>) {
    match value.map(HeaderValue::from_bytes) {
        Some(Ok(value)) => drop(headers.insert(name, value)),
        _ => drop(headers.remove(name)),
    }
}

/// The fields that may bring an id, the most important first.
#[derive(Debug, Clone)]
pub(crate) struct IdFields {
    names: Vec<HeaderName>,
    /// A bit for the length of each name, and of those of the trace context and baggage.
    lengths: u64,
}

impl IdFields {
    pub(crate) fn new(names: Vec<HeaderName>) -> Self {
        let others = [&TRACEPARENT, &TRACESTATE, &BAGGAGE];
        let lengths = names.iter().chain(others).fold(0, |all, name| all | Self::length(name));
        Self { names, lengths }
    }

    pub(crate) fn names(&self) -> &[HeaderName] {
        &self.names
    }

    #[inline]
    fn length(name: &HeaderName) -> u64 {
        1 << (name.as_str().len() & 63)
    }

    /// Most names are not even as long as one of those looked for.
    #[inline]
    fn may_be_about(&self, name: &HeaderName) -> bool {
        self.lengths & Self::length(name) != 0
    }

    fn position(&self, name: &HeaderName) -> Option<usize> {
        self.names.iter().position(|id| id == name)
    }

    /// Whether what a field of this name says matters.
    fn is_about(&self, name: &HeaderName) -> bool {
        self.position(name).is_some() || *name == TRACEPARENT || *name == TRACESTATE || *name == BAGGAGE
    }
}

/// What the fields that matter here say in a request. Looking for a field by name costs about as much as looking at six
/// names, and most requests have few fields and none of these: one pass over short maps finds all.
#[derive(Debug, Default)]
pub(crate) struct Found<'a> {
    pub(crate) ids: Ids,
    /// The most important of the id's fields, and its index.
    pub(crate) id: Option<(usize, Said<'a>)>,
    pub(crate) traceparent: Option<Said<'a>>,
    pub(crate) tracestate: Option<Said<'a>>,
    pub(crate) baggage: bool,
}

/// Which of the id's fields may be there, by index.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ids(u32);

impl Ids {
    /// Nobody has looked.
    pub(crate) const UNKNOWN: Self = Self(u32::MAX);

    /// The last bit is for all that have none of their own.
    fn bit(index: usize) -> u32 {
        1 << index.min(31)
    }

    pub(crate) fn may_have(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }
}

/// The lines of one field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) first: &'a HeaderValue,
    /// There is no other line.
    pub(crate) once: bool,
    /// All lines are equal.
    pub(crate) same: bool,
}

impl<'a> Said<'a> {
    fn one(line: &'a HeaderValue) -> Self {
        Self { first: line, once: true, same: true }
    }

    fn and(self, line: &'a HeaderValue) -> Self {
        Self { once: false, same: self.same && self.first == line, ..self }
    }

    fn more(said: Option<Self>, line: &'a HeaderValue) -> Option<Self> {
        Some(said.map_or(Self::one(line), |said| said.and(line)))
    }

    /// As a `traceparent`.
    pub(crate) fn parent(self) -> Option<TraceParent> {
        if self.once { TraceParent::parse(self.first.as_bytes()) } else { None }
    }

    fn of(headers: &'a HeaderMap, name: &HeaderName) -> Option<Self> {
        headers.get_all(name).into_iter().fold(None, Self::more)
    }
}

impl<'a> Found<'a> {
    /// Longer maps are asked by name.
    const SHORT: usize = 20;

    pub(crate) fn of(headers: &'a HeaderMap, ids: &IdFields) -> Self {
        if headers.len() > Self::SHORT {
            return Self::by_name(headers, ids);
        }
        let mut found = Self::default();
        // Names are passed over faster than lines.
        if !headers.keys().any(|name| ids.may_be_about(name) && ids.is_about(name)) {
            return found;
        }
        for (name, line) in headers {
            if !ids.may_be_about(name) {
                continue;
            }
            if let Some(index) = ids.position(name) {
                found.ids.0 |= Ids::bit(index);
                found.id = match found.id {
                    Some((before, said)) if before < index => Some((before, said)),
                    Some((before, said)) if before == index => Some((index, said.and(line))),
                    _ => Some((index, Said::one(line))),
                };
            }
            if *name == TRACEPARENT {
                found.traceparent = Said::more(found.traceparent, line);
            } else if *name == TRACESTATE {
                found.tracestate = Said::more(found.tracestate, line);
            } else if *name == BAGGAGE {
                found.baggage = true;
            }
        }
        found
    }

    /// The caller's trace context, by the rules of [`extract`]; in memory of its own, as what a request brought is kept
    /// for longer than the buffer that it came in should be.
    pub(crate) fn trace(&self, headers: &HeaderMap) -> Option<(TraceParent, Option<TraceState>)> {
        let parent = self.traceparent.and_then(Said::parent)?;
        let state = match self.tracestate {
            None => None,
            Some(said) if said.once => TraceState::copied(said.first.as_bytes()),
            Some(_) => TraceState::parse(lines(headers, &TRACESTATE)),
        };
        Some((parent, state))
    }

    fn by_name(headers: &'a HeaderMap, ids: &IdFields) -> Self {
        let mut found = Self {
            traceparent: Said::of(headers, &TRACEPARENT),
            tracestate: Said::of(headers, &TRACESTATE),
            baggage: headers.contains_key(&BAGGAGE),
            ..Self::default()
        };
        for (index, name) in ids.names.iter().enumerate() {
            if let Some(said) = Said::of(headers, name) {
                found.ids.0 |= Ids::bit(index);
                found.id = found.id.or(Some((index, said)));
            }
        }
        found
    }
}

//! The fields that carry ids and trace context.

use std::mem::ManuallyDrop;

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

/// The same names as values known at compile time, so that names of other lengths, and all that http has a number for, are
/// told from them without a look into memory.
mod known {
    use super::{HeaderName, ManuallyDrop};

    /// Never dropped, as there is nothing to drop and the compiler does not always know.
    type Known = ManuallyDrop<HeaderName>;

    const fn known(name: &'static str) -> Known {
        ManuallyDrop::new(HeaderName::from_static(name))
    }

    pub(super) const X_REQUEST_ID: Known = known("x-request-id");
    pub(super) const X_CORRELATION_ID: Known = known("x-correlation-id");
    pub(super) const TRACEPARENT: Known = known("traceparent");
    pub(super) const TRACESTATE: Known = known("tracestate");
    pub(super) const BAGGAGE: Known = known("baggage");
}

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

/// The name of a field that is written to each message: the usual one apart, as it is known at compile time where it is
/// written and takes no clone to get there.
#[derive(Debug, Clone)]
pub(crate) enum Written {
    XRequestId,
    Other(HeaderName),
}

impl Written {
    pub(crate) fn name(&self) -> &HeaderName {
        match self {
            Self::XRequestId => &X_REQUEST_ID,
            Self::Other(name) => name,
        }
    }

    #[inline]
    pub(crate) fn write(&self, headers: &mut HeaderMap, value: HeaderValue) {
        const USUAL: HeaderName = HeaderName::from_static("x-request-id");
        match self {
            Self::XRequestId => drop(headers.insert(USUAL, value)),
            Self::Other(name) => drop(headers.insert(name, value)),
        }
    }
}

impl From<HeaderName> for Written {
    fn from(name: HeaderName) -> Self {
        if name == X_REQUEST_ID { Self::XRequestId } else { Self::Other(name) }
    }
}

/// The fields that may bring an id, the most important first.
#[derive(Debug, Clone)]
pub(crate) struct IdFields {
    names: Vec<HeaderName>,
    /// The first of them.
    first: Option<Written>,
    /// `x-request-id`, `x-correlation-id`: known at compile time.
    usual: bool,
}

impl IdFields {
    pub(crate) fn new(names: Vec<HeaderName>) -> Self {
        let first = names.first().cloned().map(Written::from);
        let usual = names == [X_REQUEST_ID.clone(), X_CORRELATION_ID.clone()];
        Self { names, first, usual }
    }

    /// Leaves exactly this id in the fields: in the first one, unless it says so already, and in the others that are there.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, value: &HeaderValue, says_so: bool, ids: Ids) {
        if !says_so && let Some(first) = &self.first {
            first.write(headers, value.clone());
        }
        if ids.may_have_others() {
            for (index, name) in self.names.iter().enumerate().skip(1) {
                if ids.may_have(index) && headers.contains_key(name) {
                    headers.insert(name, value.clone());
                }
            }
        }
    }

    #[inline(always)]
    fn index(&self, name: &HeaderName) -> Option<usize> {
        if !self.usual {
            self.names.iter().position(|id| id == name)
        } else if *name == *known::X_REQUEST_ID {
            Some(0)
        } else if *name == *known::X_CORRELATION_ID {
            Some(1)
        } else {
            None
        }
    }

    /// Whether a field says something of the request's identity.
    #[inline(always)]
    fn are_about(&self, name: &HeaderName) -> bool {
        *name == *known::TRACEPARENT
            || *name == *known::TRACESTATE
            || *name == *known::BAGGAGE
            || self.index(name).is_some()
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

    fn may_have(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }

    fn may_have_others(self) -> bool {
        self.0 & !Self::bit(0) != 0
    }
}

/// Fields that were not taken over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    parent: bool,
    state: bool,
    baggage: bool,
}

impl Refused {
    /// Takes them off a request, where an SDK or a proxy inside would take them for its caller's; whether there were any.
    pub(crate) fn leaves(self, headers: &mut HeaderMap) -> bool {
        let any = self.parent | self.state | self.baggage;
        if any {
            let all = [(self.parent, &TRACEPARENT), (self.state, &TRACESTATE), (self.baggage, &BAGGAGE)];
            for (_, name) in all.into_iter().filter(|(refused, _)| *refused) {
                headers.remove(name);
            }
        }
        any
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

    /// Looks through a request's fields; into the place where what is found is read, as most often it is nothing.
    pub(crate) fn look(&mut self, headers: &'a HeaderMap, ids: &IdFields) {
        if headers.len() > Self::SHORT {
            self.by_name(headers, ids);
        } else if headers.len() == headers.keys_len() {
            self.name_by_name(headers, ids);
        } else {
            self.line_by_line(headers, ids);
        }
    }

    /// Each name has one line: names are passed over faster than lines, so those follow only as far as they matter.
    #[inline(always)]
    fn name_by_name(&mut self, headers: &'a HeaderMap, ids: &IdFields) {
        let (mut lines, mut passed) = (headers.values(), 0);
        for (index, name) in headers.keys().enumerate() {
            if ids.are_about(name) {
                let Some(line) = lines.nth(index - passed) else { break };
                passed = index + 1;
                self.take(ids, name, line);
            }
        }
    }

    #[inline(never)]
    fn line_by_line(&mut self, headers: &'a HeaderMap, ids: &IdFields) {
        for (name, line) in headers {
            self.take(ids, name, line);
        }
    }

    #[inline(never)]
    fn by_name(&mut self, headers: &'a HeaderMap, ids: &IdFields) {
        self.traceparent = Said::of(headers, &TRACEPARENT);
        self.tracestate = Said::of(headers, &TRACESTATE);
        self.baggage = headers.contains_key(&BAGGAGE);
        for (index, name) in ids.names.iter().enumerate() {
            if let Some(said) = Said::of(headers, name) {
                self.ids.0 |= Ids::bit(index);
                self.id = self.id.or(Some((index, said)));
            }
        }
    }

    fn take(&mut self, ids: &IdFields, name: &HeaderName, line: &'a HeaderValue) {
        if let Some(index) = ids.index(name) {
            self.ids.0 |= Ids::bit(index);
            self.id = match self.id {
                Some((before, said)) if before < index => Some((before, said)),
                Some((before, said)) if before == index => Some((index, said.and(line))),
                _ => Some((index, Said::one(line))),
            };
        }
        if *name == *known::TRACEPARENT {
            self.traceparent = Said::more(self.traceparent, line);
        } else if *name == *known::TRACESTATE {
            self.tracestate = Said::more(self.tracestate, line);
        } else if *name == *known::BAGGAGE {
            self.baggage = true;
        }
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

    /// What was said and not taken over, given what was.
    pub(crate) fn refused(&self, parent: bool, state: bool, baggage: bool) -> Refused {
        Refused {
            parent: self.traceparent.is_some() & !parent,
            state: self.tracestate.is_some() & !state,
            baggage: self.baggage & !baggage,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Found, IdFields, TRACEPARENT, X_CORRELATION_ID, X_REQUEST_ID};

    /// Which way a map is looked through depends on its size and on whether a name has several lines; what is found does not.
    #[test]
    fn all_ways_through_a_map_find_the_same() {
        let names = [
            "x-request-id",
            "x-correlation-id",
            "traceparent",
            "tracestate",
            "baggage",
            "host",
            "x-client",
            "accept",
            "content-type",
            "x-amzn-trace-id",
            "user-agent",
            "cookie",
        ];
        let ids = [
            IdFields::new(vec![X_REQUEST_ID.clone(), X_CORRELATION_ID.clone()]),
            IdFields::new(vec![HeaderName::from_static("x-client"), TRACEPARENT.clone()]),
            IdFields::new(Vec::new()),
        ];
        let mut seed = 17_u64;
        let mut below = |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % bound
        };
        for _ in 0..2_000 {
            let mut headers = HeaderMap::new();
            for _ in 0..below(9) {
                let value = HeaderValue::from_static(["a", "b"][below(2)]);
                headers.append(names[below(names.len())], value);
            }
            for ids in &ids {
                let [mut found, mut by_name, mut by_line] = <[Found<'_>; 3]>::default();
                found.look(&headers, ids);
                by_name.by_name(&headers, ids);
                by_line.line_by_line(&headers, ids);
                let plain = format!("{by_name:?}");
                assert_eq!(format!("{found:?}"), plain, "{headers:?}");
                assert_eq!(format!("{by_line:?}"), plain, "{headers:?}");
            }
        }
    }
}

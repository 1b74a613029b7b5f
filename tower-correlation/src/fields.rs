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
/// The layers do this by themselves; it is for those that speak HTTP without them.
#[must_use]
pub fn extract(headers: &HeaderMap) -> Option<(TraceParent, Option<TraceState>)> {
    let parent = one_parent(headers)?;
    Some((parent, TraceState::parse(lines(headers, &TRACESTATE))))
}

/// Exactly one `traceparent`, and a valid one (§4.3).
pub(crate) fn one_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => TraceParent::parse(value.as_bytes()),
        _ => None,
    }
}

/// Writes exactly this trace context; a `tracestate` that stood there and is not given leaves.
///
/// Give every call a [child](TraceParent::child) of its own (§3.2.2.4).
pub fn inject(headers: &mut HeaderMap, trace: TraceParent, state: Option<&TraceState>) {
    set(headers, &TRACEPARENT, Some(&trace.to_bytes()));
    set(headers, &TRACESTATE, state.map(|state| state.as_str().as_bytes()));
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

/// Which of the fields that matter here a request has. Looking for a field by name costs about as much as looking at
/// six names, and most requests have few fields and none of these: one pass over short maps answers for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present {
    ids: u32,
    pub(crate) traceparent: bool,
    pub(crate) baggage: bool,
}

impl Present {
    /// Longer maps are asked by name.
    const SHORT: usize = 20;
    /// Nobody has looked.
    pub(crate) const UNKNOWN: Self = Self { ids: u32::MAX, traceparent: true, baggage: true };

    pub(crate) fn of(headers: &HeaderMap, ids: &[HeaderName]) -> Self {
        if headers.len() > Self::SHORT || ids.len() > 32 {
            return Self::UNKNOWN;
        }
        let mut present = Self { ids: 0, traceparent: false, baggage: false };
        let length = |name: &HeaderName| 1_u64 << (name.as_str().len() & 63);
        let lengths = ids.iter().fold(length(&TRACEPARENT) | length(&BAGGAGE), |all, id| all | length(id));
        for name in headers.keys() {
            // Most names are not even as long as one of those looked for.
            if lengths & length(name) == 0 {
                continue;
            }
            present.traceparent |= *name == TRACEPARENT;
            present.baggage |= *name == BAGGAGE;
            for (index, id) in ids.iter().enumerate() {
                present.ids |= u32::from(name == id) << index;
            }
        }
        present
    }

    /// Whether the id's field of this index may be there.
    pub(crate) fn id(self, index: usize) -> bool {
        self.ids >> index.min(31) & 1 != 0
    }
}

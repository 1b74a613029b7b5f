//! The fields of a stored response.
//!
//! Most of what is stored is never asked for. So fields are kept as a list of names and one piece with all values, and
//! become the map that answers are copies of when somebody first asks.

use std::hint::black_box;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::status::CACHE_STATUS;

#[derive(Debug)]
pub(crate) struct Fields {
    /// In their order; none where the map came as it is.
    lines: Vec<Line>,
    /// All values, one behind the other.
    values: Bytes,
    map: OnceLock<HeaderMap>,
    /// Answers have a `Cache-Status`.
    named: bool,
    /// `Cache-Status` came with it, from caches nearer to the origin.
    upstream_status: bool,
}

/// One field line without its value.
#[derive(Debug)]
struct Line {
    name: HeaderName,
    octets: usize,
    sensitive: bool,
}

impl Fields {
    /// Of those of a response for which `kept` holds, and others; `octets` is about what their values take. All values
    /// are copied into one piece, which each answer shares: a copy of the map then counts one reference up, in one place,
    /// instead of one each; and none holds the connection's buffer any more.
    pub(crate) fn of(
        all: &HeaderMap,
        kept: impl Fn(&HeaderName) -> bool,
        others: [Option<(HeaderName, HeaderValue)>; 2],
        octets: usize,
        named: bool,
    ) -> Self {
        let mut values = Vec::with_capacity(octets);
        let mut lines = Vec::with_capacity(all.len() + others.iter().flatten().count());
        let mut upstream_status = false;
        let mut add = |name: HeaderName, value: &HeaderValue| {
            upstream_status |= name == CACHE_STATUS;
            values.extend_from_slice(value.as_bytes());
            lines.push(Line { name, octets: value.len(), sensitive: value.is_sensitive() });
        };
        for (name, value) in all {
            // Each answer has an Age of its own.
            if *name != header::AGE && kept(name) {
                add(name.clone(), value);
            }
        }
        for (name, value) in others.into_iter().flatten() {
            add(name, &value);
        }
        Self { lines, values: values.into(), map: OnceLock::new(), named, upstream_status }
    }

    /// Of all fields of a response.
    pub(crate) fn of_all(all: &HeaderMap, named: bool) -> Self {
        Self::of(all, |_| true, [None, None], all.values().map(HeaderValue::len).sum(), named)
    }

    /// As another process has [made](Self::map) them.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn ready(map: HeaderMap, upstream_status: bool) -> Self {
        let (lines, values, map) = (Vec::new(), Bytes::new(), OnceLock::from(map));
        Self { lines, values, map, named: false, upstream_status }
    }

    /// As answers begin with them: what each sets by itself has its place already, behind all others.
    pub(crate) fn map(&self) -> &HeaderMap {
        self.map.get_or_init(|| {
            let mut map = HeaderMap::with_capacity(self.lines.len() + 2);
            let mut start = 0;
            for Line { name, octets, sensitive } in &self.lines {
                let place = start..start + octets;
                start = place.end;
                // It has been a value before.
                if let Some(value) = piece(&self.values, place, *sensitive) {
                    map.append(name, value);
                }
            }
            map.append(header::AGE, HeaderValue::from_static("0"));
            if self.named && !self.upstream_status {
                map.append(CACHE_STATUS, HeaderValue::from_static(""));
            }
            map
        })
    }

    /// `Cache-Status` came with it, from caches nearer to the origin.
    pub(crate) fn has_upstream_status(&self) -> bool {
        self.upstream_status
    }

    /// Octets that they take, once there is a map.
    pub(super) fn weight(&self) -> usize {
        if self.lines.is_empty() {
            return self.map.get().map_or(0, weight);
        }
        let lines = self.lines.iter();
        lines.map(|line| line.name.as_str().len() + line.octets + LINE).sum::<usize>() + PLACES + LINE
    }

    /// Reads what an answer is made of.
    pub(super) fn warm(&self) {
        let Some(map) = self.map.get() else { return };
        let values = map.values().map(HeaderValue::len).sum::<usize>();
        black_box((values, map.contains_key(header::AGE), self.values.is_unique()));
    }
}

/// Octets of fields that are a map.
pub(super) fn weight(map: &HeaderMap) -> usize {
    map.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE).sum::<usize>() + LINE
}

/// What a field takes besides its octets: about 104 in the map, a slot in its table, and a line in the list.
const LINE: usize = 160;

/// What the places of `Age` and `Cache-Status` take.
const PLACES: usize = 2 * (LINE + 16);

/// Puts all values into one piece of their own, as those of a response are.
pub(crate) fn gather(fields: &mut HeaderMap) {
    let values: Bytes = fields.values().flat_map(HeaderValue::as_bytes).copied().collect::<Vec<_>>().into();
    let mut start = 0;
    for value in fields.values_mut() {
        let place = start..start + value.len();
        start = place.end;
        if let Some(piece) = piece(&values, place, value.is_sensitive()) {
            *value = piece;
        }
    }
}

/// The value as a piece of `values`.
fn piece(values: &Bytes, place: Range<usize>, sensitive: bool) -> Option<HeaderValue> {
    let mut piece = HeaderValue::from_maybe_shared(values.slice(place)).ok()?;
    piece.set_sensitive(sensitive);
    Some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;

    #[test]
    fn the_map_has_what_is_kept_in_its_order_and_places_behind() {
        let all = map(&[
            ("x-a", "1"),
            ("age", "7"),
            ("x-b", ""),
            ("x-hop", "no"),
            ("x-a", "2"),
            ("set-cookie", "secret"),
        ]);
        let mut sensitive = all.clone();
        sensitive.values_mut().for_each(|value| value.set_sensitive(value == "secret"));
        let date = HeaderValue::from_static("now");
        let others = [Some((header::DATE, date)), None];
        let fields = Fields::of(&sensitive, |name| name != "x-hop", others, 99, true);
        let expected = map(&[
            ("x-a", "1"),
            ("x-b", ""),
            ("x-a", "2"),
            ("set-cookie", "secret"),
            ("date", "now"),
            ("age", "0"),
            ("cache-status", ""),
        ]);
        assert_eq!(*fields.map(), expected);
        assert!(fields.map().keys().eq(expected.keys()));
        assert!(fields.map()["set-cookie"].is_sensitive() && !fields.map()["date"].is_sensitive());
        assert!(!fields.has_upstream_status());
    }

    #[test]
    fn a_status_of_caches_nearer_to_the_origin_is_a_field_like_others() {
        let fields = Fields::of_all(&map(&[("cache-status", "a; hit")]), true);
        assert_eq!(*fields.map(), map(&[("cache-status", "a; hit"), ("age", "0")]));
        assert!(fields.has_upstream_status());
        let fields = Fields::of_all(&map(&[("x-a", "1")]), false);
        assert_eq!(*fields.map(), map(&[("x-a", "1"), ("age", "0")]));
    }

    #[test]
    fn they_weigh_as_much_before_there_is_a_map_as_after() {
        let some = map(&[("x-a", "12345"), ("x-b", "1")]);
        let fields = Fields::of_all(&some, true);
        let before = fields.weight();
        assert!(before >= weight(fields.map()), "{before}");
        assert_eq!(fields.weight(), before);
        assert_eq!(Fields::ready(some.clone(), false).weight(), weight(&some));
    }
}

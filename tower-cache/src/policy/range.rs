//! Ranges (RFC 9110 §14) of stored responses.

use std::ops::Range;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::asked::Lines;
use super::dates::{self, Clock};
use super::vary::copied;

/// What a request for a range gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selected {
    /// All of the content: there is no range, or it is one that may be ignored (§14.2).
    Whole,
    /// These octets of it.
    Part(Range<u64>),
    /// Nothing of it: the range lies outside (416).
    Outside,
}

/// One range of octets as a request has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    From(u64, Option<u64>),
    Last(u64),
}

/// What of a content of `length` octets the request gets. More ranges than one, and units other than bytes, are
/// ignored; so is a range whose condition (`If-Range`) the stored response does not meet (§13.1.5).
pub(crate) fn select(
    request: &HeaderMap,
    stored: &HeaderMap,
    length: u64,
    now: impl Clock + Copy,
) -> Selected {
    let Some(wanted) = wanted(request).filter(|_| if_range(request, stored, now)) else {
        return Selected::Whole;
    };
    match within(wanted, length) {
        // It can be satisfied (§14.1.2), and no Content-Range can say so.
        Some(part) if part.is_empty() && !matches!(wanted, Wanted::Last(0)) => Selected::Whole,
        Some(part) if part.start < part.end => Selected::Part(part),
        _ => Selected::Outside,
    }
}

fn within(wanted: Wanted, length: u64) -> Option<Range<u64>> {
    match wanted {
        Wanted::From(first, _) if first >= length => None,
        Wanted::From(first, last) => {
            Some(first..last.map_or(length, |last| length.min(last.saturating_add(1))))
        }
        Wanted::Last(count) => Some(length.saturating_sub(count)..length),
    }
}

fn wanted(request: &impl Lines) -> Option<Wanted> {
    let mut lines = request.lines(&header::RANGE);
    let line = lines.next()?.to_str().ok()?;
    if lines.next().is_some() {
        return None;
    }
    let (unit, set) = line.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first, last) {
        ("", last) => number(last).map(Wanted::Last),
        (first, "") => number(first).map(|first| Wanted::From(first, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Wanted::From(first, Some(last)))
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn number(digits: &str) -> Option<u64> {
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Whether the request's condition holds: the same strong entity tag, or exactly the same date, which is a strong
/// validator only where the response was sent at least a second after it (RFC 9110 §8.8.2.2).
fn if_range(request: &HeaderMap, stored: &HeaderMap, now: impl Clock + Copy) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let Some(condition) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    if condition.as_bytes().first() == Some(&b'"') {
        return stored.get(header::ETAG) == Some(condition);
    }
    let modified = dates::single(request, &header::IF_RANGE, now);
    let sent = dates::single(stored, &header::DATE, now);
    let strong = modified.zip(sent).and_then(|(modified, sent)| sent.duration_since(modified).ok());
    strong.is_some_and(|between| between >= SECOND)
        && modified == dates::single(stored, &header::LAST_MODIFIED, now)
}

/// Where the content of a stored 206 belongs (RFC 9111 §3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The `Range` it was the answer to.
    requested: HeaderValue,
    first: u64,
    total: u64,
}

/// The first and the last octet and their number in all, as `Content-Range` says.
fn announced(response: &HeaderMap) -> Option<(u64, u64, u64)> {
    let mut lines = response.get_all(header::CONTENT_RANGE).iter();
    let (range, total) = lines.next()?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (number(first)?, number(last)?, number(total)?);
    let sound = lines.next().is_none() && first <= last && last < total;
    sound.then_some((first, last, total))
}

impl Part {
    /// Of a response with one range of octets out of a known number.
    pub(crate) fn of(request: &impl Lines, status: StatusCode, response: &HeaderMap) -> Option<Self> {
        if status != StatusCode::PARTIAL_CONTENT || wanted(request).is_none() {
            return None;
        }
        let (first, _, total) = announced(response)?;
        Some(Self { requested: copied(request.lines(&header::RANGE).next()?)?, first, total })
    }

    /// Octets that a part has at most, by its own fields.
    pub(crate) fn length(response: &HeaderMap) -> Option<u64> {
        announced(response).map(|(first, last, _)| last - first + 1)
    }

    /// Octets this takes in a store.
    pub(crate) fn weight(&self) -> usize {
        self.requested.len()
    }

    /// What it consists of.
    #[cfg(feature = "redis")]
    pub(crate) fn raw(&self) -> (&HeaderValue, u64, u64) {
        (&self.requested, self.first, self.total)
    }

    /// Of what it consists of, if that is possible.
    #[cfg(feature = "redis")]
    pub(crate) fn from_raw(requested: HeaderValue, first: u64, total: u64) -> Option<Self> {
        (first < total).then_some(Self { requested, first, total })
    }

    /// What of its `length` octets answers the request: all, when it is the request it was the answer to; otherwise
    /// the range, when it lies within.
    pub(crate) fn select(
        &self,
        request: &HeaderMap,
        stored: &HeaderMap,
        length: u64,
        now: impl Clock + Copy,
    ) -> Option<Range<u64>> {
        let wanted = wanted(request).filter(|_| if_range(request, stored, now))?;
        if request.get(header::RANGE) == Some(&self.requested) {
            return Some(0..length);
        }
        let part = within(wanted, self.total)?;
        let start = part.start.checked_sub(self.first)?;
        let end = part.end.checked_sub(self.first).filter(|end| *end <= length)?;
        (start < end).then_some(start..end)
    }

    /// `Content-Range` of these octets of it.
    pub(crate) fn content_range(&self, part: &Range<u64>) -> Option<HeaderValue> {
        content_range(Some(&(self.first + part.start..self.first + part.end)), self.total)
    }
}

/// `Content-Range` of a part, or of what lies outside.
pub(crate) fn content_range(part: Option<&Range<u64>>, length: u64) -> Option<HeaderValue> {
    let value = match part {
        Some(part) => format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1)),
        None => format!("bytes */{length}"),
    };
    value.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;

    fn then() -> std::time::SystemTime {
        std::time::UNIX_EPOCH
    }

    #[test]
    fn ranges_of_ten_octets() {
        let ask = |range: &str| select(&map(&[("range", range)]), &map(&[]), 10, then);
        for (range, part) in [
            ("bytes=0-1", 0..2),
            ("bytes=9-9", 9..10),
            ("bytes=4-", 4..10),
            ("bytes=4-99999999999999999999", 4..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
            ("BYTES=0-1", 0..2),
        ] {
            assert_eq!(ask(range), Selected::Part(part), "{range}");
        }
        for range in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert_eq!(ask(range), Selected::Outside, "{range}");
        }
        for range in
            ["bytes=2-1", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes", "bytes=-", "bytes=1", ""]
        {
            assert_eq!(ask(range), Selected::Whole, "{range}");
        }
        assert_eq!(
            select(&map(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]), &map(&[]), 10, then),
            Selected::Whole
        );
    }

    #[test]
    fn conditions_compare_strongly() {
        let stored = map(&[
            ("etag", "\"a\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("date", "Sun, 06 Nov 1994 08:49:38 GMT"),
        ]);
        let ask = |condition: &str, stored: &HeaderMap| {
            select(&map(&[("range", "bytes=0-1"), ("if-range", condition)]), stored, 10, then)
        };
        for holds in ["\"a\"", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(ask(holds, &stored), Selected::Part(0..2), "{holds}");
        }
        for fails in ["\"b\"", "W/\"a\"", "Sun, 06 Nov 1994 08:49:38 GMT", "a"] {
            assert_eq!(ask(fails, &stored), Selected::Whole, "{fails}");
        }
        assert_eq!(ask("W/\"a\"", &map(&[("etag", "W/\"a\"")])), Selected::Whole);
    }

    #[test]
    fn what_lies_within_a_stored_part() {
        let stored = map(&[("content-range", "bytes 4-8/10")]);
        let part = Part::of(&map(&[("range", "bytes=4-8")]), StatusCode::PARTIAL_CONTENT, &stored).unwrap();
        let ask = |range: &str| part.select(&map(&[("range", range)]), &stored, 5, then);
        for (range, expected) in
            [("bytes=4-8", 0..5), ("bytes=5-6", 1..3), ("bytes=4-4", 0..1), ("bytes=8-8", 4..5)]
        {
            assert_eq!(ask(range), Some(expected), "{range}");
        }
        assert_eq!(part.content_range(&(1..3)).unwrap(), "bytes 5-6/10");
        for range in ["bytes=3-5", "bytes=8-9", "bytes=8-", "bytes=-1", "bytes=20-", "bytes=0-1,4-5", ""] {
            assert_eq!(ask(range), None, "{range}");
        }
        assert_eq!(part.select(&map(&[]), &stored, 5, then), None);
        for wrong in ["bytes 4-8/*", "bytes 8-4/10", "bytes 4-10/10", "lines 4-8/10", "bytes */10", "x"] {
            let of = |range| Part::of(&map(&[("range", "bytes=4-8")]), StatusCode::PARTIAL_CONTENT, &range);
            assert_eq!(of(map(&[("content-range", wrong)])), None, "{wrong}");
        }
    }
}

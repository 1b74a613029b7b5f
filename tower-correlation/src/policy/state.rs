//! `tracestate` (W3C Trace Context level 2, §3.3).

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;

/// Most members that a list may have (§3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Bytes that every implementation passes on at least (§3.3.1.5); what is longer is cut to whole members.
const MAX_BYTES: usize = 512;
/// Members longer than this go first when the list is cut (§3.3.1.5).
const LONG_MEMBER: usize = 128;

/// A valid `tracestate` list: at most 32 members with distinct keys, the most recently changed first.
///
/// What is passed on is at most 512 bytes: members longer than 128 bytes leave first, then the oldest, always whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceState {
    // One text of visible characters, as received or joined; never empty. Members are found by scanning, which for lists
    // of this size is cheaper than building a map.
    list: HeaderValue,
}

impl TraceState {
    /// Joins the field lines into one list. `None` when nothing is in them, or when a member in them is invalid or there
    /// are more than 32, which voids all of it. Of members with equal keys the first stays, which is the latest: only one
    /// entry per key is allowed (§3.3.1.4), and whoever receives more may drop the others (§3.5).
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut list = String::new();
        let mut count = 0;
        let mut seen = [0u64; MAX_MEMBERS];
        for line in lines {
            let mut rest = line;
            while !rest.is_empty() {
                let end = rest.iter().position(|&byte| byte == b',').unwrap_or(rest.len());
                let member = trim(&rest[..end]);
                rest = rest.get(end + 1..).unwrap_or_default();
                if member.is_empty() {
                    continue;
                }
                let equals = member.iter().position(|&byte| byte == b'=')?;
                let (key, value) = (&member[..equals], &member[equals + 1..]);
                if count == MAX_MEMBERS || !valid_key(key) || !valid_value(value) {
                    return None;
                }
                seen[count] = fingerprint(key);
                count += 1;
                // Equal keys have equal fingerprints; only then is it worth looking. The first one is the latest.
                if seen[..count - 1].contains(&seen[count - 1]) && get(&list, key).is_some() {
                    continue;
                }
                if list.is_empty() {
                    list.reserve_exact((line.len() + 1).min(2 * MAX_BYTES));
                } else {
                    list.push(',');
                }
                list.push_str(std::str::from_utf8(member).ok()?);
            }
        }
        Self::of(list)
    }

    /// Takes a field's only line; when nothing of it changes, the list shares its memory.
    pub(crate) fn shared(line: &HeaderValue) -> Option<Self> {
        if passes_as_it_is(line.as_bytes()) {
            return Some(Self { list: line.clone() });
        }
        Self::parse([line.as_bytes()])
    }

    /// Takes a field's only line into memory of its own.
    pub(crate) fn copied(line: &[u8]) -> Option<Self> {
        if passes_as_it_is(line) {
            return HeaderValue::from_bytes(line).ok().map(|list| Self { list });
        }
        Self::parse([line])
    }

    /// Takes a list of valid members.
    fn of(mut list: String) -> Option<Self> {
        if list.len() > MAX_BYTES {
            list = cut(&list, MAX_BYTES);
        }
        if list.is_empty() {
            return None;
        }
        HeaderValue::from_maybe_shared(Bytes::from(list)).ok().map(|list| Self { list })
    }

    /// The field value, sharing memory.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.list
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        get(self.as_str(), key.as_bytes())
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.as_str().split(',').filter_map(|member| member.split_once('='))
    }

    /// A list with the member in front, where changed ones belong (§3.3.1.4); the last member leaves when there are 32
    /// others, and others leave where 512 bytes are too few for all. `None` when key or value break the grammar or do not
    /// fit into 512 bytes.
    #[must_use]
    pub fn with(state: Option<&Self>, key: &str, value: &str) -> Option<Self> {
        if !valid_key(key.as_bytes()) || !valid_value(value.as_bytes()) {
            return None;
        }
        let mut list = format!("{key}={value}");
        let others = state.into_iter().flat_map(Self::iter).filter(|(other, _)| *other != key);
        for (other, value) in others.take(MAX_MEMBERS - 1) {
            list.push(',');
            list.push_str(other);
            list.push('=');
            list.push_str(value);
        }
        // Others make room, or the list would come back without what it was to be given.
        let own = key.len() + 1 + value.len();
        if list.len() > MAX_BYTES {
            if own > MAX_BYTES {
                return None;
            }
            let others = list.split_off(own);
            let others = cut(others.trim_start_matches(','), (MAX_BYTES - own).saturating_sub(1));
            if !others.is_empty() {
                list.push(',');
                list.push_str(&others);
            }
        }
        Self::of(list)
    }

    /// The list without the member; `None` when it was the only one.
    #[must_use]
    pub fn without(&self, key: &str) -> Option<Self> {
        let members: Vec<&str> = self
            .as_str()
            .split(',')
            .filter(|member| member.split_once('=').is_some_and(|(other, _)| other != key))
            .collect();
        Self::of(members.join(","))
    }

    /// The field value: at most 512 bytes, whole members.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only visible characters get in.
        self.list.to_str().unwrap_or_default()
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn get<'a>(list: &'a str, key: &[u8]) -> Option<&'a str> {
    list.split(',')
        .filter_map(|member| member.split_once('='))
        .find(|(other, _)| other.as_bytes() == key)
        .map(|(_, value)| value)
}

/// Whether [`TraceState::parse`] would take one line as it is: only valid members, none empty or with space around it, no
/// key twice, nothing to cut. May say no to such a line, but never yes to another. One pass, which is enough for most.
fn passes_as_it_is(line: &[u8]) -> bool {
    let is = |at: usize, class: u8| line.get(at).is_some_and(|&c| CLASS[usize::from(c)] & class != 0);
    let mut marks = [0_u32; MAX_MEMBERS];
    let (mut count, mut at) = (0, 0);
    while count < MAX_MEMBERS && line.len() <= MAX_BYTES {
        let key = at;
        let mut mark = 0_u32;
        while is(at, KEY) {
            // Equal keys have equal marks.
            mark = mark.rotate_left(5).wrapping_add(u32::from(line[at]));
            at += 1;
        }
        let starts = line.get(key).is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
        if !starts || at - key > MAX_PART || line.get(at) != Some(&b'=') || marks[..count].contains(&mark) {
            return false;
        }
        marks[count] = mark;
        count += 1;
        at += 1;
        let value = at;
        while is(at, VALUE) {
            at += 1;
        }
        if at == value || at - value > MAX_PART || line[at - 1] == b' ' {
            return false;
        }
        match line.get(at) {
            None => return true,
            Some(b',') => at += 1,
            Some(_) => return false,
        }
    }
    false
}

/// Whole members only, the long ones first to leave.
fn cut(list: &str, room: usize) -> String {
    let mut members: Vec<&str> = list.split(',').collect();
    let mut length = list.len();
    while length > room && !members.is_empty() {
        let leaves = members.iter().rposition(|member| member.len() > LONG_MEMBER);
        let gone = members.remove(leaves.unwrap_or(members.len() - 1));
        length -= gone.len() + usize::from(!members.is_empty());
    }
    members.join(",")
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn fingerprint(key: &[u8]) -> u64 {
    key.iter().fold(key.len() as u64, |mark, &byte| {
        (mark.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9)
    })
}

/// Most bytes of a key, and of a value (§3.3.1.3).
const MAX_PART: usize = 256;

/// In a key.
const KEY: u8 = 1;
/// In a value.
const VALUE: u8 = 2;

/// What a character may be, by bits.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'_' | b'-' | b'*' | b'/' | b'@') {
            table[byte] |= KEY;
        }
        if c >= b' ' && c <= b'~' && c != b',' && c != b'=' {
            table[byte] |= VALUE;
        }
        byte += 1;
    }
    table
};

/// §3.3.1.3.1: 1 to 256 of `a–z 0–9 _ - * / @`, the first a letter or a digit. Level 1 had the `@` once, in keys of the
/// form `tenant@system`, and those are keys of level 2 too.
fn valid_key(key: &[u8]) -> bool {
    key.len() <= MAX_PART
        && key.first().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && key.iter().all(|&c| CLASS[usize::from(c)] & KEY != 0)
}

/// §3.3.1.3.2: 1 to 256 printable characters without comma and equals sign; no space at the end.
fn valid_value(value: &[u8]) -> bool {
    (1..=MAX_PART).contains(&value.len())
        && value.iter().all(|&c| CLASS[usize::from(c)] & VALUE != 0)
        && !value.ends_with(b" ")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{TraceState, passes_as_it_is};

    /// A small generator: the same lines in every run.
    fn lines() -> impl Iterator<Item = Vec<u8>> {
        const PIECES: [&[u8]; 16] = [
            b"a", b"b1", b"=", b"=", b",", b",", b" ", b"@", b"\t", b"x=y", b"0=1", b"-", b"K", b"=\xe9",
            b"a=1,", b"~",
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        (0..20_000).map(move |_| {
            (0..next() % 9).flat_map(|_| PIECES[next() % PIECES.len()].iter().copied()).collect()
        })
    }

    /// The short way says yes only to what the long way passes on byte by byte; and to all of the usual kind.
    #[test]
    fn the_short_way_is_never_more_generous() {
        let mut short = 0;
        for line in lines() {
            let long = TraceState::parse([&line[..]]);
            if passes_as_it_is(&line) {
                short += 1;
                assert_eq!(long.as_ref().map(|state| state.as_str().as_bytes()), Some(&line[..]));
            }
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                assert_eq!(TraceState::shared(&value), long, "{}", line.escape_ascii());
            }
        }
        assert!(short > 500, "{short} lines went the short way");
        let of = |member: fn(usize) -> String, count| (0..count).map(member).collect::<Vec<_>>().join(",");
        for (line, passes) in [
            (of(|n| format!("k{n}={n}"), 32), true),
            (of(|n| format!("k{n}={n}"), 33), false),
            (format!("{}={}", "k".repeat(256), "v".repeat(255)), true),
            (format!("{}=v", "k".repeat(257)), false),
            (format!("k={}", "v".repeat(256)), true),
            (format!("k={}", "v".repeat(257)), false),
            (of(|n| format!("k{n}={}", "v".repeat(100)), 5), false),
            ("a=1,b=2,a=3".to_owned(), false),
            ("a=1, b=2".to_owned(), false),
            ("a=1,".to_owned(), false),
            ("a= 1,b= ".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(passes_as_it_is(line.as_bytes()), passes, "{line}");
        }
    }
}

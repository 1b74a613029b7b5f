//! `tracestate` (W3C Trace Context level 2, §3.3).

use std::fmt;

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
    // One string, as received or joined; never empty. Members are found by scanning, which for lists of this size is
    // cheaper than building a map.
    list: String,
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
        if list.len() > MAX_BYTES {
            list = cut(&list);
        }
        (!list.is_empty()).then_some(Self { list })
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        get(&self.list, key.as_bytes())
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.split(',').filter_map(|member| member.split_once('='))
    }

    /// A list with the member in front, where changed ones belong (§3.3.1.4); the last member leaves when there are 32
    /// others. `None` when key or value break the grammar.
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
        if list.len() > MAX_BYTES {
            list = cut(&list);
        }
        (!list.is_empty()).then_some(Self { list })
    }

    /// The list without the member; `None` when it was the only one.
    #[must_use]
    pub fn without(&self, key: &str) -> Option<Self> {
        let members: Vec<&str> = self
            .list
            .split(',')
            .filter(|member| member.split_once('=').is_some_and(|(other, _)| other != key))
            .collect();
        (!members.is_empty()).then(|| Self { list: members.join(",") })
    }

    /// The field value: at most 512 bytes, whole members.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.list
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.list)
    }
}

fn get<'a>(list: &'a str, key: &[u8]) -> Option<&'a str> {
    list.split(',')
        .filter_map(|member| member.split_once('='))
        .find(|(other, _)| other.as_bytes() == key)
        .map(|(_, value)| value)
}

/// Whole members only, the long ones first to leave.
fn cut(list: &str) -> String {
    let mut members: Vec<&str> = list.split(',').collect();
    let mut length = list.len();
    while length > MAX_BYTES {
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

/// What a character may be, by bits: 1 in a key, 2 in a value.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'_' | b'-' | b'*' | b'/' | b'@') {
            table[byte] |= 1;
        }
        if c >= b' ' && c <= b'~' && c != b',' && c != b'=' {
            table[byte] |= 2;
        }
        byte += 1;
    }
    table
};

/// §3.3.1.3.1: 1 to 256 of `a–z 0–9 _ - * / @`, the first a letter or a digit. Level 1 had the `@` once, in keys of the
/// form `tenant@system`, and those are keys of level 2 too.
fn valid_key(key: &[u8]) -> bool {
    key.len() <= 256
        && key.first().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && key.iter().all(|&c| CLASS[usize::from(c)] & 1 != 0)
}

/// §3.3.1.3.2: 1 to 256 printable characters without comma and equals sign; no space at the end.
fn valid_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len())
        && value.iter().all(|&c| CLASS[usize::from(c)] & 2 != 0)
        && !value.ends_with(b" ")
}

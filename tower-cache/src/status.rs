//! `Cache-Status` (RFC 9211).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::error::ConfigError;
use crate::outcome::{BypassReason, CacheOutcome, MissReason, StaleReason};

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The name of a cache as the field has it: an sf-token, or an sf-string where it is none (RFC 9211 §2).
pub(crate) fn name(name: &str) -> Result<Name, ConfigError> {
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return Err(ConfigError::new("name", "1 to 64 printable ASCII characters"));
    }
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    if name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*') && name.bytes().all(token)
    {
        return Ok(Name::of(name.into()));
    }
    Ok(Name::of(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")).into()))
}

/// The name of a cache as the field has it, and what most misses are told with it: to write that anew would cost more
/// than the rest of what is said about them.
#[derive(Debug)]
pub(crate) struct Name {
    text: Box<str>,
    /// Nothing was stored for the URI, the origin sent 200, and this is not stored, or is.
    misses: [Option<HeaderValue>; 2],
}

impl Name {
    /// Of what is a token or a string already.
    pub(crate) fn of(text: Box<str>) -> Self {
        let misses = [false, true].map(|stored| write(&text, MISS, Details { stored, ..MISSED }));
        Self { text, misses }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

const MISS: CacheOutcome = CacheOutcome::Miss(MissReason::Uri);
const MISSED: Details = Details { ttl: None, forwarded: Some(StatusCode::OK), stored: false };

const MAX_NAME: usize = 64;

/// What else the field tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Details {
    /// Seconds the response is fresh for; negative when it is stale.
    pub(crate) ttl: Option<i64>,
    /// The status the origin sent, where it was asked.
    pub(crate) forwarded: Option<StatusCode>,
    /// The response is being stored.
    pub(crate) stored: bool,
}

/// The member this cache adds.
pub(crate) fn value(name: &Name, outcome: CacheOutcome, details: Details) -> Option<HeaderValue> {
    if outcome == MISS && (Details { stored: false, ..details }) == MISSED {
        return name.misses[usize::from(details.stored)].clone();
    }
    write(&name.text, outcome, details)
}

fn write(name: &str, outcome: CacheOutcome, details: Details) -> Option<HeaderValue> {
    let mut text = Text { buffer: [0; MAX_VALUE], length: 0 };
    text.push(name);
    match outcome {
        CacheOutcome::Hit | CacheOutcome::Stale(StaleReason::Request | StaleReason::Revalidating) => {
            text.push("; hit");
        }
        CacheOutcome::Collapsed => text.push("; fwd=miss; collapsed"),
        CacheOutcome::NotCached => text.push("; detail=\"only-if-cached\""),
        forwarded => {
            text.push("; fwd=");
            text.push(forwarded.forwarded().unwrap_or("miss"));
        }
    }
    if let Some(status) = details.forwarded {
        text.push("; fwd-status=");
        text.push(status.as_str());
    }
    if let Some(ttl) = details.ttl {
        text.push(if ttl < 0 { "; ttl=-" } else { "; ttl=" });
        text.push_bytes(Digits::of(ttl.unsigned_abs()).as_bytes());
    }
    if details.stored {
        text.push("; stored");
    }
    let detail = match outcome {
        CacheOutcome::Miss(MissReason::Store)
        | CacheOutcome::Stale(_)
        | CacheOutcome::Bypass(
            BypassReason::Extension
            | BypassReason::Override
            | BypassReason::Precondition
            | BypassReason::Content
            | BypassReason::Authority,
        ) => Some(outcome.reason()),
        _ => None,
    };
    if let Some(detail) = detail {
        text.push("; detail=");
        text.push(detail);
    }
    HeaderValue::from_bytes(&text.buffer[..text.length]).ok()
}

/// Longer than a name at its longest with all that can follow.
const MAX_VALUE: usize = 256;

/// Written by hand: this runs for every response, and the machinery of `write!` costs more than all the rest here.
struct Text {
    buffer: [u8; MAX_VALUE],
    length: usize,
}

impl Text {
    fn push(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }

    fn push_bytes(&mut self, text: &[u8]) {
        if let Some(place) = self.buffer.get_mut(self.length..self.length + text.len()) {
            place.copy_from_slice(text);
            self.length += text.len();
        }
    }
}

/// A number as text.
pub(crate) struct Digits {
    digits: [u8; 20],
    start: usize,
}

impl Digits {
    pub(crate) fn of(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            // A remainder of 10 fits.
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, start };
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// Adds the member behind those of caches nearer to the origin.
pub(crate) fn append(headers: &mut HeaderMap, name: Option<&Name>, outcome: CacheOutcome, details: Details) {
    if let Some(value) = name.and_then(|name| value(name, outcome, details)) {
        headers.append(CACHE_STATUS, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        let name = name("gw").unwrap();
        let member = |outcome, details| value(&name, outcome, details).unwrap();
        let none = Details::default();
        assert_eq!(member(CacheOutcome::Hit, Details { ttl: Some(57), ..none }), "gw; hit; ttl=57");
        let stale = CacheOutcome::Stale(StaleReason::Error);
        let failed = Details { ttl: Some(-3), forwarded: Some(StatusCode::BAD_GATEWAY), ..none };
        assert_eq!(member(stale, failed), "gw; fwd=stale; fwd-status=502; ttl=-3; detail=error");
        let stored = Details { forwarded: Some(StatusCode::OK), stored: true, ..none };
        assert_eq!(
            member(CacheOutcome::Miss(MissReason::Uri), stored),
            "gw; fwd=uri-miss; fwd-status=200; stored"
        );
        let passed = Details { stored: false, ..stored };
        assert_eq!(member(CacheOutcome::Miss(MissReason::Uri), passed), "gw; fwd=uri-miss; fwd-status=200");
        let failed = Details { forwarded: Some(StatusCode::NOT_FOUND), ..passed };
        assert_eq!(member(CacheOutcome::Miss(MissReason::Uri), failed), "gw; fwd=uri-miss; fwd-status=404");
        assert_eq!(member(CacheOutcome::Miss(MissReason::Vary), passed), "gw; fwd=vary-miss; fwd-status=200");
        assert_eq!(member(CacheOutcome::Bypass(BypassReason::Method), none), "gw; fwd=method");
        assert_eq!(
            member(CacheOutcome::Bypass(BypassReason::Content), none),
            "gw; fwd=bypass; detail=content"
        );
        assert_eq!(member(CacheOutcome::Collapsed, none), "gw; fwd=miss; collapsed");
    }

    #[test]
    fn names_are_tokens_or_strings() {
        assert_eq!(&*name("gw.example:80/a").unwrap().text, "gw.example:80/a");
        assert_eq!(&*name("my \"cache\"").unwrap().text, "\"my \\\"cache\\\"\"");
        for wrong in ["", "a\nb", "\u{fc}"] {
            assert_eq!(name(wrong).unwrap_err().field(), "name");
        }
    }
}

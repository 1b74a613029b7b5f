//! A door for fuzzers and generators, past the layer, to whatever reads octets from outside. No part of the public
//! interface: it may change at any time. Each function says whether the input was one that is understood, and panics
//! where what was understood contradicts itself.

#![allow(clippy::must_use_candidate, reason = "called for what they assert")]

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use crate::key::{CacheKey, KeyRules};
use crate::policy::directives::{RequestDirectives, ResponseDirectives, Seconds};
use crate::policy::range::{self, Part, Selected};
use crate::policy::vary::Variant;
use crate::policy::{conditional, dates, targeted};

/// A field, if these octets can be the value of one.
fn field(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(name, value)]))
}

/// `Cache-Control`: case means nothing, neither does an empty member, and seconds are at most 2³¹.
pub fn directives(line: &[u8]) -> bool {
    let Some(headers) = field(header::CACHE_CONTROL, line) else { return false };
    let response = ResponseDirectives::parse(&headers);
    let request = RequestDirectives::parse(&headers);
    for other in [line.to_ascii_uppercase(), [b" , ,", line].concat()] {
        let Some(other) = field(header::CACHE_CONTROL, &other) else { continue };
        assert_eq!(ResponseDirectives::parse(&other), response);
        assert_eq!(RequestDirectives::parse(&other), request);
    }
    let all = [response.max_age, response.s_maxage, response.stale_while_revalidate, response.stale_if_error];
    assert!(all.iter().all(|seconds| !matches!(seconds, Seconds::Valid(seconds) if *seconds > 1 << 31)));
    response != ResponseDirectives::default() || request != RequestDirectives::default()
}

/// `CDN-Cache-Control`, on as many lines as there are line feeds: spaces around it mean nothing, and lines join as if
/// with commas (RFC 9651 §4.2).
pub fn targeted(text: &[u8]) -> bool {
    const NAME: HeaderName = HeaderName::from_static("cdn-cache-control");
    let lines: Option<Vec<_>> =
        text.split(|byte| *byte == b'\n').map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let Some(lines) = lines else { return false };
    let of = |lines: &[HeaderValue]| {
        let headers = HeaderMap::from_iter(lines.iter().map(|line| (NAME, line.clone())));
        targeted::directives(&headers, &[NAME])
    };
    let read = of(&lines);
    let joined = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&[b"  ", &joined[..], b" "].concat()) {
        assert_eq!(of(&[joined]), read);
    }
    read.is_some()
}

/// The time of day of all that is read here.
fn then() -> SystemTime {
    UNIX_EPOCH
}

/// An HTTP-date: what is one is the same after it has been written and read again, in whatever case, from 1970 on.
pub fn date(text: &[u8]) -> bool {
    let Some(date) = dates::parse(text, then) else { return false };
    assert_eq!(dates::parse(&text.to_ascii_uppercase(), then), Some(date));
    if date < UNIX_EPOCH {
        return true;
    }
    assert_eq!(dates::parse(httpdate::fmt_http_date(date).as_bytes(), then), Some(date));
    true
}

/// `Range` beside a content of `length` octets, and `Content-Range` of a stored part: never more than there is.
pub fn range(wanted: &[u8], of: &[u8], length: u64) -> bool {
    let Some(request) = field(header::RANGE, wanted) else { return false };
    let selected = range::select(&request, &HeaderMap::new(), length, then);
    if let Selected::Part(part) = &selected {
        assert!(part.start < part.end && part.end <= length);
        assert!(range::content_range(Some(part), length).is_some());
    }
    let Some(stored) = field(header::CONTENT_RANGE, of) else { return selected != Selected::Whole };
    if let Some(part) = Part::of(&request, StatusCode::PARTIAL_CONTENT, &stored) {
        assert_eq!(
            part.select(&request, &stored, length, then),
            Some(0..length),
            "the request it was the answer to"
        );
        for other in [&b"bytes=0-"[..], b"bytes=1-1", b"bytes=-1", b"bytes=3-4"] {
            let Some(other) = field(header::RANGE, other) else { continue };
            let within = part.select(&other, &stored, length, then);
            assert!(within.is_none_or(|within| within.start <= within.end && within.end <= length));
        }
        return true;
    }
    selected != Selected::Whole
}

/// A request's field that a response varies by: its own request is answered, and who answers whom is mutual.
pub fn vary(vary: &[u8], one: &[u8], other: &[u8]) -> bool {
    let Some(response) = field(header::VARY, vary) else { return false };
    let mut variants = Vec::new();
    for name in [header::ACCEPT_LANGUAGE, HeaderName::from_static("x-a")] {
        for value in [one, other] {
            let Some(request) = field(name.clone(), value) else { continue };
            let Some(variant) = Variant::of(&request, &response) else { return false };
            assert!(variant.answers(&request));
            variants.push((variant, request));
        }
    }
    for (variant, request) in &variants {
        for (back, asked) in &variants {
            assert_eq!(variant.answers(asked), back.answers(request));
        }
    }
    true
}

/// `If-None-Match` and `If-Modified-Since`: weakness means nothing in comparison (RFC 9110 §8.8.3.2).
pub fn conditional(condition: &[u8], etag: &[u8]) -> bool {
    let Some(stored) = field(header::ETAG, etag) else { return false };
    let Some(request) = field(header::IF_NONE_MATCH, condition) else { return false };
    let met = conditional::not_modified(&request, StatusCode::OK, &stored, then);
    let weak = [b"W/", etag].concat();
    if let Some(weak) = field(header::ETAG, &weak).filter(|_| etag.first() == Some(&b'"')) {
        assert_eq!(conditional::not_modified(&request, StatusCode::OK, &weak, then), met);
    }
    let modified =
        HeaderMap::from_iter([(header::IF_MODIFIED_SINCE, request[header::IF_NONE_MATCH].clone())]);
    let stored = HeaderMap::from_iter([(header::LAST_MODIFIED, stored[header::ETAG].clone())]);
    met | conditional::not_modified(&modified, StatusCode::OK, &stored, then)
}

/// `Location` and `Content-Location` of a response to an unsafe request: never a URI of another origin.
pub fn reference(reference: &[u8]) -> bool {
    let target = CacheKey::of_uri(&Uri::from_static("http://a.example/orders"));
    let Some(target) = target else { return false };
    let Some(key) = KeyRules::default().of_reference(&target, reference) else { return false };
    assert!(key.uri().starts_with("http://a.example/"));
    true
}

/// What comes back from Redis: what is understood is the same after it has been written and read again.
#[cfg(feature = "redis")]
pub fn wire(value: &[u8]) -> bool {
    crate::redis::check(value)
}

/// A stored response as it is written to Redis.
#[cfg(feature = "redis")]
pub fn written(fields: &[(HeaderName, HeaderValue)], vary: &[u8], content: &[u8]) -> Vec<u8> {
    crate::redis::sample(fields, vary, content)
}

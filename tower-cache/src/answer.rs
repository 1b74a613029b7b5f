//! Responses made of stored ones.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};

use crate::body::OwnBody;
use crate::cache::Inner;
use crate::error::CacheError;
use crate::flight::Reader;
use crate::outcome::CacheOutcome;
use crate::policy::conditional;
use crate::policy::range::{self, Selected};
use crate::policy::request::Asks;
use crate::status::{self, CACHE_STATUS, Details, Digits};
use crate::store::{Entry, Head, StoredBody};

/// A stored response, and what is to be said about it.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) cache: &'a Inner,
    /// The request's fields as the client sent them.
    pub(crate) request: &'a HeaderMap,
    pub(crate) asks: Asks,
    pub(crate) head: &'a Head,
    pub(crate) age: Duration,
    pub(crate) outcome: CacheOutcome,
    /// The status the origin sent, where it was asked.
    pub(crate) forwarded: Option<StatusCode>,
}

/// The content of a stored response, or of one that is being fetched.
pub(crate) enum Content<'a> {
    Stored(&'a Entry),
    Reading(Reader, Option<u64>),
}

impl Content<'_> {
    fn length(&self) -> Option<u64> {
        match self {
            Self::Stored(entry) => Some(entry.body.len()),
            Self::Reading(_, length) => *length,
        }
    }
}

impl Answer<'_> {
    /// The response, with this content where one is sent.
    pub(crate) fn with(self, content: Content<'_>) -> Response<OwnBody> {
        let Self { cache, head, outcome, .. } = self;
        let mut headers = head.headers().clone();
        self.put_own_fields(&mut headers);
        let (status, body) = self.status_and_body(&mut headers, content);
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.extensions_mut().insert(outcome);
        cache.count(outcome);
        response
    }

    /// `Age` and `Cache-Status`.
    fn put_own_fields(&self, headers: &mut HeaderMap) {
        let details = Details { ttl: Some(self.ttl()), forwarded: self.forwarded, stored: false };
        let name = self.cache.config.name.as_ref();
        let mut status = name.and_then(|name| status::value(name, self.outcome, details));
        let mut age = seconds(self.age);
        let upstream_status = self.head.fields.has_upstream_status();
        // Most often both are the last two fields already, so that nothing is searched for and nothing grows.
        for (name, value) in headers.iter_mut().skip(self.head.headers().len().saturating_sub(2)) {
            let own = match name {
                name if *name == header::AGE => &mut age,
                name if *name == CACHE_STATUS && !upstream_status => &mut status,
                _ => continue,
            };
            if let Some(own) = own.take() {
                *value = own;
            }
        }
        if let Some(age) = age {
            headers.insert(header::AGE, age);
        }
        if let Some(status) = status {
            headers.append(CACHE_STATUS, status);
        } else if name.is_none() && !upstream_status {
            // Another cache with the same store keeps a place for it.
            headers.remove(CACHE_STATUS);
        }
    }

    /// What the request's conditions, method and range make of it, in this order (RFC 9110 §13.2.2).
    fn status_and_body(&self, headers: &mut HeaderMap, content: Content<'_>) -> (StatusCode, OwnBody) {
        let head = self.head;
        if self.asks.conditional
            && conditional::not_modified(
                self.request,
                head.status,
                head.headers(),
                self.cache.config.wall_clock,
            )
        {
            conditional::strip_content_fields(headers);
            return (StatusCode::NOT_MODIFIED, OwnBody::empty());
        }
        if self.asks.head {
            // A 204 has none (RFC 9110 §8.6).
            let own = headers.contains_key(header::CONTENT_LENGTH) || head.status == StatusCode::NO_CONTENT;
            let length = content.length().filter(|_| !own);
            if let Some(length) = length {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            return (head.status, OwnBody::empty());
        }
        match content {
            Content::Stored(entry)
                if self.asks.range && (head.status == StatusCode::OK || head.part.is_some()) =>
            {
                self.part(headers, &entry.body)
            }
            Content::Stored(entry) => (head.status, OwnBody::stored(&entry.body)),
            Content::Reading(reader, length) => (head.status, OwnBody::Reading { reader, length }),
        }
    }

    /// The range a request asks for.
    fn part(&self, headers: &mut HeaderMap, body: &StoredBody) -> (StatusCode, OwnBody) {
        if let Some(stored) = &self.head.part {
            let all = 0..body.len();
            let part = stored
                .select(self.request, self.head.headers(), body.len(), self.cache.config.wall_clock)
                .unwrap_or(all.clone());
            if part == all {
                return (self.head.status, OwnBody::stored(body));
            }
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
            if let Some(value) = stored.content_range(&part) {
                headers.insert(header::CONTENT_RANGE, value);
            }
            return (self.head.status, OwnBody::part(body, &part));
        }
        let (status, part, content) = match range::select(
            self.request,
            self.head.headers(),
            body.len(),
            self.cache.config.wall_clock,
        ) {
            Selected::Whole => return (self.head.status, OwnBody::stored(body)),
            Selected::Part(part) => {
                let content = OwnBody::part(body, &part);
                (StatusCode::PARTIAL_CONTENT, Some(part), content)
            }
            Selected::Outside => {
                conditional::strip_freshness(headers);
                (StatusCode::RANGE_NOT_SATISFIABLE, None, OwnBody::empty())
            }
        };
        let length = part.as_ref().map_or(0, |part| part.end - part.start);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(value) = range::content_range(part.as_ref(), body.len()) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        (status, content)
    }

    /// Seconds it is still fresh for; negative since when it is stale (RFC 9211 §2.4).
    fn ttl(&self) -> i64 {
        let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        whole(self.head.freshness.lifetime).saturating_sub(whole(self.age))
    }
}

/// The fields as the origin sent them, as far as they are kept.
pub(crate) fn restore(head: &Head) -> HeaderMap {
    let mut headers = head.headers().clone();
    headers.remove(header::AGE);
    if !head.fields.has_upstream_status() {
        headers.remove(CACHE_STATUS);
    }
    if head.own_etag {
        headers.remove(header::ETAG);
    }
    headers
}

/// Whole seconds as a field value.
fn seconds(duration: Duration) -> Option<HeaderValue> {
    // 2³¹ at most (RFC 9111 §1.2.2).
    let number = duration.as_secs().min(1 << 31);
    if number < 1000 {
        // Fits, as it is small; zeros in front are left out.
        let (at, zeros) = (number as usize * 3, usize::from(number < 100) + usize::from(number < 10));
        return SMALL.get(at + zeros..at + 3).map(HeaderValue::from_static);
    }
    HeaderValue::from_bytes(Digits::of(number).as_bytes()).ok()
}

/// `000` to `999`: the ages of most answers, without an allocation.
static SMALL: &str = match std::str::from_utf8(&SMALL_DIGITS) {
    Ok(digits) => digits,
    Err(_) => "",
};

static SMALL_DIGITS: [u8; 3000] = {
    let mut digits = [b'0'; 3000];
    let mut number = 0;
    while number < 1000 {
        // Remainders of 10 fit.
        digits[number * 3] += (number / 100) as u8;
        digits[number * 3 + 1] += (number / 10 % 10) as u8;
        digits[number * 3 + 2] += (number % 10) as u8;
        number += 1;
    }
    digits
};

/// 504 to a request that wants nothing but a stored response (RFC 9111 §5.2.1.7).
pub(crate) fn not_cached(cache: &Inner, request: &Parts) -> Response<OwnBody> {
    let error = CacheError::NotCached;
    let mut response = cache.config.render.render(&error, request).map(|body: Bytes| OwnBody::data(body));
    let outcome = CacheOutcome::NotCached;
    status::append(response.headers_mut(), cache.config.name.as_ref(), outcome, Details::default());
    response.extensions_mut().insert(error);
    response.extensions_mut().insert(outcome);
    cache.count(outcome);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_whole_seconds_in_decimal() {
        for number in (0..2000).chain([9_999, 10_000, 1 << 31]) {
            assert_eq!(seconds(Duration::from_millis(number * 1000 + 999)).unwrap(), *number.to_string());
        }
        assert_eq!(seconds(Duration::MAX).unwrap(), "2147483648");
    }
}

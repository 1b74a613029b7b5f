//! Responses made of stored ones.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};

use crate::body::OwnBody;
use crate::cache::Inner;
use crate::error::CacheError;
use crate::outcome::CacheOutcome;
use crate::policy::conditional;
use crate::policy::request::Asks;
use crate::status::{self, CACHE_STATUS, Details};
use crate::store::{Head, StoredBody};

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

impl Answer<'_> {
    /// The response; `body` is taken only where one is sent.
    pub(crate) fn with(self, length: Option<u64>, body: impl FnOnce() -> OwnBody) -> Response<OwnBody> {
        let Self { cache, head, outcome, .. } = self;
        let mut headers = head.headers.clone();
        // The fields are there already, so that nothing grows.
        if let Some(age) = seconds(self.age) {
            headers.insert(header::AGE, age);
        }
        if let Some(name) = &cache.config.name {
            let details = Details { ttl: Some(self.ttl()), forwarded: self.forwarded, stored: false };
            if head.upstream_status {
                status::append(&mut headers, Some(name), outcome, details);
            } else if let Some(value) = status::value(name, outcome, details) {
                headers.insert(CACHE_STATUS, value);
            }
        }
        let not_modified =
            self.asks.conditional && conditional::not_modified(self.request, head.status, &head.headers);
        let body = if not_modified {
            conditional::strip_content_fields(&mut headers);
            OwnBody::empty()
        } else if self.asks.head {
            if let Some(length) = length.filter(|_| !headers.contains_key(header::CONTENT_LENGTH)) {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            OwnBody::empty()
        } else {
            body()
        };
        let mut response = Response::new(body);
        *response.status_mut() = if not_modified { StatusCode::NOT_MODIFIED } else { head.status };
        *response.headers_mut() = headers;
        response.extensions_mut().insert(outcome);
        cache.count(outcome);
        response
    }

    /// Seconds it is still fresh for; negative since when it is stale (RFC 9211 §2.4).
    fn ttl(&self) -> i64 {
        let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        whole(self.head.freshness.lifetime).saturating_sub(whole(self.age))
    }
}

/// Prepares the fields of a response for being stored: those that each answer sets have their place already, which
/// saves it an allocation.
pub(crate) fn prepare(headers: &mut HeaderMap, named: bool) -> bool {
    let upstream_status = headers.contains_key(CACHE_STATUS);
    headers.insert(header::AGE, HeaderValue::from_static("0"));
    if named && !upstream_status {
        headers.insert(CACHE_STATUS, HeaderValue::from_static(""));
    }
    upstream_status
}

/// Takes back what [`prepare`] did.
pub(crate) fn restore(head: &Head) -> HeaderMap {
    let mut headers = head.headers.clone();
    headers.remove(header::AGE);
    if !head.upstream_status {
        headers.remove(CACHE_STATUS);
    }
    headers
}

/// Whole seconds as a field value.
fn seconds(duration: Duration) -> Option<HeaderValue> {
    // 2³¹ at most (RFC 9111 §1.2.2).
    let mut number = duration.as_secs().min(1 << 31);
    let mut digits = [0_u8; 10];
    let mut start = digits.len();
    loop {
        start -= 1;
        // A remainder of 10 fits.
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return HeaderValue::from_bytes(&digits[start..]).ok();
        }
    }
}

/// The body of a stored response.
pub(crate) fn stored(body: &std::sync::Arc<StoredBody>) -> OwnBody {
    OwnBody::stored(std::sync::Arc::clone(body))
}

/// 504 to a request that wants nothing but a stored response (RFC 9111 §5.2.1.7).
pub(crate) fn not_cached(cache: &Inner, request: &Parts) -> Response<OwnBody> {
    let error = CacheError::NotCached;
    let mut response = cache.config.render.render(&error, request).map(|body: Bytes| OwnBody::data(body));
    let outcome = CacheOutcome::NotCached;
    status::append(response.headers_mut(), cache.config.name.as_deref(), outcome, Details::default());
    response.extensions_mut().insert(error);
    response.extensions_mut().insert(outcome);
    cache.count(outcome);
    response
}

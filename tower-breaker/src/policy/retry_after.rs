use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date; a date that has passed is no wait.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// What `grpc-retry-pushback-ms` says (gRPC proposal A6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// It is not there.
    Silent,
    /// Wait that long and come again.
    After(Duration),
    /// Negative or unreadable: do not come again.
    Never,
}

pub(crate) fn pushback(headers: &HeaderMap) -> Pushback {
    let Some(value) = headers.get("grpc-retry-pushback-ms") else { return Pushback::Silent };
    let value = value.to_str().map(str::trim).unwrap_or_default();
    match value.parse::<u32>() {
        Ok(millis) => Pushback::After(Duration::from_millis(u64::from(millis))),
        Err(_) => Pushback::Never,
    }
}

/// The code of a call that says none that can be read.
pub(crate) const UNKNOWN: u32 = 2;

/// The outcome of a gRPC call, where these headers or trailers hold it; unreadable is UNKNOWN (gRPC over HTTP/2,
/// Responses).
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    let code = headers.get("grpc-status")?;
    Some(code.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(name: &'static str, value: &'static [u8]) -> HeaderMap {
        let value = HeaderValue::from_bytes(value).unwrap();
        [(http::HeaderName::from_static(name), value)].into_iter().collect()
    }

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let wait = |value| retry_after(&of("retry-after", value), now);
        assert_eq!(wait(b"120"), Some(Duration::from_secs(120)));
        assert_eq!(wait(b"0"), Some(Duration::ZERO));
        assert_eq!(wait(b"Sun, 06 Nov 1994 08:49:40 GMT"), Some(Duration::from_secs(3)));
        assert_eq!(wait(b"Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait(b"99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        for value in [&b""[..], b"-1", b"+1", b"1.5", b"soon", b"1, 2", b"\xff"] {
            assert_eq!(wait(value), None, "{value:?}");
        }
    }

    #[test]
    fn pushback_that_is_no_number_of_milliseconds_means_never() {
        let read = |value| pushback(&of("grpc-retry-pushback-ms", value));
        assert_eq!(read(b"250"), Pushback::After(Duration::from_millis(250)));
        assert_eq!(read(b"0"), Pushback::After(Duration::ZERO));
        for value in [&b"-1"[..], b"", b"soon", b"4294967296", b"\xff"] {
            assert_eq!(read(value), Pushback::Never, "{value:?}");
        }
        assert_eq!(pushback(&HeaderMap::new()), Pushback::Silent);
    }

    #[test]
    fn an_unreadable_grpc_status_is_unknown() {
        assert_eq!(grpc_status(&of("grpc-status", b"14")), Some(14));
        assert_eq!(grpc_status(&of("grpc-status", b"no")), Some(2));
        assert_eq!(grpc_status(&HeaderMap::new()), None);
    }
}

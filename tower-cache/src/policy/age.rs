//! How old a response was when it came (RFC 9111 §4.2.3, §5.1).

use std::time::{Duration, SystemTime};

use http::HeaderValue;

use super::directives::saturating_number;
use super::said::Said;

/// How long a response took, and when it was received by the wall clock, which may have been set meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) delay: Duration,
    pub(crate) received: SystemTime,
}

/// `corrected_initial_age`; `date` is that of the response.
pub(crate) fn initial(said: &Said<'_>, date: Option<SystemTime>, exchange: Exchange) -> Duration {
    let apparent = date.and_then(|date| exchange.received.duration_since(date).ok()).unwrap_or_default();
    let corrected = field(said) + exchange.delay;
    apparent.max(corrected)
}

/// The first member of `Age`; what is no number is ignored (§5.1).
fn field(said: &Said<'_>) -> Duration {
    let first = said.age.first().map(HeaderValue::as_bytes).unwrap_or_default();
    let first = first.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return Duration::ZERO;
    }
    Duration::from_secs(u64::from(saturating_number(first)))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::{HeaderMap, header};

    use super::*;

    fn initial(headers: &HeaderMap, exchange: Exchange) -> Duration {
        let said = Said::of(headers, &[]);
        super::initial(&said, said.date.date(exchange.received), exchange)
    }

    #[test]
    fn the_greater_of_apparent_age_and_field_plus_delay() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(784_111_777 + seconds);
        let exchange = Exchange { delay: Duration::from_secs(2), received: at(12) };
        let mut headers = HeaderMap::new();
        assert_eq!(initial(&headers, exchange), Duration::from_secs(2), "the delay alone");
        headers.insert(header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        assert_eq!(initial(&headers, exchange), Duration::from_secs(12), "the apparent age");
        headers.insert(header::AGE, "30, 5".parse().unwrap());
        assert_eq!(initial(&headers, exchange), Duration::from_secs(32), "Age and the delay");
        for ignored in ["-5", "abc", "3.0", "", "3;a=b"] {
            headers.insert(header::AGE, ignored.parse().unwrap());
            assert_eq!(initial(&headers, exchange), Duration::from_secs(12), "{ignored}");
        }
    }
}

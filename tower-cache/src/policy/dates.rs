//! HTTP-dates (RFC 9110 §5.6.7).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName};

/// The date in a field, when there is exactly one line of it in one of the three forms of the RFC.
pub(crate) fn single(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    parse(first.as_bytes())
}

/// A date in IMF-fixdate, RFC 850 or asctime form; anything else is no date, however plausible.
pub(crate) fn parse(value: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(value).ok()?;
    // The grammar is case-sensitive and knows one zone; what the parser may be lenient about is checked first.
    if !text.is_ascii() || text.contains("  ") && !is_asctime(text) {
        return None;
    }
    httpdate::parse_http_date(text).ok()
}

/// asctime pads a one-digit day with a second space.
fn is_asctime(text: &str) -> bool {
    text.len() == 24 && text.as_bytes().get(3) == Some(&b' ')
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::parse;

    #[test]
    fn three_forms_and_nothing_else() {
        let expected = Some(UNIX_EPOCH + Duration::from_secs(784_111_777));
        assert_eq!(parse(b"Sun, 06 Nov 1994 08:49:37 GMT"), expected);
        assert_eq!(parse(b"Sunday, 06-Nov-94 08:49:37 GMT"), expected);
        assert_eq!(parse(b"Sun Nov  6 08:49:37 1994"), expected);
        for wrong in [
            "0",
            "",
            "-1",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "784111777",
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(parse(b"\xff\xfe"), None);
    }
}

//! Validation, in both directions (RFC 9111 §4.3, RFC 9110 §13).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::dates::{self, Clock};

/// Whether a stored response has something to validate it by.
pub(crate) fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

/// Whether a response to HEAD may describe what is stored: each validator that both have is the same, and so is the
/// length (RFC 9111 §4.3.5).
pub(crate) fn describes(newer: &HeaderMap, stored: &HeaderMap, length: u64) -> bool {
    let same = |name| newer.get(&name).zip(stored.get(&name)).is_none_or(|(newer, stored)| newer == stored);
    let length_now =
        newer.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    same(header::ETAG) && same(header::LAST_MODIFIED) && length_now.is_none_or(|now| now == length)
}

/// Makes the request validate a stored response instead of the client's own (§4.3.1). An entity tag that the origin
/// does not know (`own_etag`) stays away: with it the origin would not look at the date (RFC 9110 §13.1.3).
pub(crate) fn validate(request: &mut HeaderMap, stored: &HeaderMap, own_etag: bool) {
    strip(request);
    if let Some(etag) = stored.get(header::ETAG).filter(|_| !own_etag) {
        request.insert(header::IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = stored.get(header::LAST_MODIFIED) {
        request.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
}

/// Takes the client's own conditions and range away.
pub(crate) fn strip(request: &mut HeaderMap) {
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE, header::RANGE] {
        request.remove(name);
    }
}

/// Whether the client's own condition makes a stored response a 304 (§4.3.2, RFC 9110 §13.2.2).
pub(crate) fn not_modified(
    request: &HeaderMap,
    status: StatusCode,
    stored: &HeaderMap,
    now: impl Clock + Copy,
) -> bool {
    if status != StatusCode::OK {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        let lines = request.get_all(header::IF_NONE_MATCH).iter();
        let stored = stored.get(header::ETAG).map(HeaderValue::as_bytes);
        return lines.map(HeaderValue::as_bytes).any(|line| matches_any(line, stored));
    }
    let since = dates::single(request, &header::IF_MODIFIED_SINCE, now);
    let modified = dates::single(stored, &header::LAST_MODIFIED, now)
        .or_else(|| dates::single(stored, &header::DATE, now));
    matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
}

/// `*`, or a list of entity tags, compared weakly (RFC 9110 §8.8.3.2).
fn matches_any(line: &[u8], stored: Option<&[u8]>) -> bool {
    if line.trim_ascii() == b"*" {
        return true;
    }
    let Some(stored) = stored.map(opaque) else { return false };
    let mut rest = line;
    while let Some(open) = rest.iter().position(|byte| *byte == b'"') {
        let Some(close) = rest[open + 1..].iter().position(|byte| *byte == b'"') else { return false };
        let end = open + close + 2;
        if &rest[open..end] == stored {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

/// An entity tag without its weakness.
fn opaque(etag: &[u8]) -> &[u8] {
    let etag = etag.trim_ascii();
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

/// The fields of a 304 made from a stored 200 (RFC 9110 §15.4.5): no description of a content that is not there.
pub(crate) fn strip_content_fields(headers: &mut HeaderMap) {
    for name in
        [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_TYPE, header::CONTENT_LANGUAGE]
    {
        headers.remove(name);
    }
}

/// The fields of a 416 made from a stored 200: it describes no content, and no cache is to keep it.
pub(crate) fn strip_freshness(headers: &mut HeaderMap) {
    strip_content_fields(headers);
    let control = |name: &&HeaderName| name.as_str().ends_with("cache-control");
    let targeted: Vec<_> = headers.keys().filter(control).cloned().collect();
    for name in targeted.iter().chain(&[header::EXPIRES, header::LAST_MODIFIED]) {
        headers.remove(name);
    }
}

/// Whether a 304 can be about this stored response: an entity tag other than its own says that it is about another
/// (RFC 9111 §4.3.4). They are compared weakly, as origins are known to weaken the tag of one of both alone; and one
/// without a tag confirms what was asked about, as the request that it answers named nothing else.
pub(crate) fn confirms(newer: &HeaderMap, stored: &HeaderMap) -> bool {
    let etags = newer.get(header::ETAG).zip(stored.get(header::ETAG));
    etags.is_none_or(|(newer, stored)| opaque(newer.as_bytes()) == opaque(stored.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;

    #[test]
    fn entity_tags_compare_weakly_and_win_over_dates() {
        let stored = map(&[("etag", "W/\"a\""), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        let yes = |request: &[(&'static str, &str)]| {
            not_modified(&map(request), StatusCode::OK, &stored, || std::time::UNIX_EPOCH)
        };
        assert!(yes(&[("if-none-match", "\"a\"")]));
        assert!(yes(&[("if-none-match", "W/\"a\"")]));
        assert!(yes(&[("if-none-match", "\"b\", \"a\"")]));
        assert!(yes(&[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")]));
        assert!(yes(&[("if-none-match", "*")]));
        assert!(!yes(&[("if-none-match", "\"b\"")]));
        assert!(!yes(&[("if-none-match", "a")]));
        assert!(yes(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]));
        assert!(!yes(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]));
        assert!(!yes(&[("if-none-match", "\"b\""), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]));
        assert!(!yes(&[]));
    }
}

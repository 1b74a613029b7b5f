//! Fields that speak of a body, when the body becomes another one.
//!
//! A body that was brought down is another representation, so it needs an entity tag of its own (RFC 9110 §8.8.3.3):
//! `"abc"` becomes `"abc;1"` for version 1, and on its way back `"abc"` again. Were it the same tag, or the same one
//! weakened, a cache that holds several versions would take the body of one for the body of another.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE, TRANSFER_ENCODING,
};

use super::version::Version;

/// Fields that hold for the very octets (RFC 9530; RFC 3230 and RFC 1864, which it replaces).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether a body is JSON: one media type, `application/json` or with the suffix `+json` (RFC 6839 §3.1).
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let line = line.as_bytes();
    let end = line.iter().position(|&octet| octet == b';').unwrap_or(line.len());
    let essence = line[..end].trim_ascii();
    let suffix = |length: usize| essence.len().checked_sub(length).map(|start| &essence[start..]);
    essence.eq_ignore_ascii_case(b"application/json")
        || suffix(5).is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json"))
}

/// Whether a body has a content coding (RFC 9110 §8.4).
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|line| !line.as_bytes().eq_ignore_ascii_case(b"identity"))
}

pub(crate) fn drop_digests(headers: &mut HeaderMap) {
    for name in &DIGESTS {
        headers.remove(name);
    }
}

/// The body has become this long.
pub(crate) fn replaced(headers: &mut HeaderMap, length: usize) {
    drop_digests(headers);
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}

/// A request whose response is going to be brought down: that takes the whole of it, without content coding, and
/// conditions name the tags that the client knows.
pub(crate) fn before_lowering(request: &mut HeaderMap, version: Version) {
    // A server may ignore both (RFC 9110 §14.2).
    request.remove(RANGE);
    request.remove(IF_RANGE);
    if request.contains_key(ACCEPT_ENCODING) {
        request.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let suffix = format!(";{version}\"");
    match conditions(request, &IF_NONE_MATCH, suffix.as_bytes()) {
        Condition::Any => {}
        // Tags of other versions must not match; without any the condition holds (RFC 9110 §13.1.2).
        Condition::Tags(tags) => {
            set_list(request, IF_NONE_MATCH, tags.into_iter().flatten());
            if !request.contains_key(IF_NONE_MATCH) {
                // It was to be ignored (§13.1.3), and would now be asked in the place of the tags.
                request.remove(IF_MODIFIED_SINCE);
            }
        }
    }
    if let Condition::Tags(mut tags) = conditions(request, &IF_MATCH, suffix.as_bytes()) {
        if tags.is_empty() {
            tags.push(None);
        }
        // A weak tag never matches here (§13.1.1): so a condition on other tags alone goes on to fail.
        let never = || b"W/\"another-version\"".to_vec();
        set_list(request, IF_MATCH, tags.into_iter().map(|tag| tag.unwrap_or_else(never)));
    }
}

/// A request whose response stays as it is, perhaps to a resource that is brought down elsewhere: a client that read it
/// with another method knows it by the tag of its version, so a condition that the resource is still that one
/// (RFC 9110 §13.1.1) names the service's own tag besides.
pub(crate) fn before_changing(request: &mut HeaderMap, version: Version) {
    if !request.contains_key(IF_MATCH) {
        return;
    }
    if let Condition::Tags(tags) = conditions(request, &IF_MATCH, format!(";{version}\"").as_bytes()) {
        let ours = tags.into_iter().flatten().collect::<Vec<_>>().join(&b", "[..]);
        if let Ok(value) = HeaderValue::from_bytes(&ours)
            && !ours.is_empty()
        {
            request.append(IF_MATCH, value);
        }
    }
}

/// What became of the body of a response that changes are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// It is another one, of that length.
    Replaced(usize),
    /// It stayed as it is.
    Kept,
    /// There is none, and it would have been another one.
    Absent,
}

/// A response that was brought down, or would have been if it had content.
pub(crate) fn lowered(response: &mut HeaderMap, version: Version, body: Body) {
    response.remove(ACCEPT_RANGES);
    match body {
        Body::Replaced(length) => replaced(response, length),
        Body::Kept => {}
        Body::Absent => {
            drop_digests(response);
            response.remove(CONTENT_LENGTH);
        }
    }
    let Some(tag) = response.get(ETAG) else { return };
    let marked = match entity_tag(tag.as_bytes()) {
        Some((tag, [])) => {
            let inner = &tag[..tag.len() - 1];
            HeaderValue::from_bytes(&[inner, format!(";{version}\"").as_bytes()].concat()).ok()
        }
        _ => None,
    };
    match marked {
        Some(marked) => _ = response.insert(ETAG, marked),
        // What is no tag validates nothing.
        None => _ = response.remove(ETAG),
    }
}

/// What `If-Match` or `If-None-Match` asks for.
enum Condition {
    /// Nothing, or any tag: the same in every version.
    Any,
    /// These tags, each as the service knows it, or `None` for one of another version. None at all where the field is
    /// malformed: whoever reads it more kindly must not find tags of another version in it.
    Tags(Vec<Option<Vec<u8>>>),
}

fn conditions(headers: &HeaderMap, name: &HeaderName, suffix: &[u8]) -> Condition {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => return Condition::Any,
        (Some(line), None) if line.as_bytes().trim_ascii() == b"*" => return Condition::Any,
        _ => {}
    }
    let mut tags = Vec::new();
    for line in headers.get_all(name) {
        let mut rest = separators(line.as_bytes());
        while !rest.is_empty() {
            let Some((tag, after)) = entity_tag(rest) else { return Condition::Tags(Vec::new()) };
            tags.push(tag.strip_suffix(suffix).map(|inner| [inner, b"\""].concat()));
            rest = separators(after);
        }
    }
    Condition::Tags(tags)
}

fn separators(text: &[u8]) -> &[u8] {
    let skipped = text.iter().take_while(|octet| b" \t,".contains(octet)).count();
    &text[skipped..]
}

/// An entity tag with its quotes, and what follows it (RFC 9110 §8.8.3).
fn entity_tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = if text.starts_with(b"W/") { 3 } else { 1 };
    if text.get(start - 1) != Some(&b'"') {
        return None;
    }
    let inner =
        text[start..].iter().take_while(|&&octet| matches!(octet, 0x21 | 0x23..=0x7e | 0x80..)).count();
    let end = start + inner;
    (text.get(end) == Some(&b'"')).then(|| text.split_at(end + 1))
}

fn set_list(headers: &mut HeaderMap, name: HeaderName, tags: impl Iterator<Item = Vec<u8>>) {
    let list = tags.collect::<Vec<_>>().join(&b", "[..]);
    match HeaderValue::from_bytes(&list) {
        Ok(value) if !list.is_empty() => _ = headers.insert(name, value),
        _ => _ = headers.remove(name),
    }
}

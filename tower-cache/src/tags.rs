//! Purging by tag: responses name what they are made of, and a purge of one of these names reaches all of them.
//!
//! Tags come from the fields `Cache-Tag` (names with commas between) and `Surrogate-Key` (with spaces between) of the
//! response, and from [`CacheTags`] among the extensions of the request and of the response. They are not part of what
//! is stored by RFC 9111: no RFC defines them, and the fields are passed on as they came.
//!
//! A purge costs the same however many responses it reaches: it begins a new generation of the tag, which lookups
//! compare. Names are compared octet by octet.

use std::fmt;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

/// Tags for a response, among the extensions of the request that it answers or of the response itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CacheTags {
    tags: Vec<Box<str>>,
}

impl CacheTags {
    /// These tags.
    pub fn new(tags: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        Self { tags: tags.into_iter().map(Into::into).collect() }
    }

    /// One more.
    pub fn add(&mut self, tag: impl Into<Box<str>>) {
        self.tags.push(tag.into());
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(|tag| &**tag)
    }
}

impl fmt::Debug for CacheTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.tags).finish()
    }
}

/// A response with more tags than this is not stored: a purge must reach all that it names.
pub const MAX_TAGS: usize = 128;

/// Nor is one with a tag of more octets than this.
pub const MAX_LENGTH: usize = 1024;

const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// All tags, each once; none where there are too many.
pub(crate) fn of(headers: &HeaderMap, added: &[Box<str>]) -> Option<Box<[Box<str>]>> {
    let mut tags: Vec<Box<str>> = added.to_vec();
    for (name, between) in [(CACHE_TAG, b','), (SURROGATE_KEY, b' ')] {
        for line in headers.get_all(name).iter().map(HeaderValue::as_bytes) {
            for tag in line.split(|octet| *octet == between).map(<[u8]>::trim_ascii) {
                // Fields are octets; what is no text can be named by nobody who purges, and must not be lost either.
                let tag = std::str::from_utf8(tag).ok()?;
                if !tag.is_empty() {
                    tags.push(tag.into());
                }
            }
        }
    }
    tags.sort_unstable();
    tags.dedup();
    (tags.len() <= MAX_TAGS && tags.iter().all(|tag| tag.len() <= MAX_LENGTH)).then(|| tags.into())
}

/// Those that a request or a response brings along.
pub(crate) fn added(extensions: &Extensions) -> Vec<Box<str>> {
    extensions.get::<CacheTags>().map(|tags| tags.tags.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(fields: &[(&'static str, &[u8])], added: &[&str]) -> Option<Vec<String>> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let added: Vec<Box<str>> = added.iter().map(|tag| Box::from(*tag)).collect();
        of(&headers, &added).map(|tags| tags.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn both_fields_and_what_is_added_each_once() {
        let fields: [(&str, &[u8]); 3] =
            [("cache-tag", b" a, b c ,,a"), ("cache-tag", b"d"), ("surrogate-key", b"a  e f,g")];
        assert_eq!(tags(&fields, &["h", "a"]).unwrap(), ["a", "b c", "d", "e", "f,g", "h"]);
        assert_eq!(tags(&[], &[]).unwrap(), [""; 0]);
    }

    #[test]
    fn too_many_too_long_and_no_text_are_refused() {
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(tags(&[("cache-tag", many(MAX_TAGS).as_bytes())], &[]).unwrap().len(), MAX_TAGS);
        assert_eq!(tags(&[("cache-tag", many(MAX_TAGS + 1).as_bytes())], &[]), None);
        assert_eq!(tags(&[("cache-tag", "x".repeat(MAX_LENGTH).as_bytes())], &[]).unwrap().len(), 1);
        assert_eq!(tags(&[("cache-tag", "x".repeat(MAX_LENGTH + 1).as_bytes())], &[]), None);
        assert_eq!(tags(&[("cache-tag", b"a, \xff")], &[]), None);
    }
}

//! `Vary`: which requests a stored response answers (RFC 9111 §4.1).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The request fields a response was chosen by, with their values, normalised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Variant {
    fields: Box<[(HeaderName, Option<Bytes>)]>,
}

/// More names than any honest server sends; beyond it a response is not stored.
const MAX_NAMES: usize = 32;

impl Variant {
    /// The variant that answers `request`; none when the response varies by what no cache can see (`*`), or its
    /// `Vary` cannot be read.
    pub(crate) fn of(request: &HeaderMap, response: &HeaderMap) -> Option<Self> {
        let mut names = Vec::new();
        for line in response.get_all(header::VARY) {
            for name in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if name.is_empty() {
                    continue;
                }
                // "*" is a token, and thus a name to the parser.
                let name = HeaderName::from_bytes(name).ok().filter(|name| name.as_str() != "*")?;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        if names.len() > MAX_NAMES {
            return None;
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let fields = names.into_iter().map(|name| {
            let value = normalised(request, &name);
            (name, value)
        });
        Some(Self { fields: fields.collect() })
    }

    /// Whether this variant answers the request.
    pub(crate) fn answers(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, value)| {
            let mut lines = request.get_all(name).iter();
            match (lines.next(), value) {
                (None, None) => true,
                // Most often the value is the same to the byte.
                (Some(line), Some(value)) if line.as_bytes() == value && lines.next().is_none() => true,
                (Some(_), Some(value)) => normalised(request, name).as_ref() == Some(value),
                _ => false,
            }
        })
    }

    /// Octets this takes in a store.
    pub(crate) fn weight(&self) -> usize {
        self.fields
            .iter()
            .map(|(name, value)| name.as_str().len() + value.as_ref().map_or(0, Bytes::len) + 48)
            .sum()
    }
}

/// The value of all lines of a field in one form: lines joined, no white space around commas, and lower case where
/// the field's grammar does not regard case (RFC 9111 §4.1 allows what does not change the meaning).
fn normalised(headers: &HeaderMap, name: &HeaderName) -> Option<Bytes> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let caseless = [header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE, header::ACCEPT_CHARSET].contains(name);
    let mut value = Vec::new();
    for member in lines.map(HeaderValue::as_bytes).flat_map(members) {
        if !value.is_empty() {
            value.push(b',');
        }
        let start = value.len();
        if caseless {
            value.extend(member.iter().filter(|byte| !byte.is_ascii_whitespace()));
            value[start..].make_ascii_lowercase();
        } else {
            value.extend_from_slice(member);
        }
    }
    Some(value.into())
}

/// The members of a list; a comma inside a quoted string divides nothing.
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    line.split(move |byte| {
        match (*byte, quoted) {
            _ if escaped => escaped = false,
            (b'"', _) => quoted = !quoted,
            (b'\\', true) => escaped = true,
            (b',', false) => return true,
            _ => {}
        }
        false
    })
    .map(<[u8]>::trim_ascii)
    .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn absent_empty_and_different_values_are_three_things() {
        let response = map(&[("vary", "x-a")]);
        for (index, stored) in [map(&[]), map(&[("x-a", "")]), map(&[("x-a", "1")])].iter().enumerate() {
            let variant = Variant::of(stored, &response).unwrap();
            for (other, request) in [map(&[]), map(&[("x-a", "")]), map(&[("x-a", "1")])].iter().enumerate() {
                assert_eq!(variant.answers(request), index == other, "{index} {other}");
            }
        }
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let response = map(&[("vary", "Accept-Encoding, X-List")]);
        let variant =
            Variant::of(&map(&[("accept-encoding", "gzip, BR;q=0.5"), ("x-list", "a, \"b, c\"")]), &response);
        let variant = variant.unwrap();
        assert!(variant.answers(&map(&[
            ("accept-encoding", "GZIP"),
            ("accept-encoding", "br; q=0.5"),
            ("x-list", "a,\"b, c\"")
        ])));
        assert!(!variant.answers(&map(&[("accept-encoding", "gzip,br;q=0.5"), ("x-list", "A,\"b, c\"")])));
        assert!(!variant.answers(&map(&[("accept-encoding", "gzip,br;q=0.5"), ("x-list", "a,\"b,c\"")])));
    }

    #[test]
    fn a_star_anywhere_and_an_unreadable_name_answer_nothing() {
        for vary in ["*", "x-a, *", "*, x-a", "x a"] {
            assert_eq!(Variant::of(&map(&[]), &map(&[("vary", vary)])), None, "{vary}");
        }
        assert_eq!(Variant::of(&map(&[]), &map(&[("vary", "x-a"), ("vary", "*")])), None);
        assert!(Variant::of(&map(&[]), &map(&[("vary", " , ")])).is_some());
    }
}

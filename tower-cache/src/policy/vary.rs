//! `Vary`: which requests a stored response answers (RFC 9111 §4.1).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::asked::Lines;

/// The request fields a response was chosen by, with their values, normalised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Variant {
    fields: Box<[(HeaderName, Option<Value>)]>,
}

/// A value as it came, where it came on one line, and normalised.
#[derive(Debug, Clone)]
struct Value {
    raw: Option<HeaderValue>,
    normal: Bytes,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.normal == other.normal
    }
}

impl Eq for Value {}

/// More names than any honest server sends; beyond it a response is not stored.
const MAX_NAMES: usize = 32;

impl Variant {
    /// The variant that answers `request`; none when the response varies by what no cache can see (`*`), or its
    /// `Vary` cannot be read.
    pub(crate) fn of(request: &impl Lines, response: &HeaderMap) -> Option<Self> {
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
                if names.len() > MAX_NAMES {
                    return None;
                }
            }
        }
        // What is allowed to the site that asks is allowed to that one alone, whether Vary says so or not.
        let allowed = response.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        if allowed.is_some_and(|site| site != "*") && !names.contains(&header::ORIGIN) {
            names.push(header::ORIGIN);
        }
        if names.len() > MAX_NAMES {
            return None;
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let fields = names.into_iter().map(|name| Self::field(request, name));
        Some(Self { fields: fields.collect() })
    }

    /// This variant of newer fields, chosen by what the older was chosen by too: content that an origin once said
    /// depends on a field does not cease to because a confirmation forgets to say so.
    pub(crate) fn beside(self, older: &Self) -> Self {
        let known = |name: &HeaderName| self.fields.iter().any(|(known, _)| known == name);
        let others: Vec<_> = older.fields.iter().filter(|(name, _)| !known(name)).cloned().collect();
        if others.is_empty() {
            return self;
        }
        let mut fields = self.fields.into_vec();
        fields.extend(others);
        fields.sort_unstable_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        Self { fields: fields.into() }
    }

    /// Whether this variant answers the request.
    pub(crate) fn answers(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, value)| {
            let mut lines = request.get_all(name).iter();
            match (lines.next(), value) {
                (None, None) => true,
                // Most often the value is the same to the byte.
                (Some(line), Some(value)) if value.raw.as_ref() == Some(line) && lines.next().is_none() => {
                    true
                }
                (Some(_), Some(value)) => normalised(request, name).as_ref() == Some(&value.normal),
                _ => false,
            }
        })
    }

    /// What the request has in the fields by which this variant was chosen.
    pub(crate) fn of_same(&self, request: &HeaderMap) -> Self {
        let names = self.fields.iter().map(|(name, _)| name.clone());
        Self { fields: names.map(|name| Self::field(request, name)).collect() }
    }

    fn field(request: &impl Lines, name: HeaderName) -> (HeaderName, Option<Value>) {
        let raw = {
            let mut lines = request.lines(&name);
            lines.next().filter(|_| lines.next().is_none()).and_then(copied)
        };
        let value = normalised(request, &name).map(|normal| Value { raw, normal });
        (name, value)
    }

    /// Each name with its normalised value.
    pub(crate) fn each(&self, mut each: impl FnMut(&str, Option<&[u8]>)) {
        for (name, value) in &self.fields {
            each(name.as_str(), value.as_ref().map(|value| &value.normal[..]));
        }
    }

    /// Of names with normalised values, as [`each`](Self::each) gives them.
    #[cfg(feature = "redis")]
    pub(crate) fn from_raw(fields: Vec<(HeaderName, Option<Bytes>)>) -> Self {
        let value = |normal| Value { raw: None, normal };
        Self { fields: fields.into_iter().map(|(name, normal)| (name, normal.map(value))).collect() }
    }

    /// Octets this takes in a store.
    pub(crate) fn weight(&self) -> usize {
        let value = |value: &Value| value.normal.len() + value.raw.as_ref().map_or(0, HeaderValue::len);
        let field = |(name, field): &(HeaderName, Option<Value>)| {
            name.as_str().len() + field.as_ref().map_or(0, value) + 96
        };
        self.fields.iter().map(field).sum()
    }
}

/// A value without the buffer of the connection of which it may be a slice: it is kept longer than that.
pub(super) fn copied(value: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

/// Values longer than any honest client's are compared as they are: what takes time would be repeated for each variant.
const LONGEST: usize = 1024;

/// What is between the lines of a field that is compared as it is.
fn between_lines(request: &impl Lines, name: &HeaderName) -> Option<&'static [u8]> {
    if *name == header::COOKIE {
        // HTTP/2 may divide it (RFC 9113 §8.2.3).
        return Some(b"; ");
    }
    // These are no lists: white space beside their commas means something.
    let single = [header::AUTHORIZATION, header::ORIGIN, header::REFERER, header::USER_AGENT].contains(name);
    let length: usize = request.lines(name).map(HeaderValue::len).sum();
    (single || length > LONGEST).then_some(b"\n")
}

/// The value of all lines of a field in one form: lines joined, no white space around commas, and, where the field's
/// grammar says that they mean nothing, neither case nor order (RFC 9111 §4.1 allows what has the same meaning).
fn normalised(request: &impl Lines, name: &HeaderName) -> Option<Bytes> {
    if let Some(between) = between_lines(request, name) {
        let lines: Vec<_> = request.lines(name).map(HeaderValue::as_bytes).collect();
        return (!lines.is_empty()).then(|| lines.join(between).into());
    }
    let mut lines = request.lines(name).peekable();
    lines.peek()?;
    let members = lines.map(HeaderValue::as_bytes).flat_map(members);
    if ![header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE, header::ACCEPT_CHARSET].contains(name) {
        return Some(members.collect::<Vec<_>>().join(&b","[..]).into());
    }
    // Weights alone order these (RFC 9110 §12.4.2); between equal ones the RFC relies on nothing.
    let plain = |member: &[u8]| {
        let mut plain: Vec<u8> = member.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect();
        plain.make_ascii_lowercase();
        let at = plain.windows(3).position(|part| part == b";q=");
        let Some(weight) = at.map_or(Some(1000), |at| weight(&plain[at + 3..])) else {
            // Not a weight: the member differs from all that differ from it.
            return (0, plain);
        };
        plain.truncate(at.unwrap_or(plain.len()));
        (weight, plain)
    };
    let mut members: Vec<(u16, Vec<u8>)> = members.map(plain).collect();
    members.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    members.dedup();
    let mut value = Vec::new();
    for (weight, member) in members {
        value.extend_from_slice(&member);
        value.extend_from_slice(&weight.to_be_bytes());
        value.push(b',');
    }
    Some(value.into())
}

/// A `qvalue` (RFC 9110 §12.4.2) in thousandths.
fn weight(qvalue: &[u8]) -> Option<u16> {
    let (whole, fraction) = match qvalue {
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] => (whole, fraction),
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| u16::from(fraction.get(place).map_or(0, |digit| digit - b'0'));
    Some(u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2))
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
    use crate::policy::map;

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
    fn white_space_means_something_where_there_is_no_list() {
        let ask = |name: &'static str, stored: &str, value: &[&str]| {
            let variant = Variant::of(&map(&[(name, stored)]), &map(&[("vary", name)])).unwrap();
            let fields: Vec<_> = value.iter().map(|value| (name, *value)).collect();
            variant.answers(&map(&fields))
        };
        assert!(ask("x-list", "a,b", &["a, b"]));
        for name in ["cookie", "user-agent", "referer", "origin", "authorization"] {
            assert!(ask(name, "a, b", &["a, b"]), "{name}");
            assert!(!ask(name, "a,b", &["a, b"]), "{name}");
        }
        assert!(ask("cookie", "a=1; b=2", &["a=1", "b=2"]));
        assert!(!ask("cookie", "a=1; b=2", &["b=2", "a=1"]));
        // What would take time is compared as it is.
        let long = ["en"; 400].join(",");
        assert!(ask("accept-language", &long, &[&long]));
        assert!(!ask("accept-language", &long, &["en"]));
    }

    #[test]
    fn weights_order_and_nothing_else_does() {
        let response = map(&[("vary", "Accept-Language")]);
        let of = |value: &str| Variant::of(&map(&[("accept-language", value)]), &response).unwrap();
        let ask = |stored: &str, value: &str| of(stored).answers(&map(&[("accept-language", value)]));
        for same in ["de, en", "EN,de", "en;q=1, de;q=1.000", "en, de, en"] {
            assert!(ask("en, de", same), "{same}");
        }
        for other in ["en;q=0.9, de", "en", "en, de;q=0", "en, de;q=x", "en, de, fr", ""] {
            assert!(!ask("en, de", other), "{other}");
        }
        assert!(ask("en;q=0.5, de", "de, en;q=0.50"));
        assert!(!ask("en;q=2", "en;q=3"));
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

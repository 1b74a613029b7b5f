//! Versions in media types: a parameter, or a part of a vendor's subtype (RFC 9110 §8.3.1, §12.5.1).

use std::borrow::Cow;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};

use super::extract::{Found, Note};
use super::template::Template;
use super::version::Version;

/// Where in a media type the version stands, and which media types are looked at.
#[derive(Debug, Clone)]
pub(crate) struct MediaSource {
    pub(crate) place: Place,
    /// Only these `type/subtype`; all when empty.
    pub(crate) only: Vec<Box<str>>,
    /// Never these.
    pub(crate) except: Vec<Box<str>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Parameter(Box<str>),
    /// Of `type/subtype`, or of the subtype alone when the flag is set.
    Essence(Template, bool),
}

/// A version, or what stands in its place.
type ReadVersion<'a> = Result<Version, Cow<'a, [u8]>>;

/// What a field says: the version it weighs most, and that weight in thousandths.
struct Weighed {
    version: Option<Version>,
    weight: u16,
    ambiguous: bool,
}

impl MediaSource {
    /// The version of the content and of the answer wanted, and whether the content told. The content's weighs as much
    /// as an answer that is wanted most; a lesser wish gives way to it.
    pub(crate) fn find(&self, headers: &HeaderMap, note: &mut Note) -> (Found, bool) {
        let content = match self.content(headers, note) {
            Ok(content) => content,
            Err(found) => return (found, true),
        };
        let mut best = Weighed { version: None, weight: 0, ambiguous: false };
        for line in headers.get_all(ACCEPT) {
            if let Err(text) = self.weigh(line.as_bytes(), &mut best) {
                return (Found::malformed(text, note), false);
            }
        }
        let unclear = |note: &mut Note| (Found::ambiguous(first(headers, &ACCEPT), note), false);
        match (content, best.version) {
            (_, Some(_)) if best.ambiguous => unclear(note),
            (Some(content), Some(accept)) if content != accept && best.weight == 1000 => unclear(note),
            (Some(content), _) => (Found::Version(content), true),
            (None, Some(accept)) => (Found::Version(accept), false),
            (None, None) => (Found::Absent, false),
        }
    }

    fn content(&self, headers: &HeaderMap, note: &mut Note) -> Result<Option<Version>, Found> {
        let mut lines = headers.get_all(CONTENT_TYPE).iter();
        let Some(line) = lines.next() else { return Ok(None) };
        let line = line.as_bytes();
        if lines.next().is_some() {
            return Err(Found::malformed(line, note));
        }
        match self.version_of(line).0 {
            Some(Ok(version)) => Ok(Some(version)),
            Some(Err(text)) => Err(Found::malformed(&text, note)),
            None => Ok(None),
        }
    }

    /// Takes the ranges of one line of `Accept` into account; fails with a range whose version is malformed.
    fn weigh<'a>(&self, line: &'a [u8], best: &mut Weighed) -> Result<(), &'a [u8]> {
        for range in split(line, b',') {
            let (Some(found), Some(weight @ 1..)) = self.version_of(range) else { continue };
            let Ok(version) = found else { return Err(range) };
            if weight > best.weight {
                *best = Weighed { version: Some(version), weight, ambiguous: false };
            } else if weight == best.weight && best.version != Some(version) {
                best.ambiguous = true;
            }
        }
        Ok(())
    }

    /// The version in a media type, if it carries one (an error holds what stands there instead); and its weight in
    /// thousandths: 1000 without one, `None` for one that is none.
    #[inline]
    fn version_of<'a>(&self, media_type: &'a [u8]) -> (Option<ReadVersion<'a>>, Option<u16>) {
        let end = media_type.iter().position(|&octet| octet == b';').unwrap_or(media_type.len());
        let essence = media_type[..end].trim_ascii();
        let (mut value, mut weight) = (None, None);
        for parameter in split(media_type.get(end + 1..).unwrap_or_default(), b';') {
            match (parameter, &self.place) {
                ([b'q' | b'Q', b'=', decimals @ ..], _) if weight.is_none() => {
                    weight = Some(thousandths(decimals));
                }
                (_, Place::Parameter(name)) if value.is_none() => value = value_of(parameter, name),
                _ => {}
            }
        }
        (self.read(essence, value), weight.unwrap_or(Some(1000)))
    }

    #[inline]
    fn read<'a>(&self, essence: &'a [u8], value: Option<&'a [u8]>) -> Option<ReadVersion<'a>> {
        let text = match &self.place {
            Place::Essence(template, subtype) => {
                let part = if *subtype { &essence[slash(essence)? + 1..] } else { essence };
                Cow::Borrowed(template.capture(part)?)
            }
            Place::Parameter(_) => unquote(value?),
        };
        if text.is_empty() || !self.looks_at(essence) {
            return None;
        }
        Some(Version::from_octets(&text).map_err(|_| text))
    }

    fn looks_at(&self, essence: &[u8]) -> bool {
        let listed = |list: &[Box<str>]| list.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(essence));
        (self.only.is_empty() || listed(&self.only)) && !listed(&self.except)
    }
}

fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a [u8] {
    headers.get(name).map_or(b"", |value| value.as_bytes())
}

fn slash(essence: &[u8]) -> Option<usize> {
    essence.iter().position(|&octet| octet == b'/')
}

/// The value of a parameter, when it has that name (RFC 9110 §5.6.6: in any case, no white space at the equals sign).
#[inline]
fn value_of<'a>(parameter: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (found, rest) = parameter.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b"=")?;
    found.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
}

fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(quoted) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Cow::Borrowed(value);
    };
    if !quoted.contains(&b'\\') {
        return Cow::Borrowed(quoted);
    }
    let mut escaped = false;
    let unescaped = |octet: &&u8| {
        let keep = escaped || **octet != b'\\';
        escaped = !keep;
        keep
    };
    Cow::Owned(quoted.iter().filter(unescaped).copied().collect())
}

/// A weight between 0 and 1 with at most three decimals, in thousandths (RFC 9110 §12.4.2).
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] => (*whole, decimals),
        // Not in the grammar, yet common: `q=.8`.
        [b'.', decimals @ ..] if !decimals.is_empty() => (b'0', decimals),
        _ => return None,
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut value = u16::from(whole - b'0');
    for index in 0..3 {
        value = value * 10 + u16::from(decimals.get(index).map_or(0, |digit| digit - b'0'));
    }
    (value <= 1000).then_some(value)
}

/// The parts between separators outside quoted strings, without the white space around them.
#[inline]
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = unquoted(text, separator);
        rest = text.get(end + 1..);
        Some(text[..end].trim_ascii())
    })
}

/// Where the separator first stands outside a quoted string; the end when it does not.
#[inline]
fn unquoted(text: &[u8], separator: u8) -> usize {
    match text.iter().position(|&octet| octet == separator || octet == b'"') {
        Some(index) if text[index] == separator => index,
        Some(index) => index + after_quotes(&text[index..], separator),
        None => text.len(),
    }
}

fn after_quotes(text: &[u8], separator: u8) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let end = text.iter().position(|&octet| {
        if quoted {
            quoted = escaped || octet != b'"';
            escaped = !escaped && octet == b'\\';
        } else {
            quoted = octet == b'"';
        }
        !quoted && octet == separator
    });
    end.unwrap_or(text.len())
}

/// Whether a media type has a parameter of that name.
#[cfg(feature = "client")]
pub(crate) fn has_parameter(media_type: &str, name: &str) -> bool {
    let parameters = media_type.split_once(';').map_or("", |(_, parameters)| parameters);
    split(parameters.as_bytes(), b';').any(|parameter| value_of(parameter, name).is_some())
}

/// Where the weight of a range begins, with its semicolon; the end when it has none.
#[cfg(feature = "client")]
pub(crate) fn weight_at(range: &str) -> usize {
    let text = range.as_bytes();
    let mut at = unquoted(text, b';');
    while at < text.len() {
        if matches!(text[at + 1..].trim_ascii_start(), [b'q' | b'Q', b'=', ..]) {
            return at;
        }
        at += 1 + unquoted(&text[at + 1..], b';');
    }
    at
}

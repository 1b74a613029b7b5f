//! Versions in media types: a parameter, or a part of a vendor's subtype (RFC 9110 §8.3.1, §12.5.1).

use std::borrow::Cow;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};

use super::extract::{self, Found, Note};
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

impl Weighed {
    fn take(&mut self, version: Version, weight: u16) {
        if weight > self.weight {
            *self = Self { version: Some(version), weight, ambiguous: false };
        } else if weight == self.weight && self.version != Some(version) {
            self.ambiguous = true;
        }
    }
}

/// What counts in a media type: `type/subtype`, the value of the parameter for versions, and the weight.
#[derive(Default)]
struct Seen<'a> {
    essence: &'a [u8],
    value: Option<&'a [u8]>,
    weight: Option<&'a [u8]>,
}

impl<'a> Seen<'a> {
    /// Of several parameters of one name the first counts.
    #[inline]
    fn parameter(&mut self, parameter: &'a [u8], place: &Place) {
        match (parameter, place) {
            ([b'q' | b'Q', b'=', decimals @ ..], _) if self.weight.is_none() => self.weight = Some(decimals),
            (_, Place::Parameter(name)) if self.value.is_none() => self.value = value_of(parameter, name),
            _ => {}
        }
    }

    /// In thousandths: 1000 where none is given, `None` for one that is none.
    fn weight(&self) -> Option<u16> {
        self.weight.map_or(Some(1000), thousandths)
    }
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

    /// The text of the version that [`find`](Self::find) finds, in the commonest case: one `Accept` without quoted
    /// strings, a parameter, a content that says nothing. Of the ranges that carry the parameter and are wanted at all,
    /// `known` gives the places of their versions; one that has none, or two that are wanted alike, and it is left to
    /// the slower way. Each octet is looked at once.
    pub(crate) fn quick<'a, T: Copy + PartialEq>(
        &self,
        headers: &'a HeaderMap,
        known: impl Fn(&'a [u8]) -> Option<T>,
    ) -> Option<T> {
        let Place::Parameter(name) = &self.place else { return None };
        let [accept, content] = extract::media_types(headers)?;
        if content.is_some_and(|content| content.as_bytes().contains(&b';')) {
            return None;
        }
        let line = accept?.as_bytes();
        let mut best: Option<(T, u16)> = None;
        let mut marks = Marks::new(line);
        let mut next = 0;
        while next <= line.len() {
            let mut end = marks.next();
            let essence = &line[next..end];
            let (mut value, mut weight) = (None, None);
            while line.get(end) == Some(&b';') {
                let from = end + 1;
                end = marks.next();
                match trimmed(&line[from..end]) {
                    [b'q' | b'Q', b'=', decimals @ ..] if weight.is_none() => weight = Some(decimals),
                    parameter if value.is_none() => value = value_of(parameter, name),
                    _ => {}
                }
            }
            if line.get(end) == Some(&b'"') {
                return None;
            }
            next = end + 1;
            let Some(value) = value.filter(|_| self.looks_at(essence.trim_ascii())) else { continue };
            let Some(weight @ 1..) = weight.map_or(Some(1000), thousandths) else { continue };
            let found = known(value)?;
            best = match best {
                Some((other, most)) if most == weight && other != found => return None,
                Some((_, most)) if most >= weight => best,
                _ => Some((found, weight)),
            };
        }
        best.map(|(found, _)| found)
    }

    fn content(&self, headers: &HeaderMap, note: &mut Note) -> Result<Option<Version>, Found> {
        let mut lines = headers.get_all(CONTENT_TYPE).iter();
        let Some(line) = lines.next() else { return Ok(None) };
        let line = line.as_bytes();
        if lines.next().is_some() {
            return Err(Found::malformed(line, note));
        }
        match self.version_of(line) {
            Some(Ok(version)) => Ok(Some(version)),
            Some(Err(text)) => Err(Found::malformed(&text, note)),
            None => Ok(None),
        }
    }

    /// Takes the ranges of one line of `Accept` into account; fails with a range whose version is malformed. Each octet is
    /// looked at once: the pieces between commas and semicolons come in one go.
    fn weigh<'a>(&self, line: &'a [u8], best: &mut Weighed) -> Result<(), &'a [u8]> {
        let mut seen = Seen::default();
        let mut start = None;
        for Piece { text, from, to } in pieces(line, |octet| matches!(octet, b',' | b';')) {
            match start {
                None => (seen, start) = (Seen { essence: text, ..Seen::default() }, Some(from)),
                Some(_) => seen.parameter(text, &self.place),
            }
            if line.get(to) == Some(&b';') {
                continue;
            }
            let range = start.take().map_or(text, |start| &line[start..to]);
            if let (Some(found), Some(weight @ 1..)) = (self.read(&seen), seen.weight()) {
                best.take(found.map_err(|_| range.trim_ascii())?, weight);
            }
        }
        Ok(())
    }

    /// The version in the media type of the content, if it carries one; an error holds what stands there instead.
    fn version_of<'a>(&self, media_type: &'a [u8]) -> Option<ReadVersion<'a>> {
        let mut pieces = pieces(media_type, |octet| octet == b';').map(|piece| piece.text);
        let mut seen = Seen { essence: pieces.next()?, ..Seen::default() };
        pieces.for_each(|parameter| seen.parameter(parameter, &self.place));
        self.read(&seen)
    }

    #[inline]
    fn read<'a>(&self, &Seen { essence, value, .. }: &Seen<'a>) -> Option<ReadVersion<'a>> {
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

/// A piece of a text, without the white space around it; and where it begins and ends with that.
struct Piece<'a> {
    text: &'a [u8],
    from: usize,
    to: usize,
}

/// The pieces between separators outside of quoted strings.
#[inline]
fn pieces(text: &[u8], separates: impl Fn(u8) -> bool + Copy) -> impl Iterator<Item = Piece<'_>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let from = next?;
        let rest = &text[from..];
        let to = from + unquoted(rest, separates);
        next = (to < text.len()).then_some(to + 1);
        Some(Piece { text: text[from..to].trim_ascii(), from, to })
    })
}

/// Where commas, semicolons and quotation marks stand, one after the other.
struct Marks<'a> {
    line: &'a [u8],
    /// Where the next eight octets begin.
    next: usize,
    /// The high bits of those of the last eight that are marks and were not told yet.
    found: u64,
}

impl<'a> Marks<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self { line, next: 0, found: 0 }
    }

    /// The place of the next one; the end when there is none.
    #[inline(always)]
    fn next(&mut self) -> usize {
        while self.found == 0 {
            if self.next >= self.line.len() {
                return self.line.len();
            }
            self.found = marks(eight(self.line, self.next));
            self.next += 8;
        }
        let at = self.next - 8 + self.found.trailing_zeros() as usize / 8;
        self.found &= self.found - 1;
        at
    }
}

/// The eight octets from there on, the first one lowest; zeros after the end.
#[inline(always)]
fn eight(text: &[u8], at: usize) -> u64 {
    if let Some(octets) = text.get(at..).and_then(<[u8]>::first_chunk) {
        return u64::from_le_bytes(*octets);
    }
    match text.last_chunk() {
        // The last eight, without those before.
        Some(octets) => u64::from_le_bytes(*octets) >> (64 - 8 * (text.len() - at)),
        None => text[at..].iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet)),
    }
}

/// The high bits of those of eight octets that are marks. Without its high bit an octet is at most 127, so that adding
/// 127 sets that bit in all but zero, and no sum runs into the next octet.
#[inline(always)]
fn marks(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOW: u64 = ONES * 127;
    let others = |octet: u8| {
        let word = word ^ (ONES * u64::from(octet));
        ((word & LOW) + LOW) | word
    };
    !(others(b',') & others(b';') & others(b'"')) & !LOW
}

/// Without the white space around it, which is seldom there.
#[inline(always)]
fn trimmed(text: &[u8]) -> &[u8] {
    match text {
        [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim_ascii(),
    }
}

/// Where the first separator outside of a quoted string stands; the end when there is none.
#[inline]
fn unquoted(text: &[u8], separates: impl Fn(u8) -> bool) -> usize {
    match text.iter().position(|&octet| separates(octet) || octet == b'"') {
        Some(index) if text[index] == b'"' => index + after_quotes(&text[index..], separates),
        Some(index) => index,
        None => text.len(),
    }
}

#[cold]
fn after_quotes(text: &[u8], separates: impl Fn(u8) -> bool) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let end = text.iter().position(|&octet| {
        if quoted {
            quoted = escaped || octet != b'"';
            escaped = !escaped && octet == b'\\';
        } else {
            quoted = octet == b'"';
        }
        !quoted && separates(octet)
    });
    end.unwrap_or(text.len())
}

/// Whether a media type has a parameter of that name.
#[cfg(feature = "client")]
pub(crate) fn has_parameter(media_type: &str, name: &str) -> bool {
    let parameters = media_type.split_once(';').map_or("", |(_, parameters)| parameters);
    let mut parameters = pieces(parameters.as_bytes(), |octet| octet == b';');
    parameters.any(|parameter| value_of(parameter.text, name).is_some())
}

/// Where the weight of a range begins, with its semicolon; the end when it has none.
#[cfg(feature = "client")]
pub(crate) fn weight_at(range: &str) -> usize {
    let mut parameters = pieces(range.as_bytes(), |octet| octet == b';').skip(1);
    let weight = parameters.find(|parameter| matches!(parameter.text, [b'q' | b'Q', b'=', ..]));
    weight.map_or(range.len(), |weight| weight.from - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_they_stand() {
        // Neighbours of the marks in value, the same with a high bit, and zeros.
        let octets = b",;\"+-:<!#\xac\xbb\xa2\x00\xffa ";
        let mut seed = 7_u64;
        let mut octet = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            octets[(seed >> 60) as usize]
        };
        for length in (0..40).cycle().take(40_000) {
            let line: Vec<u8> = (0..length).map(|_| octet()).collect();
            let mut marks = Marks::new(&line);
            let expected = (0..length).filter(|at| matches!(line[*at], b',' | b';' | b'"'));
            for at in expected.chain([length, length]) {
                assert_eq!(marks.next(), at, "{line:?}");
            }
        }
    }
}

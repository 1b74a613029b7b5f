//! JSON read strictly: one object at the root, no member twice at any level (RFC 7515 §4, RFC 7519 §4 allow refusing),
//! bounded depth, and numbers that are what they say. One pass without copies: structure, plain strings and integers are
//! read here, escapes and fractions by `serde_json` from where they stand. What lies deeper is checked in the same pass
//! and stays text until somebody asks for it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::{Deref, Range};

/// Deepest nesting that is read. Real claims have three or four levels.
const MAX_DEPTH: u8 = 32;
/// Up to here a linear search for duplicates is faster than hashing.
const FEW: usize = 16;

/// As many digits are an `i64` whatever they are.
const SURE: usize = 18;

/// Not JSON as it is read here. Why is nobody's business: most of what arrives is hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A string as it stands in the document, copied only where it has escapes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Text<'j>(Cow<'j, str>);

impl<'j> Text<'j> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it had no escapes.
    pub(crate) fn plain(&self) -> Option<&'j str> {
        match self.0 {
            Cow::Borrowed(text) => Some(text),
            Cow::Owned(_) => None,
        }
    }

    /// The text itself where it had no escapes.
    pub(crate) fn into_cow(self) -> Cow<'j, str> {
        self.0
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl From<Text<'_>> for String {
    fn from(text: Text<'_>) -> Self {
        text.0.into_owned()
    }
}

/// A JSON value. Integers outside `i64` are kept as `Float`: no registered claim may be that large.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'j> {
    Null,
    Bool,
    Integer(i64),
    Float(f64),
    String(Text<'j>),
    /// As it stands, found good; [`array`] reads it.
    Array(&'j str),
    /// As it stands, found good; [`object`] reads it.
    Object(&'j str),
}

pub(crate) type Members<'j> = Vec<(Text<'j>, Value<'j>)>;

/// The members of the object at the root.
pub(crate) fn object(bytes: &[u8]) -> Result<Members<'_>, Malformed> {
    members(std::str::from_utf8(bytes).map_err(|_| Malformed)?)
}

/// The same of what is known to be text.
pub(crate) fn members(text: &str) -> Result<Members<'_>, Malformed> {
    // Most objects fit: a header has three or four members, an access token about ten.
    let mut members = Vec::with_capacity(12);
    each(text, |name, value, _| members.push((name, value)))?;
    Ok(members)
}

/// Each member of the object at the root and where its value is. It counts only when there is no error at the end.
pub(crate) fn each<'j>(
    text: &'j str,
    member: impl FnMut(Text<'j>, Value<'j>, Range<usize>),
) -> Result<(), Malformed> {
    let mut reader = Reader { text, at: 0 };
    if reader.next_token() != Some(b'{') {
        return Err(Malformed);
    }
    reader.object(MAX_DEPTH, member)?;
    if reader.next_token().is_some() { Err(Malformed) } else { Ok(()) }
}

/// The items of a [`Value::Array`].
pub(crate) fn array(text: &str) -> Result<Vec<Value<'_>>, Malformed> {
    let mut reader = Reader { text, at: 0 };
    if reader.next_token() != Some(b'[') {
        return Err(Malformed);
    }
    let mut items = Vec::new();
    reader.array(MAX_DEPTH, |item| items.push(item))?;
    Ok(items)
}

struct Reader<'j> {
    text: &'j str,
    at: usize,
}

impl<'j> Reader<'j> {
    fn rest(&self) -> &'j [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// What comes after white space; it is not consumed.
    #[inline(always)]
    fn next_token(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn value(&mut self, depth: u8) -> Result<Value<'j>, Malformed> {
        let first = self.next_token().ok_or(Malformed)?;
        let start = self.at;
        match first {
            b'"' => self.string().map(Value::String),
            b'-' | b'0'..=b'9' => self.number(),
            b'{' => {
                self.object(depth, |_, _, _| ())?;
                Ok(Value::Object(&self.text[start..self.at]))
            }
            b'[' => {
                self.array(depth, |_| ())?;
                Ok(Value::Array(&self.text[start..self.at]))
            }
            b't' => self.literal("true", Value::Bool),
            b'f' => self.literal("false", Value::Bool),
            b'n' => self.literal("null", Value::Null),
            _ => Err(Malformed),
        }
    }

    fn literal(&mut self, name: &str, value: Value<'j>) -> Result<Value<'j>, Malformed> {
        if !self.rest().starts_with(name.as_bytes()) {
            return Err(Malformed);
        }
        self.at += name.len();
        Ok(value)
    }

    /// From the bracket on.
    fn array(&mut self, depth: u8, mut keep: impl FnMut(Value<'j>)) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        self.at += 1;
        if self.next_token() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            keep(self.value(depth)?);
            let next = self.next_token();
            self.at += 1;
            match next {
                Some(b',') => {}
                Some(b']') => return Ok(()),
                _ => return Err(Malformed),
            }
        }
    }

    /// From the brace on.
    fn object(
        &mut self,
        depth: u8,
        mut member: impl FnMut(Text<'j>, Value<'j>, Range<usize>),
    ) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        self.at += 1;
        if self.next_token() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut seen = Seen::default();
        loop {
            if self.next_token() != Some(b'"') {
                return Err(Malformed);
            }
            let name = self.string()?;
            if seen.twice(&name) || self.next_token() != Some(b':') {
                return Err(Malformed);
            }
            self.at += 1;
            let _ = self.next_token();
            let start = self.at;
            let value = match self.text.as_bytes().get(start) {
                Some(b'"') => Value::String(self.string()?),
                Some(b'1'..=b'9') => self.number()?,
                _ => self.value(depth)?,
            };
            member(name, value, start..self.at);
            let next = self.next_token();
            self.at += 1;
            match next {
                Some(b',') => {}
                Some(b'}') => return Ok(()),
                _ => return Err(Malformed),
            }
        }
    }

    /// From the quote on.
    #[inline(always)]
    fn string(&mut self) -> Result<Text<'j>, Malformed> {
        let start = self.at + 1;
        let end = start + plain(self.text.as_bytes().get(start..).unwrap_or_default());
        match self.text.get(start..end) {
            Some(text) if self.text.as_bytes().get(end) == Some(&b'"') => {
                self.at = end + 1;
                Ok(Text(Cow::Borrowed(text)))
            }
            _ => self.escaped(start - 1, end),
        }
    }

    /// A string whose quote is at `start`, and `at` the first that is not as it stands.
    #[cold]
    #[inline(never)]
    fn escaped(&mut self, start: usize, at: usize) -> Result<Text<'j>, Malformed> {
        self.at = at;
        loop {
            match self.rest() {
                [b'"', ..] => break,
                // Whatever is escaped is one byte or more, and the first of them no end of the string.
                [b'\\', next, ..] if next.is_ascii() => self.at += 2,
                _ => return Err(Malformed),
            }
            self.at += plain(self.rest());
        }
        self.at += 1;
        let text = serde_json::from_str(&self.text[start..self.at]).map_err(|_| Malformed)?;
        Ok(Text(Cow::Owned(text)))
    }

    #[inline]
    fn number(&mut self) -> Result<Value<'j>, Malformed> {
        let rest = self.rest();
        let (mut sum, mut digits) = match rest.first_chunk().and_then(eight_digits) {
            Some(sum) => (sum, 8),
            None => (0, 0),
        };
        while let Some(digit @ b'0'..=b'9') = rest.get(digits)
            && digits < SURE
        {
            sum = sum * 10 + i64::from(digit - b'0');
            digits += 1;
        }
        let ends = matches!(rest.get(digits), Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
        if !ends || digits == 0 || (rest[0] == b'0' && digits > 1) {
            return self.any_number();
        }
        self.at += digits;
        Ok(Value::Integer(sum))
    }

    #[cold]
    #[inline(never)]
    fn any_number(&mut self) -> Result<Value<'j>, Malformed> {
        let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest().iter().take_while(|byte| part(byte)).count();
        let text = &self.text[self.at..self.at + length];
        self.at += length;
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let whole = match digits {
            // `-0` is a number with a sign that integers do not have.
            [b'0'] => text == "0",
            [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        if let (true, Ok(number)) = (whole, text.parse()) {
            return Ok(Value::Integer(number));
        }
        serde_json::from_str(text).map(Value::Float).map_err(|_| Malformed)
    }
}

/// The number that eight digits are. All at once, since most numbers are times of ten digits.
#[inline]
fn eight_digits(digits: &[u8; 8]) -> Option<i64> {
    let digits = u64::from_le_bytes(*digits) ^ 0x3030_3030_3030_3030;
    // 10 and more reach the high bit. A carry comes only from what is none.
    if (digits | digits.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let twos = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let one = (twos & 0xff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let other = (twos >> 16 & 0xff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    Some((one.wrapping_add(other) >> 32) as i64)
}

/// How many bytes come before the first quote, backslash or control character, or the end.
#[inline(never)]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, end) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The high bit of each byte that is zero, exact up to and with the first.
        let control = word.wrapping_sub(ONES * 0x20);
        let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        let found = (control | quote | backslash) & !word & HIGH;
        if found != 0 {
            return number * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let plain = end.iter().take_while(|byte| **byte >= 0x20 && !matches!(**byte, b'"' | b'\\')).count();
    words.len() * 8 + plain
}

/// The names of one object.
#[derive(Default)]
struct Seen<'j> {
    /// A bit for each kind of name there is: names without company need not be compared.
    kinds: u64,
    few: [&'j str; FEW],
    count: usize,
    /// All names, once there are many or one has escapes.
    many: Option<HashSet<Text<'j>>>,
}

impl<'j> Seen<'j> {
    #[inline]
    fn twice(&mut self, name: &Text<'j>) -> bool {
        if let (None, Cow::Borrowed(text), Some(place)) = (&self.many, &name.0, self.few.get_mut(self.count))
        {
            *place = text;
            let sum = match text.as_bytes() {
                [first, .., last] => u64::from(*first) + u64::from(*last) * 3,
                _ => 0,
            };
            let kind = 1 << ((sum + text.len() as u64 * 22) % 64);
            let known = self.kinds & kind != 0;
            self.kinds |= kind;
            self.count += 1;
            return known && self.few[..self.count - 1].contains(text);
        }
        let few = self.few.iter().take(self.count).map(|name| Text(Cow::Borrowed(name)));
        !self.many.get_or_insert_with(|| few.collect()).insert(name.clone())
    }
}

#[cfg(test)]
mod tests;

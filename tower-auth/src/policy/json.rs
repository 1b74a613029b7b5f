//! JSON read strictly: one object at the root, no member twice at any level (RFC 7515 §4, RFC 7519 §4 allow refusing),
//! bounded depth, and numbers that are what they say. One pass without copies: structure, plain strings and integers are
//! read here, escapes and fractions by `serde_json` from where they stand. What lies deeper is checked in the same pass
//! and stays text until somebody asks for it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

/// Deepest nesting that is read. Real claims have three or four levels.
const MAX_DEPTH: u8 = 32;
/// Up to here a linear search for duplicates is faster than hashing.
const FEW: usize = 16;

/// As many digits are an `i64` whatever they are.
const SURE: usize = 18;

/// Not JSON as it is read here. Why is nobody's business: most of what arrives is hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A string as it stands in the document. Its escapes are found good when it is read, and undone when somebody asks: copying
/// such a text, or letting go of it, is nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'j> {
    /// Without escapes and quotes.
    Plain(&'j str),
    /// With both.
    Escaped(&'j str),
}

impl<'j> Text<'j> {
    /// Where it has no escapes.
    pub(crate) fn plain(self) -> Option<&'j str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Escaped(_) => None,
        }
    }

    /// The text itself where it has no escapes.
    pub(crate) fn into_cow(self) -> Cow<'j, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            // It was read before.
            Self::Escaped(text) => Cow::Owned(unescaped(text).unwrap_or_default()),
        }
    }
}

/// What a string with its quotes says.
fn unescaped(text: &str) -> Result<String, Malformed> {
    serde_json::from_str(text).map_err(|_| Malformed)
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.into_cow() == other.into_cow()
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.into_cow() == other
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl From<Text<'_>> for String {
    fn from(text: Text<'_>) -> Self {
        text.into_cow().into_owned()
    }
}

/// A JSON value. Integers outside `i64` are kept as `Float`: no registered claim may be that large.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    let reader = Reader { text };
    let at = reader.object(reader.open(b'{')?, MAX_DEPTH, member)?;
    if reader.next(at).0.is_some() { Err(Malformed) } else { Ok(()) }
}

/// The items of a [`Value::Array`].
pub(crate) fn array(text: &str) -> Result<Vec<Value<'_>>, Malformed> {
    let (reader, mut items) = (Reader { text }, Vec::new());
    reader.array(reader.open(b'[')?, MAX_DEPTH, |item| items.push(item))?;
    Ok(items)
}

/// Everything is read from where it begins, and answers where it ends: a place that goes from hand to hand stays in a register,
/// and what comes next waits for it.
#[derive(Clone, Copy)]
struct Reader<'j> {
    text: &'j str,
}

impl<'j> Reader<'j> {
    fn get(self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn rest(self, at: usize) -> &'j [u8] {
        self.text.as_bytes().get(at..).unwrap_or_default()
    }

    /// What comes after white space, and where.
    #[inline(always)]
    fn next(self, mut at: usize) -> (Option<u8>, usize) {
        loop {
            match self.get(at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => at += 1,
                other => return (other, at),
            }
        }
    }

    /// Where this bracket is, before which is nothing.
    fn open(self, bracket: u8) -> Result<usize, Malformed> {
        let (first, at) = self.next(0);
        if first == Some(bracket) { Ok(at) } else { Err(Malformed) }
    }

    #[inline(never)]
    fn value(self, at: usize, depth: u8) -> Result<(Value<'j>, usize), Malformed> {
        let (first, start) = self.next(at);
        match first.ok_or(Malformed)? {
            b'"' => self.string(start).map(|(text, end)| (Value::String(text), end)),
            b'-' | b'0'..=b'9' => self.number(start),
            b'{' => {
                let end = self.object(start, depth, |_, _, _| ())?;
                Ok((Value::Object(&self.text[start..end]), end))
            }
            b'[' => {
                let end = self.array(start, depth, |_| ())?;
                Ok((Value::Array(&self.text[start..end]), end))
            }
            b't' => self.literal(start, "true", Value::Bool),
            b'f' => self.literal(start, "false", Value::Bool),
            b'n' => self.literal(start, "null", Value::Null),
            _ => Err(Malformed),
        }
    }

    fn literal(self, at: usize, name: &str, value: Value<'j>) -> Result<(Value<'j>, usize), Malformed> {
        if self.rest(at).starts_with(name.as_bytes()) { Ok((value, at + name.len())) } else { Err(Malformed) }
    }

    /// From the bracket on.
    fn array(self, at: usize, depth: u8, mut keep: impl FnMut(Value<'j>)) -> Result<usize, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        let (first, mut at) = self.next(at + 1);
        if first == Some(b']') {
            return Ok(at + 1);
        }
        loop {
            let (value, end) = self.value(at, depth)?;
            keep(value);
            let (next, end) = self.next(end);
            at = end + 1;
            match next {
                Some(b',') => {}
                Some(b']') => return Ok(at),
                _ => return Err(Malformed),
            }
        }
    }

    /// From the brace on.
    fn object(
        self,
        at: usize,
        depth: u8,
        mut member: impl FnMut(Text<'j>, Value<'j>, Range<usize>),
    ) -> Result<usize, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        let (first, mut at) = self.next(at + 1);
        if first == Some(b'}') {
            return Ok(at + 1);
        }
        let mut seen = Seen::default();
        loop {
            let (Some(b'"'), start) = self.next(at) else { return Err(Malformed) };
            let (name, end) = self.string(start)?;
            let (Some(b':'), colon) = self.next(end) else { return Err(Malformed) };
            if seen.twice(name) {
                return Err(Malformed);
            }
            let (first, start) = self.next(colon + 1);
            let (value, end) = match first {
                Some(b'"') => self.string(start).map(|(text, end)| (Value::String(text), end))?,
                Some(b'1'..=b'9') => self.number(start)?,
                _ => self.value(start, depth)?,
            };
            member(name, value, start..end);
            let (next, end) = self.next(end);
            at = end + 1;
            match next {
                Some(b',') => {}
                Some(b'}') => return Ok(at),
                _ => return Err(Malformed),
            }
        }
    }

    /// From the quote on.
    #[inline(always)]
    fn string(self, at: usize) -> Result<(Text<'j>, usize), Malformed> {
        let end = at + 1 + plain(self.rest(at + 1));
        match self.text.get(at + 1..end) {
            Some(text) if self.get(end) == Some(b'"') => Ok((Text::Plain(text), end + 1)),
            _ => self.escaped(at, end),
        }
    }

    /// A string whose quote is at `start`, and `at` the first that is not as it stands.
    #[cold]
    #[inline(never)]
    fn escaped(self, start: usize, mut at: usize) -> Result<(Text<'j>, usize), Malformed> {
        loop {
            match self.rest(at) {
                [b'"', ..] => break,
                // Whatever is escaped is one byte or more, and the first of them no end of the string.
                [b'\\', next, ..] if next.is_ascii() => at += 2,
                _ => return Err(Malformed),
            }
            at += plain(self.rest(at));
        }
        let text = &self.text[start..=at];
        unescaped(text).map(|_| (Text::Escaped(text), at + 1))
    }

    #[inline]
    fn number(self, at: usize) -> Result<(Value<'j>, usize), Malformed> {
        let rest = self.rest(at);
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
            return self.any_number(at);
        }
        Ok((Value::Integer(sum), at + digits))
    }

    #[cold]
    #[inline(never)]
    fn any_number(self, at: usize) -> Result<(Value<'j>, usize), Malformed> {
        let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let end = at + self.rest(at).iter().take_while(|byte| part(byte)).count();
        let text = &self.text[at..end];
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let whole = match digits {
            // `-0` is a number with a sign that integers do not have.
            [b'0'] => text == "0",
            [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        if let (true, Ok(number)) = (whole, text.parse()) {
            return Ok((Value::Integer(number), end));
        }
        serde_json::from_str(text).map(|number| (Value::Float(number), end)).map_err(|_| Malformed)
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
    let (words, end) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        if let Some(end) = end_within(word) {
            return number * 8 + end;
        }
    }
    let plain = end.iter().take_while(|byte| **byte >= 0x20 && !matches!(**byte, b'"' | b'\\')).count();
    words.len() * 8 + plain
}

/// Where the first quote, backslash or control character is.
#[inline(always)]
fn end_within(word: &[u8; 8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(*word);
    // The high bit of each byte that is zero, exact up to and with the first.
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
    let found = (control | quote | backslash) & !word & HIGH;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// The names of one object.
#[derive(Default)]
struct Seen<'j> {
    /// A bit for each kind of name there is: names without company need not be compared.
    kinds: u64,
    few: [&'j str; FEW],
    count: usize,
    /// All names, once there are many or one has escapes.
    many: Option<HashSet<Cow<'j, str>>>,
}

impl<'j> Seen<'j> {
    #[inline]
    fn twice(&mut self, name: Text<'j>) -> bool {
        if let (None, Text::Plain(text), Some(place)) = (&self.many, name, self.few.get_mut(self.count)) {
            *place = text;
            let sum = match text.as_bytes() {
                [first, .., last] => u64::from(*first) + u64::from(*last) * 3,
                _ => 0,
            };
            let kind = 1 << ((sum + text.len() as u64 * 22) % 64);
            let known = self.kinds & kind != 0;
            self.kinds |= kind;
            self.count += 1;
            return known && self.few[..self.count - 1].contains(&text);
        }
        self.twice_among_many(name)
    }

    #[cold]
    #[inline(never)]
    fn twice_among_many(&mut self, name: Text<'j>) -> bool {
        let few = self.few.iter().take(self.count).map(|name| Cow::Borrowed(*name));
        !self.many.get_or_insert_with(|| few.collect()).insert(name.into_cow())
    }
}

#[cfg(test)]
mod tests;

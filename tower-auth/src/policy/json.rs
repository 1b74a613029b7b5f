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
    #[inline]
    fn string(&mut self) -> Result<Text<'j>, Malformed> {
        let start = self.at + 1;
        let end = plain(self.text.as_bytes(), start);
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
            self.at = plain(self.text.as_bytes(), self.at);
        }
        self.at += 1;
        let text = serde_json::from_str(&self.text[start..self.at]).map_err(|_| Malformed)?;
        Ok(Text(Cow::Owned(text)))
    }

    #[inline]
    fn number(&mut self) -> Result<Value<'j>, Malformed> {
        let rest = self.rest();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).take(SURE).count();
        let ends = matches!(rest.get(digits), Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
        if !ends || digits == 0 || (rest[0] == b'0' && digits > 1) {
            return self.any_number();
        }
        self.at += digits;
        let add = |sum: i64, digit: &u8| sum * 10 + i64::from(digit - b'0');
        Ok(Value::Integer(rest[..digits].iter().fold(0, add)))
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

/// Where the first quote, backslash or control character is, from `at` on; or the end.
#[inline]
fn plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Eight at once: the high bit of each byte that is zero, exact up to and with the first.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let found = (control | quote | backslash) & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let end = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    while bytes.get(at).is_some_and(|byte| !end(byte)) {
        at += 1;
    }
    at
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
            let first = text.as_bytes().first().copied().unwrap_or_default();
            let kind = 1 << ((usize::from(first) + text.len() * 7) % 64);
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
mod tests {
    use super::*;

    use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

    /// A document with everything in it.
    #[derive(Debug, PartialEq)]
    enum Tree {
        Null,
        Bool,
        Integer(i64),
        Float(f64),
        String(String),
        Array(Vec<Self>),
        Object(Vec<(String, Self)>),
    }

    fn tree(value: Value<'_>) -> Tree {
        match value {
            Value::Null => Tree::Null,
            Value::Bool => Tree::Bool,
            Value::Integer(number) => Tree::Integer(number),
            Value::Float(number) => Tree::Float(number),
            Value::String(text) => Tree::String(text.into()),
            Value::Array(text) => Tree::Array(array(text).unwrap().into_iter().map(tree).collect()),
            Value::Object(text) => tree_of(members(text).unwrap()),
        }
    }

    fn tree_of(members: Members<'_>) -> Tree {
        Tree::Object(members.into_iter().map(|(name, value)| (name.into(), tree(value))).collect())
    }

    /// The same rules on top of the parser of `serde_json`: slower, and simple.
    #[derive(Clone, Copy)]
    struct Reference(u8);

    impl Reference {
        fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
            self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("too deep"))
        }
    }

    impl<'de> DeserializeSeed<'de> for Reference {
        type Value = Tree;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
            deserializer.deserialize_any(self)
        }
    }

    impl<'de> Visitor<'de> for Reference {
        type Value = Tree;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON value")
        }

        fn visit_unit<E>(self) -> Result<Tree, E> {
            Ok(Tree::Null)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
            Ok(Tree::Bool)
        }

        fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
            Ok(Tree::Integer(number))
        }

        fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
            Ok(i64::try_from(number).map_or(Tree::Float(number as f64), Tree::Integer))
        }

        fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
            Ok(Tree::Float(number))
        }

        fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
            Ok(Tree::String(text.to_owned()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
            let (seed, mut array) = (self.deeper()?, Vec::new());
            while let Some(item) = items.next_element_seed(seed)? {
                array.push(item);
            }
            Ok(Tree::Array(array))
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
            let (seed, mut members) = (self.deeper()?, Vec::<(String, Tree)>::new());
            while let Some(name) = map.next_key::<String>()? {
                if members.iter().any(|(other, _)| *other == name) {
                    return Err(A::Error::custom("a member twice"));
                }
                members.push((name, map.next_value_seed(seed)?));
            }
            Ok(Tree::Object(members))
        }
    }

    fn reference(bytes: &[u8]) -> Option<Tree> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let tree = Reference(MAX_DEPTH).deserialize(&mut json).ok()?;
        json.end().ok()?;
        matches!(tree, Tree::Object(_)).then_some(tree)
    }

    /// Parts of documents, some of them wrong.
    const PARTS: [&str; 60] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\":",
        "\"a\":1",
        "\"c\":{\"d\":[1,2]}",
        "{}",
        "[]",
        "\"\"",
        " ",
        "\n",
        "\t",
        "\r",
        "\u{b}",
        "\u{feff}",
        "0",
        "-0",
        "-1",
        "01",
        "1.5",
        "1e3",
        "1E+2",
        "1e400",
        "-1e-400",
        ".5",
        "1.",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "123456789012345678901234567890",
        "-",
        "+1",
        "true",
        "false",
        "null",
        "tru",
        "nul",
        "NaN",
        "\"\\u0061\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"\\n\"",
        "\"\\x\"",
        "\"\\",
        "\u{1}",
        "\"ä€😀\"",
        "ä",
        "\"a string of more than sixteen bytes, with \\\" in it\"",
        "\"eight by\"",
        "\"eight b\\\\\"",
        "\"1234567\u{1f}\"",
        "\"k\":\"v\",",
        "/**/",
    ];

    const DOCUMENTS: [&str; 4] = [
        r#"{"iss":"https://issuer.example","aud":["a","b"],"exp":1800000300,"nbf":1.5,"x":{"y":[{"z":null},true]}}"#,
        r#"{"a":"\u00e9\n\"","b":-1,"c":[[],[[]],{}],"d":"12345678","e":"123456789"}"#,
        "{}",
        r#" { "m0" : 0 , "m1":1,"m2":2,"m3":3,"m4":4,"m5":5,"m6":6,"m7":7,"m8":8,"m9":9,"n0":0,"n1":1,"n2":2,"n3":3,"n4":4,"n5":5,"n6":6,"n7":7 } "#,
    ];

    /// Everything that is read is read alike by a parser that is not ours.
    #[test]
    fn like_the_reference() {
        let cases = if std::env::var_os("TOWER_ASSURE").is_some() { 20_000_000 } else { 60_000 };
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let (mut good, mut bad) = (0, 0);
        for _ in 0..cases {
            let mut bytes = DOCUMENTS[random(DOCUMENTS.len())].as_bytes().to_vec();
            for _ in 0..random(4) {
                let (at, part) = (random(bytes.len() + 1), PARTS[random(PARTS.len())].as_bytes());
                let end = (at + [0, 0, 1, 1, 2, 5][random(6)]).min(bytes.len());
                match random(8) {
                    0 if at < bytes.len() => bytes[at] ^= 1 << random(8),
                    _ => drop(bytes.splice(at..end, part.iter().copied())),
                }
            }
            let (ours, theirs) = (object(&bytes).ok().map(tree_of), reference(&bytes));
            assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(&bytes));
            *(if ours.is_some() { &mut good } else { &mut bad }) += 1;
        }
        assert!(good > cases / 10 && bad > cases / 10, "{good} good, {bad} bad");
    }

    #[test]
    fn duplicates_are_found_at_any_level_and_size() {
        assert!(object(br#"{"a":{"b":1,"c":[{"d":1}]}}"#).is_ok());
        assert!(object(br#"{"a":{"b":1,"b":[{"d":1}]}}"#).is_err());
        assert!(object(br#"{"a":{"b":1,"c":[{"d":1,"d":1}]}}"#).is_err());
        let many: Vec<String> = (0..100).map(|i| format!("\"m{i}\":0")).collect();
        assert!(object(format!("{{{}}}", many.join(",")).as_bytes()).is_ok());
        assert!(object(format!("{{{},\"m3\":0}}", many.join(",")).as_bytes()).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(object(nested(31).as_bytes()).is_ok());
        assert!(object(nested(32).as_bytes()).is_err());
        assert!(object(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn one_change_to_an_accepted_object_is_refused() {
        assert!(object(br#"{"a":"b"}"#).is_ok());
        for bad in [
            &b"\xef\xbb\xbf{\"a\":\"b\"}"[..],
            b"{\"a\":\"\xff\"}",
            br#"{"a":"\ud800"}"#,
            br#"{"a":1e400}"#,
            br#"{"a":NaN}"#,
            br#"{"a":01}"#,
            br#"{"a":"b",}"#,
            br#"{"a":"b"}{}"#,
            br#"["a"]"#,
            b"",
        ] {
            assert!(object(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}

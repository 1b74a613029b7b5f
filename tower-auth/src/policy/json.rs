//! JSON read strictly: one object at the root, no member twice at any level (RFC 7515 §4, RFC 7519 §4 allow refusing),
//! bounded depth, and numbers that are what they say.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

/// Deepest nesting that is read. Real claims have three or four levels.
const MAX_DEPTH: u8 = 32;
/// Up to here a linear search for duplicates is faster than hashing.
const LINEAR: usize = 16;

/// A string as it stands in the document, copied only where it has escapes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Text<'j>(Cow<'j, str>);

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
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

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(Seed { depth: 0 })? {
            Value::String(text) => Ok(text),
            _ => Err(D::Error::custom("not a string")),
        }
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
    Array(Vec<Self>),
    Object(Vec<(Text<'j>, Self)>),
}

/// The members of the object at the root.
pub(crate) fn object(bytes: &[u8]) -> Result<Vec<(Text<'_>, Value<'_>)>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { depth: MAX_DEPTH }.deserialize(&mut json)?;
    json.end()?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(serde_json::Error::custom("not an object")),
    }
}

#[derive(Clone, Copy)]
struct Seed {
    depth: u8,
}

impl Seed {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        self.depth.checked_sub(1).map(|depth| Self { depth }).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(Text(Cow::Borrowed(text))))
    }

    fn visit_string<E>(self, text: String) -> Result<Value<'de>, E> {
        Ok(Value::String(Text(Cow::Owned(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let seed = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let seed = self.deeper()?;
        // Most objects fit: a header has three or four members, an access token about ten.
        let mut members: Vec<(Text<'de>, Value<'de>)> = Vec::with_capacity(12);
        let mut seen: HashSet<Text<'de>> = HashSet::new();
        while let Some(name) = map.next_key::<Text<'de>>()? {
            let twice = if members.len() < LINEAR {
                members.iter().any(|(other, _)| *other == name)
            } else {
                if seen.is_empty() {
                    seen.extend(members.iter().map(|(name, _)| name.clone()));
                }
                !seen.insert(name.clone())
            };
            if twice {
                return Err(A::Error::custom("a member twice"));
            }
            let value = map.next_value_seed(seed)?;
            members.push((name, value));
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

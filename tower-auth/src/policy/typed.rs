//! Claims in the type of the application, from what the strict reading has found already: names, plain strings and
//! integers are handed over as they are, everything else is read by `serde_json` from where it stands. What does not come
//! out well here is left to `serde_json` from the beginning, so nothing is refused here that it takes.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::claims::Span;

/// Members of which the places are kept. Access tokens have about ten.
const MOST: usize = 20;

/// Where the members of a payload are.
pub(crate) struct Outline {
    members: [Member; MOST],
    count: usize,
    /// Whether these are all, each with a name that stands as it is.
    complete: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Member {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A string without escapes; its quotes are not in its place.
    Plain,
    Integer(i64),
    /// Whatever else, as it stands.
    Other,
}

impl Outline {
    pub(crate) fn new() -> Self {
        let nothing = Member { name: (0, 0), value: (0, 0), kind: Kind::Other };
        Self { members: [nothing; MOST], count: 0, complete: true }
    }

    /// `None` for a member that cannot be named by its place.
    pub(crate) fn push(&mut self, member: Option<Member>) {
        match (member, self.members.get_mut(self.count)) {
            (Some(member), Some(place)) => {
                *place = member;
                self.count += 1;
            }
            _ => self.complete = false,
        }
    }

    /// The claims in a payload of this outline. `None` when it has others.
    pub(crate) fn claims<C: DeserializeOwned>(&self, payload: &str) -> Option<C> {
        let known = self.complete.then(|| self.members.get(..self.count)).flatten();
        let known = known.and_then(|members| C::deserialize(Document { payload, members }).ok());
        known.or_else(|| serde_json::from_str(payload).ok())
    }
}

/// Why is not asked: it is tried again.
#[derive(Debug)]
struct Unlike;

impl std::fmt::Display for Unlike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the claims are of another type")
    }
}

impl std::error::Error for Unlike {}

impl de::Error for Unlike {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self
    }

    // Without making a text of each.
    fn invalid_type(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self
    }

    fn invalid_value(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self
    }

    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Self
    }

    fn missing_field(_: &'static str) -> Self {
        Self
    }
}

struct Document<'p, 'm> {
    payload: &'p str,
    members: &'m [Member],
}

impl<'p> Document<'p, '_> {
    fn at(&self, (start, end): Span) -> &'p str {
        self.payload.get(start as usize..end as usize).unwrap_or_default()
    }

    fn visit<V: Visitor<'p>>(mut self, visitor: V) -> Result<V::Value, Unlike> {
        let value = visitor.visit_map(&mut self)?;
        // As with a reader of text: what is not asked for is an error.
        if self.members.is_empty() { Ok(value) } else { Err(Unlike) }
    }
}

impl<'p> Deserializer<'p> for Document<'p, '_> {
    type Error = Unlike;

    fn deserialize_any<V: Visitor<'p>>(self, visitor: V) -> Result<V::Value, Unlike> {
        self.visit(visitor)
    }

    fn deserialize_map<V: Visitor<'p>>(self, visitor: V) -> Result<V::Value, Unlike> {
        self.visit(visitor)
    }

    fn deserialize_struct<V: Visitor<'p>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unlike> {
        self.visit(visitor)
    }

    /// Types that mean something to `serde_json` alone come by here.
    fn deserialize_newtype_struct<V: Visitor<'p>>(self, _: &'static str, _: V) -> Result<V::Value, Unlike> {
        Err(Unlike)
    }

    fn deserialize_option<V: Visitor<'p>>(self, _: V) -> Result<V::Value, Unlike> {
        Err(Unlike)
    }

    fn deserialize_enum<V: Visitor<'p>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Unlike> {
        Err(Unlike)
    }

    forward_to_deserialize_any! {
        <V: Visitor<'p>> bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct identifier ignored_any
    }
}

impl<'p> MapAccess<'p> for &mut Document<'p, '_> {
    type Error = Unlike;

    fn next_key_seed<K: DeserializeSeed<'p>>(&mut self, seed: K) -> Result<Option<K::Value>, Unlike> {
        let Some(member) = self.members.first() else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::new(self.at(member.name))).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'p>>(&mut self, seed: V) -> Result<V::Value, Unlike> {
        let (member, rest) = self.members.split_first().ok_or(Unlike)?;
        self.members = rest;
        seed.deserialize(Item { text: self.at(member.value), kind: member.kind })
    }

    fn size_hint(&self) -> Option<usize> {
        None
    }
}

/// One value.
struct Item<'p> {
    text: &'p str,
    kind: Kind,
}

/// What is asked for is left to `serde_json`; a string has lost its quotes, and is tried again with them.
macro_rules! from_text {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'p>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, Unlike> {
            if matches!(self.kind, Kind::Plain) {
                return Err(Unlike);
            }
            let mut reader = serde_json::Deserializer::from_str(self.text);
            let value = (&mut reader).$method($($argument,)* visitor).map_err(|_| Unlike)?;
            reader.end().map_err(|_| Unlike)?;
            Ok(value)
        }
    )*};
}

/// What is asked for is at hand, where it is a string.
macro_rules! from_string {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'p>>(self, visitor: V) -> Result<V::Value, Unlike> {
            match self.kind {
                Kind::Plain => visitor.visit_borrowed_str(self.text),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

/// What is asked for is at hand, where it is an integer.
macro_rules! from_integer {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'p>>(self, visitor: V) -> Result<V::Value, Unlike> {
            match self.kind {
                Kind::Integer(number) => integer(number, visitor),
                _ => Err(Unlike),
            }
        }
    )*};
}

/// As `serde_json` says it.
fn integer<'p, V: Visitor<'p>>(number: i64, visitor: V) -> Result<V::Value, Unlike> {
    match u64::try_from(number) {
        Ok(number) => visitor.visit_u64(number),
        Err(_) => visitor.visit_i64(number),
    }
}

impl<'p> Deserializer<'p> for Item<'p> {
    type Error = Unlike;

    fn deserialize_any<V: Visitor<'p>>(self, visitor: V) -> Result<V::Value, Unlike> {
        match self.kind {
            Kind::Plain => visitor.visit_borrowed_str(self.text),
            Kind::Integer(number) => integer(number, visitor),
            Kind::Other => {
                let mut reader = serde_json::Deserializer::from_str(self.text);
                let value = reader.deserialize_any(visitor).map_err(|_| Unlike)?;
                reader.end().map_err(|_| Unlike)?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'p>>(self, visitor: V) -> Result<V::Value, Unlike> {
        if self.text == "null" && matches!(self.kind, Kind::Other) {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'p>>(self, visitor: V) -> Result<V::Value, Unlike> {
        visitor.visit_unit()
    }

    from_string! { deserialize_str deserialize_string deserialize_char deserialize_identifier }

    from_integer! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64
    }

    from_text! {
        deserialize_bool()
        deserialize_i128()
        deserialize_u128()
        deserialize_f32()
        deserialize_f64()
        deserialize_bytes()
        deserialize_byte_buf()
        deserialize_unit()
        deserialize_seq()
        deserialize_map()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::fmt::Debug;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::error::TokenFault;
    use crate::policy::claims::{Places, Registered, parse_outlined};

    const PAYLOADS: [&str; 24] = [
        r#"{"iss":"i","aud":"api","exp":1800000000,"nbf":-0.0,"tenant":"north","level":3}"#,
        r#"{"iss":"i","aud":["a","b"],"exp":1.8e9,"tenant":"no\u0072th","level":300,"extra":{"a":[1,null]}}"#,
        r#"{ "tenant" : "x" , "level" : 7 , "wait" : null , "kind" : "small" , "letter" : "é" }"#,
        r#"{"tenant":"x","level":7,"wait":5,"kind":{"large":2},"letter":"ab","id":"7","list":["a",1]}"#,
        r#"{"tenant":"x","level":7,"id":7,"list":["a","b"],"pair":["a",2],"ratio":2,"flag":true,"unit":null}"#,
        r#"{"tenant":"x","level":7,"ratio":0.1,"flag":"true","unit":{},"pair":[]}"#,
        r#"{"tenant":"x","level":-7,"ratio":18446744073709551615,"big":18446744073709551615}"#,
        r#"{"tenant":"x","level":7,"big":340282366920938463463374607431768211455,"small":-9223372036854775808}"#,
        r#"{"tenant":"x","level":7,"big":1,"small":9223372036854775807,"ratio":-1}"#,
        r#"{"tenant":"x","level":7,"small":9223372036854775808,"ratio":1e400}"#,
        r#"{"tenant":"x","level":7.0}"#,
        r#"{"tenant":7,"level":7}"#,
        r#"{"level":7}"#,
        r#"{"ten\u0061nt":"x","level":7}"#,
        r#"{"tenant":"x","level":7,"inner":{"tenant":"y","level":1}}"#,
        r#"{"tenant":"x","level":7,"inner":["y",1]}"#,
        r#"{"tenant":"x","level":7,"raw":"a\n\"","kind":"other"}"#,
        r#"{"tenant":"x","level":7,"raw": [ 1 , 2.50 ] }"#,
        r#"{"tenant":"x","level":7,"1":1,"2":2}"#,
        r#"{"1":1,"2":-2}"#,
        r#"{"small":1,"other":2}"#,
        r#"{"a":"1","b":"2","c":"3","d":"4","e":"5","f":"6","g":"7","h":"8","i":"9","j":"10","k":"11","l":"12","m":"13","n":"14","o":"15","p":"16","q":"17","r":"18","s":"19","t":"20","u":"21"}"#,
        "{}",
        r#"{"$serde_json::private::Number":"7"}"#,
    ];

    #[derive(Debug, PartialEq, Deserialize)]
    struct Plain {
        tenant: String,
        level: u8,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        tenant: String,
        level: i64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Plain);

    #[derive(Debug, PartialEq, Eq, Hash, Deserialize)]
    struct Id(String);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(u32),
    }

    #[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Size {
        Small,
        Other,
        Large(u8),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Rich {
        tenant: Option<String>,
        level: f32,
        wait: Option<u64>,
        kind: Option<Size>,
        letter: Option<char>,
        id: Option<Id>,
        list: Option<Vec<String>>,
        pair: Option<(String, u8)>,
        ratio: Option<f64>,
        flag: Option<bool>,
        #[serde(default)]
        unit: (),
        big: Option<u128>,
        small: Option<i64>,
        inner: Option<Box<Plain>>,
        raw: Option<Value>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Flat {
        tenant: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Tagged {
        id: Either,
    }

    #[derive(Debug, Deserialize)]
    struct Raw {
        raw: Box<serde_json::value::RawValue>,
    }

    impl PartialEq for Raw {
        fn eq(&self, other: &Self) -> bool {
            self.raw.get() == other.raw.get()
        }
    }

    /// `None` for what is not read far enough; where only a claim is wrong, the places are known all the same.
    fn outline(payload: &str) -> Option<Outline> {
        let mut outline = Outline::new();
        let read =
            parse_outlined(payload.into(), &Places::default(), &mut outline, &mut Registered::default());
        (read != Err(TokenFault::Malformed)).then_some(outline)
    }

    fn check<C: DeserializeOwned + Debug + PartialEq>() {
        let mut read = 0;
        for payload in PAYLOADS {
            let Some(outline) = outline(payload) else { continue };
            let theirs = serde_json::from_str(payload).ok();
            assert_eq!(outline.claims::<C>(payload), theirs, "{payload}");
            read += usize::from(theirs.is_some());
        }
        assert!(read > 0, "nothing reads as {}", std::any::type_name::<C>());
    }

    #[test]
    fn like_serde_json() {
        check::<Plain>();
        check::<Strict>();
        check::<Wrapped>();
        check::<Option<Plain>>();
        check::<Rich>();
        check::<Flat>();
        check::<Tagged>();
        check::<Raw>();
        check::<Value>();
        check::<serde_json::Map<String, Value>>();
        check::<HashMap<String, String>>();
        check::<HashMap<Id, i8>>();
        check::<HashMap<u16, i8>>();
        check::<BTreeMap<Size, u8>>();
        check::<crate::Claims>();
    }

    #[test]
    fn the_short_way_is_taken() {
        for payload in [PAYLOADS[0], PAYLOADS[2], PAYLOADS[4]] {
            let outline = outline(payload).unwrap();
            let document = Document { payload, members: &outline.members[..outline.count] };
            assert!(outline.complete && Plain::deserialize(document).is_ok());
        }
    }
}

//! The reader beside a slow one that is plainly right.
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

/// Digits are read eight at once: each place of numbers of each length, with another character in it.
#[test]
fn numbers_like_the_reference() {
    let digits = b"9182736455463728190";
    for length in 1..=digits.len() {
        for position in 0..length {
            for character in *b"0159/:;-+.eE pP@\x7f" {
                let mut text = [b"{\"a\":", &digits[..length], b"}"].concat();
                text[5 + position] = character;
                assert_eq!(object(&text).ok().map(tree_of), reference(&text), "{}", text.escape_ascii());
            }
        }
    }
}

//! Payloads that are not quite a JSON object.
use tower_auth::TokenFault;

use crate::attacks::{HEADER, Keys, Rule, good, hs, run};
use crate::support::CLAIMS;

const WHOLE: &[(&str, &[u8])] = &[
    ("payload empty", b""),
    ("payload a space", b" "),
    ("payload null", b"null"),
    ("payload true", b"true"),
    ("payload a number", b"1800000300"),
    ("payload a string", br#""claims""#),
    ("payload not JSON", b"<claims/>"),
    ("payload binary", b"\x00\x01\x02"),
];

/// Wraps the accepted payload.
const AROUND: &[(&str, &str, &str)] = &[
    ("payload in an array", "[", "]"),
    ("payload after a byte order mark", "\u{feff}", ""),
    ("payload followed by another", "", "{}"),
    ("payload followed by a letter", "", "x"),
    ("payload followed by a NUL", "", "\0"),
    ("payload after a comment", "/* */", ""),
    ("payload after a vertical tab", "\u{b}", ""),
    ("payload after a no-break space", "\u{a0}", ""),
];

/// One member more.
const MEMBERS: &[(&str, &[u8])] = &[
    ("a lone high surrogate", br#""x":"\ud800""#),
    ("a lone low surrogate", br#""x":"\udc00""#),
    ("surrogates in the wrong order", br#""x":"\udc00\ud800""#),
    ("a lone surrogate in a name", br#""\ud800":1"#),
    ("invalid UTF-8", b"\"x\":\"\xff\""),
    ("an overlong slash", b"\"x\":\"\xc0\xaf\""),
    ("UTF-8 cut short", b"\"x\":\"\xe2\x82\""),
    ("a surrogate in UTF-8", b"\"x\":\"\xed\xa0\x80\""),
    ("invalid UTF-8 in a name", b"\"\xff\":1"),
    ("NaN", br#""x":NaN"#),
    ("Infinity", br#""x":-Infinity"#),
    ("1e400", br#""x":1e400"#),
    ("a leading zero", br#""x":01"#),
    ("a plus sign", br#""x":+1"#),
    ("a bare point", br#""x":.5"#),
    ("a point at the end", br#""x":1."#),
    ("hexadecimal", br#""x":0x10"#),
    ("an unknown escape", br#""x":"\q""#),
    ("a raw newline", b"\"x\":\"\n\""),
    ("a raw tab in a name", b"\"\t\":1"),
    ("single quotes", b"'x':1"),
    ("a name without quotes", b"x:1"),
    ("no colon", br#""x" 1"#),
    ("no value", br#""x":"#),
    ("two commas", br#","x":1"#),
    ("an array not closed", br#""x":[1"#),
    ("an object closed as an array", br#""x":{"y":1]"#),
    ("Python's None", br#""x":None"#),
];

pub(crate) fn rules() -> Vec<Rule> {
    let good = good();
    let rule = |name, payload: &[u8]| {
        Rule::token(name, Keys::Hs256, &good, &hs(HEADER, payload), TokenFault::Malformed)
    };
    let mut rules: Vec<Rule> = WHOLE.iter().map(|(name, payload)| rule(name, payload)).collect();
    for (name, before, after) in AROUND {
        rules.push(rule(name, format!("{before}{CLAIMS}{after}").as_bytes()));
    }
    let more = |member: &[u8]| [&CLAIMS.as_bytes()[..CLAIMS.len() - 1], b",", member, b"}"].concat();
    for (name, member) in MEMBERS {
        rules.push(rule(name, &more(member)));
    }
    rules.push(rule("a comma too many", &more(b"")));
    for (name, depth) in
        [("40 levels", 40), ("127 levels", 127), ("128 levels", 128), ("5,000 levels", 5_000)]
    {
        let nested = format!(r#""x":{}{}"#, "[".repeat(depth), "]".repeat(depth));
        rules.push(rule(name, &more(nested.as_bytes())));
    }
    let objects = format!(r#""x":{}1{}"#, r#"{"y":"#.repeat(1_500), "}".repeat(1_500));
    rules.push(rule("1,500 levels of objects", &more(objects.as_bytes())));
    let open = format!(r#""x":{}"#, "[".repeat(11_000));
    rules.push(rule("11,000 brackets that are never closed", &more(open.as_bytes())));
    let twice: Vec<String> = (0..600).map(|i| format!(r#""m{}":0"#, i % 599)).collect();
    rules.push(rule("one of 600 names twice", &more(twice.join(",").as_bytes())));
    let utf16: Vec<u8> = CLAIMS.encode_utf16().flat_map(u16::to_le_bytes).collect();
    rules.push(rule("payload in UTF-16", &utf16));
    for (name, bytes) in [("claims of 16 KiB", 16 << 10), ("claims of 1 MiB", 1 << 20)] {
        let long = more(format!(r#""x":"{}""#, "x".repeat(bytes)).as_bytes());
        rules.push(Rule::token(name, Keys::Hs256, &good, &hs(HEADER, long), TokenFault::TooLarge));
    }
    rules
}

#[tokio::test]
async fn refused() {
    run(&rules()).await;
}

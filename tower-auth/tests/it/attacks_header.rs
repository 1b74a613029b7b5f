//! The header: `alg`, `typ`, `crit` and what must not be believed.
use tower_auth::TokenFault;

use crate::attacks::{HEADER, Keys, Rule, good, hs, run};
use crate::support::CLAIMS;

/// One member more than the accepted header has, and the fault.
const MEMBERS: &[(&str, &str, TokenFault)] = &[
    (
        "crit with an unknown name",
        r#""crit":["http://example.com/x"],"http://example.com/x":1"#,
        TokenFault::Header,
    ),
    ("crit naming an absent member", r#""crit":["absent"]"#, TokenFault::Header),
    ("crit empty", r#""crit":[]"#, TokenFault::Header),
    ("crit a string", r#""crit":"exp""#, TokenFault::Header),
    ("crit an object", r#""crit":{"exp":true}"#, TokenFault::Header),
    ("crit null", r#""crit":null"#, TokenFault::Header),
    ("crit false", r#""crit":false"#, TokenFault::Header),
    ("crit a number", r#""crit":0"#, TokenFault::Header),
    ("crit of mixed types", r#""crit":["exp",1]"#, TokenFault::Header),
    ("crit naming one thing twice", r#""crit":["exp","exp"],"exp":1"#, TokenFault::Header),
    ("crit naming alg", r#""crit":["alg"]"#, TokenFault::Header),
    ("crit naming typ", r#""crit":["typ"]"#, TokenFault::Header),
    ("crit naming b64", r#""crit":["b64"],"b64":true"#, TokenFault::Header),
    ("crit and b64 false", r#""crit":["b64"],"b64":false"#, TokenFault::Header),
    ("crit escaped", r#""cr\u0069t":["exp"]"#, TokenFault::Header),
    ("b64 false without crit", r#""b64":false"#, TokenFault::Header),
    ("b64 true without crit", r#""b64":true"#, TokenFault::Header),
    ("b64 a string", r#""b64":"true""#, TokenFault::Header),
    ("zip", r#""zip":"DEF""#, TokenFault::Header),
    ("zip null", r#""zip":null"#, TokenFault::Header),
    ("enc", r#""enc":"A256GCM""#, TokenFault::Header),
    ("enc null", r#""enc":null"#, TokenFault::Header),
    ("cty of a nested token", r#""cty":"JWT""#, TokenFault::Header),
    ("cty of a nested token in lower case", r#""cty":"jwt""#, TokenFault::Header),
    ("cty an array", r#""cty":["JWT"]"#, TokenFault::Header),
    ("cty null", r#""cty":null"#, TokenFault::Header),
    ("alg twice, the same", r#""alg":"HS256""#, TokenFault::Malformed),
    ("alg twice, none last", r#""alg":"none""#, TokenFault::Malformed),
    ("alg twice, escaped", r#""a\u006cg":"HS256""#, TokenFault::Malformed),
    ("typ twice", r#""typ":"JWT""#, TokenFault::Malformed),
    ("an unknown member twice", r#""x":1,"x":1"#, TokenFault::Malformed),
    ("a nested member twice", r#""x":{"y":1,"y":1}"#, TokenFault::Malformed),
    (
        "a header 40 levels deep",
        concat!(
            r#""x":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["#,
            "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
        ),
        TokenFault::Malformed,
    ),
];

/// Another `alg` in place of the accepted one.
const ALGORITHMS: &[(&str, &str, TokenFault)] = &[
    ("alg none", r#""alg":"none","#, TokenFault::Algorithm),
    ("alg None", r#""alg":"None","#, TokenFault::Algorithm),
    ("alg NONE", r#""alg":"NONE","#, TokenFault::Algorithm),
    ("alg nOnE", r#""alg":"nOnE","#, TokenFault::Algorithm),
    ("alg empty", r#""alg":"","#, TokenFault::Algorithm),
    ("alg missing", "", TokenFault::Algorithm),
    ("alg null", r#""alg":null,"#, TokenFault::Algorithm),
    ("alg an array", r#""alg":["HS256"],"#, TokenFault::Algorithm),
    ("alg a number", r#""alg":256,"#, TokenFault::Algorithm),
    ("alg true", r#""alg":true,"#, TokenFault::Algorithm),
    ("alg an object", r#""alg":{"HS256":1},"#, TokenFault::Algorithm),
    ("alg in lower case", r#""alg":"hs256","#, TokenFault::Algorithm),
    ("alg with a space after", r#""alg":"HS256 ","#, TokenFault::Algorithm),
    ("alg with a space before", r#""alg":" HS256","#, TokenFault::Algorithm),
    ("alg with a NUL", r#""alg":"HS256\u0000","#, TokenFault::Algorithm),
    ("alg with a Cyrillic letter", r#""alg":"НS256","#, TokenFault::Algorithm),
    ("alg of a URI", r#""alg":"http://www.w3.org/2001/04/xmldsig-more#hmac-sha256","#, TokenFault::Algorithm),
    ("alg HS1", r#""alg":"HS1","#, TokenFault::Algorithm),
    ("alg ES256K", r#""alg":"ES256K","#, TokenFault::Algorithm),
    ("alg ES512", r#""alg":"ES512","#, TokenFault::Algorithm),
    ("alg of encryption", r#""alg":"dir","#, TokenFault::Algorithm),
    ("alg of key wrapping", r#""alg":"RSA-OAEP","#, TokenFault::Algorithm),
    ("alg of passwords", r#""alg":"PBES2-HS256+A128KW","#, TokenFault::Algorithm),
    ("alg under another name", r#""Alg":"HS256","#, TokenFault::Algorithm),
];

const TYPES: &[(&str, &str)] = &[
    ("typ dpop+jwt", r#""dpop+jwt""#),
    ("typ logout+jwt", r#""logout+jwt""#),
    ("typ secevent+jwt", r#""secevent+jwt""#),
    ("typ client-authentication+jwt", r#""client-authentication+jwt""#),
    ("typ token-introspection+jwt", r#""application/token-introspection+jwt""#),
    ("typ of an id token", r#""id_token""#),
    ("typ empty", r#""""#),
    ("typ with a space", r#""at+jwt ""#),
    ("typ application/ alone", r#""application/""#),
];

/// Other spellings of the header as a whole.
const WHOLE: &[(&str, &str)] = &[
    ("header an array", r#"["HS256"]"#),
    ("header a string", r#""HS256""#),
    ("header null", "null"),
    ("header with a byte order mark", "\u{feff}{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}"),
    ("header with something after it", r#"{"alg":"HS256","typ":"at+jwt"}{}"#),
    ("header with a comma too many", r#"{"alg":"HS256","typ":"at+jwt",}"#),
    ("header with a comment", r#"{"alg":"HS256",/* */"typ":"at+jwt"}"#),
    ("header in single quotes", "{'alg':'HS256','typ':'at+jwt'}"),
    ("header with a lone surrogate", r#"{"alg":"HS256","typ":"at+jwt","x":"\ud800"}"#),
    ("header with a raw control character", "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"x\":\"\u{1}\"}"),
    ("header cut short", r#"{"alg":"HS256","typ":"at+jwt""#),
    ("header with NaN", r#"{"alg":"HS256","typ":"at+jwt","x":NaN}"#),
    ("header with 1e400", r#"{"alg":"HS256","typ":"at+jwt","x":1e400}"#),
];

pub(crate) fn rules() -> Vec<Rule> {
    let good = good();
    let rule = |name, header: &[u8], fault| Rule::token(name, Keys::Hs256, &good, &hs(header, CLAIMS), fault);
    let mut rules = Vec::new();
    for (name, member, fault) in MEMBERS {
        rules.push(rule(name, HEADER.replace('}', &format!(",{member}}}")).as_bytes(), *fault));
    }
    for (name, member, fault) in ALGORITHMS {
        rules.push(rule(name, HEADER.replace(r#""alg":"HS256","#, member).as_bytes(), *fault));
    }
    for (name, typ) in TYPES {
        rules.push(rule(name, HEADER.replace(r#""at+jwt""#, typ).as_bytes(), TokenFault::Type));
    }
    for (name, typ) in [("typ null", "null"), ("typ a number", "7"), ("typ an array", r#"["at+jwt"]"#)] {
        rules.push(rule(name, HEADER.replace(r#""at+jwt""#, typ).as_bytes(), TokenFault::Header));
    }
    for (name, header) in WHOLE {
        rules.push(rule(name, header.as_bytes(), TokenFault::Malformed));
    }
    rules.push(rule("header not UTF-8", b"{\"alg\":\"HS256\",\"x\":\"\xff\"}", TokenFault::Malformed));
    for (name, header) in [
        ("typ absent where at+jwt is asked for", r#"{"alg":"HS256"}"#),
        ("typ JWT where at+jwt is asked for", r#"{"alg":"HS256","typ":"JWT"}"#),
    ] {
        rules.push(Rule::token(name, Keys::Strict, &good, &hs(header, CLAIMS), TokenFault::Type));
    }
    let long = format!(r#"{{"alg":"HS256","typ":"at+jwt","x":"{}"}}"#, "x".repeat(2_000));
    rules.push(rule("header of 2,000 bytes", long.as_bytes(), TokenFault::TooLarge));
    rules
}

#[tokio::test]
async fn refused() {
    run(&rules()).await;
}

/// Keys and addresses of keys in the header are not read: they neither help a bad token nor harm a good one.
#[tokio::test]
async fn keys_that_a_token_brings_along_are_ignored() {
    use crate::attacks::{ED_JWK, RSA_JWK, assert_accepted, backends, send};
    for backend in backends() {
        let layer = Keys::Hs256.layer(backend);
        for member in [
            format!(r#""jwk":{ED_JWK}"#),
            format!(r#""jwk":{RSA_JWK}"#),
            r#""jwk":{"kty":"oct","k":"AAAA"}"#.to_owned(),
            r#""jku":"https://evil.example/jwks""#.to_owned(),
            r#""x5u":"https://evil.example/cert""#.to_owned(),
            r#""x5c":["MIIB"]"#.to_owned(),
            r#""x5t":"AAAA","x5t#S256":"AAAA""#.to_owned(),
            r#""cty":"json""#.to_owned(),
        ] {
            let token = hs(HEADER.replace('}', &format!(",{member}}}")), CLAIMS);
            assert_accepted(&send(&layer, &vec![format!("Bearer {token}").into_bytes()]).await, &member);
        }
    }
}

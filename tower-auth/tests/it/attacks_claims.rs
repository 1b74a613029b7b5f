//! Registered claims of the wrong type, out of range, or not for us.
use tower_auth::TokenFault;

use crate::attacks::{HEADER, Keys, Rule, good, hs, run};
use crate::support::CLAIMS;

const EXP: &str = r#""exp":1800000300"#;
const IAT: &str = r#""iat":1800000000"#;
const AUD: &str = r#""aud":"api""#;
const ISS: &str = r#""iss":"https://issuer.example""#;
const SUB: &str = r#""sub":"alice""#;
const SCOPE: &str = r#""scope":"read write""#;

/// What no time may be, for each of `exp`, `nbf`, `iat`.
const TIMES: &[(&str, &str)] = &[
    ("a string", r#""1800000300""#),
    ("a string of words", r#""tomorrow""#),
    ("an empty string", r#""""#),
    ("negative", "-1"),
    ("a negative fraction", "-0.5e1"),
    ("1e19", "1e19"),
    ("the greatest u64", "18446744073709551615"),
    ("above the greatest u64", "18446744073709551616"),
    ("the greatest i64", "9223372036854775807"),
    ("the year 10000", "253402300800"),
    ("milliseconds", "1800000300000"),
    ("null", "null"),
    ("true", "true"),
    ("an array", "[1800000300]"),
    ("an object", r#"{"exp":1800000300}"#),
];

/// One member replaced.
const CHANGES: &[(&str, &str, &str, TokenFault)] = &[
    ("exp missing", r#","exp":1800000300"#, "", TokenFault::Missing("exp")),
    ("exp now less the leeway", EXP, r#""exp":1799999940"#, TokenFault::Expired),
    ("exp zero", EXP, r#""exp":0"#, TokenFault::Expired),
    ("exp a fraction before the leeway ends", EXP, r#""exp":1799999940.9"#, TokenFault::Expired),
    ("exp in upper case", EXP, r#""EXP":1800000300"#, TokenFault::Missing("exp")),
    ("exp escaped and twice", EXP, r#""exp":1,"e\u0078p":1800000300"#, TokenFault::Malformed),
    ("exp twice", EXP, r#""exp":1800000300,"exp":1800000300"#, TokenFault::Malformed),
    ("exp nested only", EXP, r#""x":{"exp":1800000300}"#, TokenFault::Missing("exp")),
    ("nbf after the leeway", EXP, r#""exp":1800000300,"nbf":1800000061"#, TokenFault::NotYetValid),
    (
        "nbf a fraction after the leeway",
        EXP,
        r#""exp":1800000300,"nbf":1800000060.1"#,
        TokenFault::NotYetValid,
    ),
    ("nbf twice", EXP, r#""exp":1800000300,"nbf":1,"nbf":1"#, TokenFault::Malformed),
    ("iat after the leeway", IAT, r#""iat":1800000061"#, TokenFault::NotYetValid),
    ("iat twice", IAT, r#""iat":1,"iat":1"#, TokenFault::Malformed),
    ("aud missing", r#""aud":"api","#, "", TokenFault::Missing("aud")),
    ("aud an empty array", AUD, r#""aud":[]"#, TokenFault::Missing("aud")),
    ("aud empty", AUD, r#""aud":"""#, TokenFault::Audience),
    ("aud of another service", AUD, r#""aud":"other""#, TokenFault::Audience),
    ("aud in upper case", AUD, r#""aud":"API""#, TokenFault::Audience),
    ("aud with a slash", AUD, r#""aud":"api/""#, TokenFault::Audience),
    ("aud with a space", AUD, r#""aud":"api ""#, TokenFault::Audience),
    ("aud a list in one string", AUD, r#""aud":"other api""#, TokenFault::Audience),
    ("aud with commas", AUD, r#""aud":"other,api""#, TokenFault::Audience),
    ("aud a prefix", AUD, r#""aud":"ap""#, TokenFault::Audience),
    ("aud an extension", AUD, r#""aud":"api2""#, TokenFault::Audience),
    ("aud a wildcard", AUD, r#""aud":"*""#, TokenFault::Audience),
    ("aud with a NUL", AUD, r#""aud":"api\u0000""#, TokenFault::Audience),
    ("aud with a full-width letter", AUD, r#""aud":"ａpi""#, TokenFault::Audience),
    ("aud an array of others", AUD, r#""aud":["a","b"]"#, TokenFault::Audience),
    ("aud a number", AUD, r#""aud":7"#, TokenFault::Claim("aud")),
    ("aud null", AUD, r#""aud":null"#, TokenFault::Claim("aud")),
    ("aud true", AUD, r#""aud":true"#, TokenFault::Claim("aud")),
    ("aud an object", AUD, r#""aud":{"api":true}"#, TokenFault::Claim("aud")),
    ("aud an array with a number", AUD, r#""aud":["api",7]"#, TokenFault::Claim("aud")),
    ("aud an array with null", AUD, r#""aud":["api",null]"#, TokenFault::Claim("aud")),
    ("aud an array in an array", AUD, r#""aud":[["api"]]"#, TokenFault::Claim("aud")),
    ("aud twice", AUD, r#""aud":"api","aud":"api""#, TokenFault::Malformed),
    ("iss missing", r#""iss":"https://issuer.example","#, "", TokenFault::Issuer),
    ("iss empty", ISS, r#""iss":"""#, TokenFault::Issuer),
    ("iss with a slash", ISS, r#""iss":"https://issuer.example/""#, TokenFault::Issuer),
    ("iss in upper case", ISS, r#""iss":"https://ISSUER.example""#, TokenFault::Issuer),
    ("iss over http", ISS, r#""iss":"http://issuer.example""#, TokenFault::Issuer),
    ("iss with a port", ISS, r#""iss":"https://issuer.example:443""#, TokenFault::Issuer),
    ("iss with a space", ISS, r#""iss":" https://issuer.example""#, TokenFault::Issuer),
    ("iss an extension", ISS, r#""iss":"https://issuer.example.evil""#, TokenFault::Issuer),
    ("iss with a user", ISS, r#""iss":"https://issuer.example@evil.example""#, TokenFault::Issuer),
    ("iss a prefix", ISS, r#""iss":"https://issuer""#, TokenFault::Issuer),
    ("iss with a NUL", ISS, r#""iss":"https://issuer.example\u0000""#, TokenFault::Issuer),
    ("iss an array", ISS, r#""iss":["https://issuer.example"]"#, TokenFault::Claim("iss")),
    ("iss an object", ISS, r#""iss":{"https://issuer.example":1}"#, TokenFault::Claim("iss")),
    ("iss null", ISS, r#""iss":null"#, TokenFault::Claim("iss")),
    ("iss a number", ISS, r#""iss":0"#, TokenFault::Claim("iss")),
    (
        "iss twice",
        ISS,
        r#""iss":"https://issuer.example","iss":"https://issuer.example""#,
        TokenFault::Malformed,
    ),
    ("sub a number", SUB, r#""sub":7"#, TokenFault::Claim("sub")),
    ("sub null", SUB, r#""sub":null"#, TokenFault::Claim("sub")),
    ("sub an array", SUB, r#""sub":["alice"]"#, TokenFault::Claim("sub")),
    ("sub an object", SUB, r#""sub":{"id":"alice"}"#, TokenFault::Claim("sub")),
    ("sub twice", SUB, r#""sub":"alice","sub":"admin""#, TokenFault::Malformed),
    ("jti a number", SUB, r#""sub":"alice","jti":7"#, TokenFault::Claim("jti")),
    ("jti null", SUB, r#""sub":"alice","jti":null"#, TokenFault::Claim("jti")),
    ("client_id an array", SUB, r#""sub":"alice","client_id":["a"]"#, TokenFault::Claim("client_id")),
    ("scope an array with a number", SCOPE, r#""scope":["read",1]"#, TokenFault::Claim("scope")),
    ("scope an array in an array", SCOPE, r#""scope":[["read"]]"#, TokenFault::Claim("scope")),
    ("scope a number", SCOPE, r#""scope":1"#, TokenFault::Claim("scope")),
    ("scope null", SCOPE, r#""scope":null"#, TokenFault::Claim("scope")),
    ("scope twice", SCOPE, r#""scope":"read","scope":"admin""#, TokenFault::Malformed),
    ("scp an object", SCOPE, r#""scp":{"admin":true}"#, TokenFault::Claim("scp")),
    ("scp an array with a number", SCOPE, r#""scp":["read",1]"#, TokenFault::Claim("scp")),
    ("bound to a DPoP key", SUB, r#""sub":"alice","cnf":{"jkt":"x"}"#, TokenFault::SenderConstrained),
    ("bound to a certificate", SUB, r#""sub":"alice","cnf":{"x5t#S256":"x"}"#, TokenFault::SenderConstrained),
    ("bound to something unknown", SUB, r#""sub":"alice","cnf":{"y":1}"#, TokenFault::SenderConstrained),
    ("an unknown claim twice", SUB, r#""sub":"alice","role":"user","role":"admin""#, TokenFault::Malformed),
    (
        "a nested claim twice",
        SUB,
        r#""sub":"alice","realm":{"role":"user","role":"admin"}"#,
        TokenFault::Malformed,
    ),
    ("a claim twice in an array", SUB, r#""sub":"alice","x":[{"role":1,"role":2}]"#, TokenFault::Malformed),
];

pub(crate) fn rules() -> Vec<Rule> {
    let good = good();
    let changed = |keys, name, from: &str, to: &str, fault| {
        let payload = CLAIMS.replacen(from, to, 1);
        assert_ne!(payload, CLAIMS, "{name}");
        Rule::token(name, keys, &good, &hs(HEADER, payload), fault)
    };
    let mut rules = Vec::new();
    for claim in ["exp", "nbf", "iat"] {
        for (form, value) in TIMES {
            let (from, to) = match claim {
                "exp" => (EXP, format!(r#""exp":{value}"#)),
                "iat" => (IAT, format!(r#""iat":{value}"#)),
                _ => (SUB, format!(r#"{SUB},"nbf":{value}"#)),
            };
            let name = format!("{claim} {form}").leak();
            rules.push(changed(Keys::Hs256, name, from, &to, TokenFault::Claim(claim)));
        }
    }
    for (name, from, to, fault) in CHANGES {
        rules.push(changed(Keys::Hs256, name, from, to, *fault));
    }
    for (name, to, fault) in [
        ("older than allowed", r#""iat":1799999339"#, TokenFault::Expired),
        ("of unknown age", r#""x":1800000000"#, TokenFault::Missing("iat")),
    ] {
        rules.push(changed(Keys::MaxAge, name, IAT, to, fault));
    }
    for (name, to, fault) in [
        ("naming another issuer than the key's", r#""iss":"https://second.example""#, TokenFault::UnknownKey),
        ("naming none of two issuers", r#""iss":"https://third.example""#, TokenFault::Issuer),
        (
            "naming both of two issuers",
            r#""iss":["https://issuer.example","https://second.example"]"#,
            TokenFault::Claim("iss"),
        ),
    ] {
        rules.push(changed(Keys::Two, name, ISS, to, fault));
    }
    rules.push(changed(
        Keys::Two,
        "naming no issuer of two",
        &format!("{ISS},"),
        "",
        TokenFault::Missing("iss"),
    ));
    rules
}

#[tokio::test]
async fn refused() {
    run(&rules()).await;
}

/// The last moments at which each time is good, so that the rules above stand at the edge.
#[tokio::test]
async fn accepted_at_the_edge() {
    use crate::attacks::{assert_accepted, backends, send};
    for backend in backends() {
        let layer = Keys::Hs256.layer(backend);
        for (from, to) in [
            (EXP, r#""exp":1799999941"#),
            (EXP, r#""exp":253402300799"#),
            (EXP, r#""exp":1800000300.5"#),
            (EXP, r#""exp":1.8000003e9"#),
            (EXP, r#""exp":1800000300,"nbf":1800000060"#),
            (IAT, r#""iat":1800000060"#),
            (AUD, r#""aud":["other","api"]"#),
            (AUD, r#""a\u0075d":"\u0061pi""#),
            (SCOPE, r#""scope":"""#),
        ] {
            let payload = CLAIMS.replacen(from, to, 1);
            let field = format!("Bearer {}", hs(HEADER, payload)).into_bytes();
            assert_accepted(&send(&layer, &vec![field]).await, to);
        }
    }
}

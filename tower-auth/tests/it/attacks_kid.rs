//! `kid`: only ever a name to look up in the set.
use tower_auth::TokenFault;
use tower_auth::keys::Algorithm;

use crate::attacks::{ED, Keys, Rule, forge, run};
use crate::support::CLAIMS;

const UNKNOWN: &[(&str, &str)] = &[
    ("kid of another key", "rsa"),
    ("kid in upper case", "ED"),
    ("kid with a space", "ed "),
    ("kid empty", ""),
    ("kid a path", "../../../../etc/passwd"),
    ("kid /dev/null", "/dev/null"),
    ("kid a Windows device", "\\\\\\\\.\\\\NUL"),
    ("kid SQL", "' OR 1=1 --"),
    ("kid SQL union", "x' UNION SELECT 'secret' --"),
    ("kid a shell", "ed | id"),
    ("kid a template", "{{7*7}}${7*7}"),
    ("kid LDAP", "*)(uid=*"),
    ("kid a URL", "https://evil.example/key"),
    ("kid with a NUL", "ed\\u0000"),
    ("kid with CRLF", "ed\\r\\nX-Injected: 1"),
    ("kid with a wildcard", "*"),
    ("kid a decomposed letter", "e\\u0301d"),
    ("kid __proto__", "__proto__"),
];

const FORMS: &[(&str, &str, TokenFault)] = &[
    ("kid a number", "1", TokenFault::Header),
    ("kid an object", r#"{"kid":"ed"}"#, TokenFault::Header),
    ("kid an array", r#"["ed"]"#, TokenFault::Header),
    ("kid null", "null", TokenFault::Header),
    ("kid true", "true", TokenFault::Header),
    ("kid twice", r#""ed","kid":"ed""#, TokenFault::Malformed),
    ("kid a lone surrogate", r#""\ud800""#, TokenFault::Malformed),
];

pub(crate) fn rules() -> Vec<Rule> {
    let token = |kid: &str| {
        forge(Algorithm::EdDsa, ED.as_bytes(), format!(r#"{{"alg":"EdDSA","kid":{kid}}}"#), CLAIMS)
    };
    let good = token(r#""ed""#);
    let rule = |name, kid: &str, fault| Rule::token(name, Keys::Set, &good, &token(kid), fault);
    let mut rules: Vec<Rule> =
        UNKNOWN.iter().map(|(name, kid)| rule(name, &format!("\"{kid}\""), TokenFault::UnknownKey)).collect();
    rules.extend(FORMS.iter().map(|(name, kid, fault)| rule(name, kid, *fault)));
    rules.push(rule("kid of 257 bytes", &format!("\"{}\"", "k".repeat(257)), TokenFault::Header));
    rules.push(rule("kid of 64 KiB", &format!("\"{}\"", "k".repeat(65_536)), TokenFault::TooLarge));
    // With ES256 there are two keys to choose from, so a token must name one.
    let es = |kid: &str| {
        let header = format!(r#"{{"alg":"ES256"{kid}}}"#);
        forge(Algorithm::Es256, crate::attacks::P256.as_bytes(), header, CLAIMS)
    };
    let named = es(r#","kid":"ec""#);
    rules.push(Rule::token(
        "kid missing where two keys fit",
        Keys::Set,
        &named,
        &es(""),
        TokenFault::UnknownKey,
    ));
    let other = es(r#","kid":"ec2""#);
    rules.push(Rule::token(
        "kid of a key that did not sign",
        Keys::Set,
        &named,
        &other,
        TokenFault::Signature,
    ));
    rules
}

#[tokio::test]
async fn refused() {
    run(&rules()).await;
}

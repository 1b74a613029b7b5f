//! The `Authorization` field itself.
use tower_auth::{AuthError, TokenFault};

use crate::attacks::{Fields, Keys, Rule, assert_accepted, assert_refused, backends, good, run, send};

const MALFORMED: AuthError = AuthError::InvalidRequest("The Authorization header is malformed");
const TWICE: AuthError = AuthError::InvalidRequest("More than one Authorization header");

pub(crate) fn rules() -> Vec<Rule> {
    let good = good();
    let field = |text: String| vec![text.into_bytes()];
    let rule = |name, changed: Fields, error| Rule {
        name,
        keys: Keys::Hs256,
        accepted: field(format!("Bearer {good}")),
        changed,
        error,
    };
    let malformed = |name, text: String| rule(name, field(text), MALFORMED);
    let missing = |name, text: String| rule(name, field(text), AuthError::MissingToken);
    let mut rules = vec![
        malformed("a tab after the scheme", format!("Bearer\t{good}")),
        malformed("a tab after the space", format!("Bearer \t{good}")),
        malformed("a space at the end", format!("Bearer {good} ")),
        malformed("a tab at the end", format!("Bearer {good}\t")),
        malformed("a comma at the end", format!("Bearer {good},")),
        malformed("a comma in front", format!("Bearer ,{good}")),
        malformed("two tokens after a space", format!("Bearer {good} {good}")),
        malformed("two tokens after a comma", format!("Bearer {good},{good}")),
        malformed("two credentials after a comma", format!("Bearer {good}, Basic YTpi")),
        malformed("in double quotes", format!("Bearer \"{good}\"")),
        malformed("in single quotes", format!("Bearer '{good}'")),
        malformed("in angle brackets", format!("Bearer <{good}>")),
        malformed("as a parameter in quotes", format!("Bearer token=\"{good}\"")),
        malformed("as a parameter", format!("Bearer access_token={good}")),
        malformed("a colon instead of the space", format!("Bearer:{good}")),
        malformed("a colon and a space", format!("Bearer: {good}")),
        malformed("the scheme twice", format!("Bearer Bearer {good}")),
        malformed("the scheme alone", "Bearer".into()),
        malformed("the scheme and a space", "Bearer ".into()),
        malformed("the scheme and three spaces", "Bearer   ".into()),
        malformed("an equals sign alone", "Bearer =".into()),
        malformed("a percent escape", format!("Bearer {}", good.replace('.', "%2E"))),
        malformed("a semicolon", format!("Bearer {good};v=1")),
        malformed("an equals sign inside", format!("Bearer {}", good.replacen('.', "=.", 1))),
        missing("no scheme", good.clone()),
        missing("an empty field", String::new()),
        missing("scheme Basic", "Basic YTpi".into()),
        missing("scheme Basic with the token", format!("Basic {good}")),
        missing("scheme Token", format!("Token {good}")),
        missing("scheme JWT", format!("JWT {good}")),
        missing("scheme DPoP", format!("DPoP {good}")),
        missing("scheme Bearers", format!("Bearers {good}")),
        missing("scheme and token without a space", format!("Bearer{good}")),
        missing("scheme with a letter missing", format!("Beare {good}")),
        rule("a field of Latin-1", vec![[b"Bearer \xe4", good.as_bytes()].concat()], MALFORMED),
        rule("a no-break space", vec![[b"Bearer \xa0", good.as_bytes()].concat()], MALFORMED),
        rule("a byte order mark", vec![[b"Bearer \xef\xbb\xbf", good.as_bytes()].concat()], MALFORMED),
        rule("the token twice", vec![format!("Bearer {good}").into_bytes(); 2], TWICE),
        rule("Basic and Bearer", vec![b"Basic YTpi".to_vec(), format!("Bearer {good}").into_bytes()], TWICE),
        rule("Bearer and Basic", vec![format!("Bearer {good}").into_bytes(), b"Basic YTpi".to_vec()], TWICE),
        rule("Bearer and an empty field", vec![format!("Bearer {good}").into_bytes(), Vec::new()], TWICE),
        rule(
            "a good token and a bad one",
            vec![format!("Bearer {good}").into_bytes(), b"Bearer x".to_vec()],
            TWICE,
        ),
    ];
    for (name, bytes) in [("17 KiB", 17 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        let long = format!("{good}{}", "A".repeat(bytes));
        rules.push(Rule::token(name, Keys::Hs256, &good, &long, TokenFault::TooLarge));
    }
    let long = format!("{good}{}", "A".repeat(8 << 10));
    rules.push(Rule::token("8 KiB of signature", Keys::Hs256, &good, &long, TokenFault::TooLarge));
    // Optional is about missing tokens, never about bad ones.
    let bad = format!("{good}A");
    rules.push(Rule::token(
        "a bad token where none is needed",
        Keys::Optional,
        &good,
        &bad,
        TokenFault::Signature,
    ));
    rules.push(Rule {
        keys: Keys::Optional,
        ..rule("a malformed field where none is needed", field("Bearer".into()), MALFORMED)
    });
    rules
}

#[tokio::test]
async fn refused() {
    run(&rules()).await;
}

/// RFC 9110 §11.1: the scheme has no case, and one or more spaces follow it.
#[tokio::test]
async fn spellings_of_the_scheme_that_are_right() {
    let good = good();
    for backend in backends() {
        let layer = Keys::Hs256.layer(backend);
        for scheme in ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer    "] {
            assert_accepted(&send(&layer, &vec![format!("{scheme}{good}").into_bytes()]).await, scheme);
        }
        assert_refused(&send(&layer, &Vec::new()).await, &AuthError::MissingToken, "no field");
    }
}

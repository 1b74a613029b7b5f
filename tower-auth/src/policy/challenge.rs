//! The `WWW-Authenticate` value (RFC 6750 §3, RFC 9110 §11.6.1).

/// The realm where nothing else is said: "one or more auth-param values" must follow the scheme (RFC 6750 §3).
pub(crate) const REALM: &str = "api";

/// `Bearer` with its parameters in the order of the RFC's examples.
pub(crate) fn bearer(realm: Option<&str>, error: Option<(&str, &str)>, scope: Option<&str>) -> String {
    write("Bearer", realm, error, scope, None)
}

/// `DPoP` (RFC 9449 §7.1) with the algorithms that proofs may have.
pub(crate) fn dpop(realm: Option<&str>, error: Option<(&str, &str)>) -> String {
    write("DPoP", realm, error, None, Some("ES256 ES384 Ed25519 EdDSA RS256 PS256"))
}

fn write(
    scheme: &str,
    realm: Option<&str>,
    error: Option<(&str, &str)>,
    scope: Option<&str>,
    algs: Option<&str>,
) -> String {
    let mut challenge = String::from(scheme);
    let mut separator = ' ';
    let mut parameter = |name: &str, value: &str| {
        challenge.push(separator);
        if separator == ',' {
            challenge.push(' ');
        }
        separator = ',';
        challenge.push_str(name);
        challenge.push_str("=\"");
        challenge.extend(value.chars().filter(|c| fit(*c)));
        challenge.push('"');
    };
    if let Some(realm) = realm {
        parameter("realm", realm);
    }
    if let Some((code, description)) = error {
        parameter("error", code);
        parameter("error_description", description);
    }
    if let Some(scope) = scope {
        parameter("scope", scope);
    }
    if let Some(algs) = algs {
        parameter("algs", algs);
    }
    challenge
}

/// RFC 6750 §3: `error_description` and `scope` never contain quotes or backslashes, nor anything outside ASCII.
pub(crate) fn fit(c: char) -> bool {
    matches!(c, ' ' | '!' | '#'..='[' | ']'..='~')
}

/// A scope token (RFC 6749 §3.3).
pub(crate) fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c != ' ' && fit(c))
}

/// What an `Authorization` value holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Credentials<'h> {
    Token(&'h str),
    /// Another scheme than Bearer: no bearer token was sent.
    OtherScheme,
    Malformed,
}

/// `Bearer` in any case (RFC 9110 §11.1), one or more spaces, one `b64token` (RFC 6750 §2.1), and nothing after it.
pub(crate) fn credentials(value: &[u8]) -> Credentials<'_> {
    credentials_of("Bearer", value)
}

/// The same by another scheme.
pub(crate) fn credentials_of<'h>(wanted: &str, value: &'h [u8]) -> Credentials<'h> {
    let Some((scheme, rest)) = value.split_at_checked(wanted.len()) else {
        return Credentials::OtherScheme;
    };
    if !scheme.eq_ignore_ascii_case(wanted.as_bytes()) || rest.first().is_some_and(u8::is_ascii_alphanumeric)
    {
        return Credentials::OtherScheme;
    }
    let token = match rest.iter().position(|byte| *byte != b' ') {
        Some(start) if start > 0 => &rest[start..],
        _ => return Credentials::Malformed,
    };
    b64token(token).map_or(Credentials::Malformed, Credentials::Token)
}

/// `b64token` (RFC 6750 §2.1): the only form a bearer token has on any way.
pub(crate) fn b64token(token: &[u8]) -> Option<&str> {
    let end = token.iter().rposition(|byte| *byte != b'=')? + 1;
    // Without leaving early, which the compiler turns into a few instructions for every sixteen bytes.
    let bad = token[..end].iter().fold(false, |bad, byte| {
        let other = matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        bad | !(byte.is_ascii_alphanumeric() | other)
    });
    if bad {
        return None;
    }
    std::str::from_utf8(token).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_6750() {
        assert_eq!(bearer(Some("example"), None, None), r#"Bearer realm="example""#);
        assert_eq!(
            bearer(Some("example"), Some(("invalid_token", "The access token expired")), None),
            r#"Bearer realm="example", error="invalid_token", error_description="The access token expired""#
        );
        assert_eq!(bearer(None, None, Some("a b")), r#"Bearer scope="a b""#);
    }

    #[test]
    fn credentials_of_every_kind() {
        for good in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c"] {
            assert_eq!(credentials(good.as_bytes()), Credentials::Token("a.b.c"), "{good}");
        }
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer\ta.b.c",
            "Bearer a.b.c ",
            "Bearer a,b",
            "Bearer \"a\"",
            "Bearer a b",
            "Bearer =a",
            "Bearer a=b",
            "Bearer ä",
        ] {
            assert_eq!(credentials(bad.as_bytes()), Credentials::Malformed, "{bad}");
        }
        for other in ["", "Basic YTpi", "Bearers a", "Digest x"] {
            assert_eq!(credentials(other.as_bytes()), Credentials::OtherScheme, "{other}");
        }
    }
}

//! What a `WWW-Authenticate` field says to a client (RFC 9110 §11.6.1, RFC 6750 §3).

use http::HeaderValue;

/// Most challenges of one answer that are looked at.
const MAX_CHALLENGES: usize = 16;

/// One challenge: its scheme and its `error`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    error: Option<String>,
}

/// Whether the answer says that another token may help: no challenge at all, or one for tokens whose `error` is
/// `invalid_token` or missing. Any other error is about the request or the scopes.
pub(crate) fn blames_token<'h>(values: impl IntoIterator<Item = &'h HeaderValue>) -> bool {
    let mut any = false;
    for value in values {
        any = true;
        let blames = |challenge: &Challenge| {
            is_token_scheme(&challenge.scheme)
                && challenge.error.as_deref().is_none_or(|error| error == "invalid_token")
        };
        if challenges(value.as_bytes()).iter().any(blames) {
            return true;
        }
    }
    !any
}

/// Whether a proof with a nonce is asked for (RFC 9449 §9).
#[cfg(feature = "dpop")]
pub(crate) fn asks_for_nonce<'h>(values: impl IntoIterator<Item = &'h HeaderValue>) -> bool {
    let asks = |challenge: Challenge| {
        challenge.scheme.eq_ignore_ascii_case("DPoP") && challenge.error.as_deref() == Some("use_dpop_nonce")
    };
    values.into_iter().any(|value| challenges(value.as_bytes()).into_iter().any(asks))
}

fn is_token_scheme(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("Bearer") || scheme.eq_ignore_ascii_case("DPoP")
}

/// The challenges of one field value; what cannot be read is left out.
fn challenges(value: &[u8]) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    for item in items(value) {
        let (name, rest) = token(item);
        if name.is_empty() {
            continue;
        }
        let parameter = match rest.trim_ascii_start().strip_prefix(b"=") {
            // `name=value` belongs to the challenge before it.
            Some(value) => Some((name, value)),
            None if found.len() == MAX_CHALLENGES => break,
            None => {
                let scheme = String::from_utf8_lossy(name).into_owned();
                found.push(Challenge { scheme, error: None });
                let (name, rest) = token(rest.trim_ascii_start());
                rest.trim_ascii_start().strip_prefix(b"=").map(|value| (name, value))
            }
        };
        if let (Some((name, value)), Some(challenge)) = (parameter, found.last_mut())
            && name.eq_ignore_ascii_case(b"error")
        {
            challenge.error = Some(unquoted(value.trim_ascii()));
        }
    }
    found
}

/// Splits at commas outside quotes.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value
        .split(move |byte| {
            if escaped {
                escaped = false;
                return false;
            }
            match byte {
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        })
        .map(<[u8]>::trim_ascii)
}

/// A token (RFC 9110 §5.6.2) off the front.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = text.iter().position(|byte| !allowed(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// The value of a parameter, with its quotes and escapes undone.
fn unquoted(value: &[u8]) -> String {
    let Some(inner) = value.strip_prefix(b"\"") else { return String::from_utf8_lossy(value).into_owned() };
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    let (mut text, mut escaped) = (Vec::with_capacity(inner.len()), false);
    for byte in inner {
        if *byte == b'\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(*byte);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blames(values: &[&'static str]) -> bool {
        let values: Vec<HeaderValue> = values.iter().map(|value| HeaderValue::from_static(value)).collect();
        blames_token(&values)
    }

    #[test]
    fn which_answers_blame_the_token() {
        assert!(blames(&[]));
        for good in [
            "Bearer",
            "bearer realm=\"a, b\"",
            r#"Bearer realm="example", error="invalid_token", error_description="The access token expired""#,
            r#"Bearer error_description="error=\"x\", y" , error = invalid_token"#,
            r#"Basic realm="x", Bearer error="invalid_token""#,
            r#"DPoP error="invalid_token", algs="ES256""#,
            r#"Negotiate YWJj==, Bearer error="inv\alid_token""#,
        ] {
            assert!(blames(&[good]), "{good}");
        }
        assert!(blames(&["Basic realm=x", "Bearer"]));
        for bad in [
            "Basic realm=\"Bearer\"",
            r#"Basic realm="x, Bearer""#,
            r#"Bearer error="insufficient_scope", scope="a b""#,
            r#"Bearer realm="x", error="invalid_request""#,
            r#"Bearer error="INVALID_TOKEN""#,
            r#"DPoP error="use_dpop_nonce""#,
            "",
            ",,,",
            "\"",
            "=",
        ] {
            assert!(!blames(&[bad]), "{bad}");
        }
    }

    /// Forms of the field that clients meet: empty members, white space, credentials of one word, escapes, scraps.
    #[test]
    fn forms_of_challenges() {
        let read = |value: &str| -> Vec<String> {
            let show = |challenge: Challenge| {
                format!("{}:{}", challenge.scheme, challenge.error.unwrap_or("-".into()))
            };
            challenges(value.as_bytes()).into_iter().map(show).collect()
        };
        for (value, expected) in [
            ("", vec![]),
            (",", vec![]),
            ("Scheme", vec!["Scheme:-"]),
            ("Scheme, DPoP", vec!["Scheme:-", "DPoP:-"]),
            ("Scheme realm=\"foo\"", vec!["Scheme:-"]),
            ("Scheme , realm=\"foo\"", vec!["Scheme:-"]),
            ("Scheme realm=\"\\\"foo\\\"\", error=a", vec!["Scheme:a"]),
            ("Scheme realm=\"foo\", bar=\"xyz\",, a=b,,,error=d", vec!["Scheme:d"]),
            (",Scheme error=\"basic\"", vec!["Scheme:basic"]),
            (
                "Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\", Bearer error=\"x\" ",
                vec!["Newauth:-", "Bearer:x"],
            ),
            ("Scheme foo=\"error=nottheerror\", error=\"x\"", vec!["Scheme:x"]),
            ("Scheme notanerror=\"y\", error=\"x\"", vec!["Scheme:x"]),
            ("NTLS Y2hhbGxlbmdl, Bearer error=\"x\"", vec!["NTLS:-", "Bearer:x"]),
            ("NTLS Y2hhbGxlbmdl=, Bearer error=\"x\"", vec!["NTLS:-", "Bearer:x"]),
            ("NTLS YWJj/+==, Bearer error=\"x\"", vec!["NTLS:-", "Bearer:x"]),
            (
                "Bearer   realm =   \"something\"   ,error=\"bad\" ,  error_description = \" spaced \"",
                vec!["Bearer:bad"],
            ),
            ("error=\"invalid_token\"", vec![]),
            ("  error=\"invalid_token\", error_description=\"no scheme\"", vec![]),
            ("Bearer error=\"a\", error=\"b\"", vec!["Bearer:b"]),
            ("Bearer ERROR=\"token\", Scope=\"read\"", vec!["Bearer:token"]),
            ("Bearer error=\"b\\\\c\"", vec!["Bearer:b\\c"]),
            ("Bearer realm=\"foo\",", vec!["Bearer:-"]),
            ("%%%%%%%", vec!["%%%%%%%:-"]),
            (
                "Bearer realm=\"foo\", Digest blah==, Basic error=\"bar\"",
                vec!["Bearer:-", "Digest:-", "Basic:bar"],
            ),
        ] {
            assert_eq!(read(value), expected, "{value}");
        }
    }

    #[cfg(feature = "dpop")]
    #[test]
    fn which_answers_ask_for_a_nonce() {
        let asks = |value| asks_for_nonce(&[HeaderValue::from_static(value)]);
        assert!(asks(
            r#"DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof""#
        ));
        assert!(!asks(r#"DPoP error="invalid_token""#));
        assert!(!asks(r#"Bearer error="use_dpop_nonce""#));
    }
}

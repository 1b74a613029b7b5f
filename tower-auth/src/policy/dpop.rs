//! What a DPoP proof must say (RFC 9449 §4.2, §4.3), once its signature is good.

use http::Uri;

use super::json::{self, Value};

/// Longest `jti`, in bytes: more would fill the memory of whoever remembers it.
const MAX_ID: usize = 256;

/// The claims of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) jti: String,
    pub(crate) htm: String,
    pub(crate) htu: String,
    pub(crate) iat: i64,
    pub(crate) ath: Option<String>,
    pub(crate) nonce: Option<String>,
}

/// The request that the proof is for.
#[derive(Debug, Clone)]
pub(crate) struct Expected<'r> {
    pub(crate) method: &'r str,
    /// As [`normalised`] gives it.
    pub(crate) uri: &'r str,
    /// Hash of the token in base64url.
    pub(crate) ath: &'r str,
    pub(crate) now: i64,
    /// Seconds a proof may be old, and seconds it may lie in the future.
    pub(crate) window: (i64, i64),
}

pub(crate) fn parse(payload: &[u8]) -> Result<Proof, &'static str> {
    let members = json::object(payload).map_err(|_| "The DPoP proof is malformed")?;
    let text = |name: &str| match members.iter().find(|(member, _)| member == name).map(|(_, value)| value) {
        Some(Value::String(text)) if *text != "" => Ok(Some(String::from(*text))),
        None => Ok(None),
        Some(_) => Err("A claim of the DPoP proof has the wrong type"),
    };
    let missing = "A claim of the DPoP proof is missing";
    let iat = match members.iter().find(|(member, _)| member == "iat").map(|(_, value)| value) {
        Some(Value::Integer(seconds)) if *seconds >= 0 => *seconds,
        Some(Value::Float(seconds)) if *seconds >= 0.0 && *seconds < 1e12 => *seconds as i64,
        Some(_) => return Err("A claim of the DPoP proof has the wrong type"),
        None => return Err(missing),
    };
    let jti = text("jti")?.ok_or(missing)?;
    if jti.len() > MAX_ID {
        return Err("The id of the DPoP proof is too long");
    }
    let (htm, htu) = (text("htm")?.ok_or(missing)?, text("htu")?.ok_or(missing)?);
    Ok(Proof { jti, htm, htu, iat, ath: text("ath")?, nonce: text("nonce")? })
}

/// RFC 9449 §4.3, points 8, 9, 11 and 12; the others are about the signature and the token.
pub(crate) fn check(proof: &Proof, expected: &Expected<'_>) -> Result<(), &'static str> {
    let (old, ahead) = expected.window;
    if proof.htm != expected.method {
        return Err("The DPoP proof is for another method");
    }
    if proof.htu.parse().ok().and_then(|uri| normalised(&uri)).as_deref() != Some(expected.uri) {
        return Err("The DPoP proof is for another URI");
    }
    if proof.iat < expected.now.saturating_sub(old) || proof.iat > expected.now.saturating_add(ahead) {
        return Err("The DPoP proof is too old or from the future");
    }
    match &proof.ath {
        Some(ath) if ath == expected.ath => Ok(()),
        _ => Err("The DPoP proof is for another token"),
    }
}

/// A URI as RFC 3986 §6.2.2 and §6.2.3 normalise it, without query and fragment (RFC 9449 §4.3). `None` when it is not
/// absolute.
pub(crate) fn normalised(uri: &Uri) -> Option<String> {
    let (scheme, authority) = (uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?);
    if authority.as_str().contains('@') {
        return None;
    }
    let mut text = format!("{scheme}://{}", authority.host().to_ascii_lowercase());
    // A port that is none is not the default one; nothing after the colon is (RFC 3986 §6.2.3).
    if authority.port_u16().is_none() && !authority.as_str().trim_end_matches(':').ends_with(authority.host())
    {
        return None;
    }
    match (authority.port_u16(), scheme.as_str()) {
        (None | Some(443), "https") | (None | Some(80), "http") => {}
        (Some(port), "http" | "https") => text.push_str(&format!(":{port}")),
        _ => return None,
    }
    push_path(&mut text, uri.path());
    Some(text)
}

/// Percent-encoding in upper case, and none for unreserved characters.
pub(crate) fn push_path(text: &mut String, path: &str) {
    if path.is_empty() {
        text.push('/');
    }
    let mut rest = path;
    while let Some(start) = rest.find('%') {
        text.push_str(&rest[..start]);
        let digits = rest.get(start + 1..start + 3);
        // The standard library would take a sign for a digit.
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let Some(code) = code else {
            text.push('%');
            rest = &rest[start + 1..];
            continue;
        };
        if code.is_ascii_alphanumeric() || b"-._~".contains(&code) {
            text.push(char::from(code));
        } else {
            text.push_str(&format!("%{code:02X}"));
        }
        rest = &rest[start + 3..];
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The payload of RFC 9449 §7.1, figure 12.
    const GOOD: &str = r#"{"jti":"e1j3V_bKic8-LAEB","htm":"GET","htu":"https://resource.example.org/protectedresource","iat":1562262618,"ath":"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}"#;

    fn expected() -> Expected<'static> {
        Expected {
            method: "GET",
            uri: "https://resource.example.org/protectedresource",
            ath: "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
            now: 1_562_262_618,
            window: (60, 5),
        }
    }

    #[test]
    fn one_change_to_an_accepted_proof_is_refused() {
        let good = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(check(&good, &expected()), Ok(()));
        for (now, good_then) in [(60, true), (61, false), (-5, true), (-6, false)] {
            let expected = Expected { now: 1_562_262_618 + now, ..expected() };
            assert_eq!(check(&good, &expected).is_ok(), good_then, "{now}");
        }
        for (from, to) in [
            ("\"GET\"", "\"get\""),
            ("\"GET\"", "\"POST\""),
            ("/protectedresource", "/other"),
            ("resource.example.org", "evil.example"),
            ("https://", "http://"),
            ("fUHyO", "gUHyO"),
            (",\"ath\":\"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo\"", ""),
            ("1562262618", "1562262000"),
        ] {
            let bad = GOOD.replace(from, to);
            assert_ne!(bad, GOOD);
            assert!(check(&parse(bad.as_bytes()).unwrap(), &expected()).is_err(), "{bad}");
        }
        for (from, to) in [
            ("\"e1j3V_bKic8-LAEB\"", "7"),
            ("\"e1j3V_bKic8-LAEB\"", "\"\""),
            ("\"jti\":\"e1j3V_bKic8-LAEB\",", ""),
            ("\"GET\"", "[\"GET\"]"),
            ("1562262618", "\"1562262618\""),
            ("1562262618", "-1"),
            ("\"htm\"", "\"htm\":\"GET\",\"htm\""),
        ] {
            let bad = GOOD.replace(from, to);
            assert_ne!(bad, GOOD);
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(GOOD.replace("e1j3V_bKic8-LAEB", &"x".repeat(257)).as_bytes()).is_err());
    }

    #[test]
    fn uris_that_are_the_same() {
        let same = |uri: &str| normalised(&uri.parse().unwrap());
        for (uri, expected) in [
            ("HTTPS://Api.Example:443/a?x=1", Some("https://api.example/a")),
            ("https://api.example", Some("https://api.example/")),
            ("https://api.example/%7euser/%2f%e4", Some("https://api.example/~user/%2F%E4")),
            ("http://api.example:8080/A", Some("http://api.example:8080/A")),
            ("https://api.example/%+4%+f%4", Some("https://api.example/%+4%+f%4")),
            ("https://api.example:/a", Some("https://api.example/a")),
            ("https://[::1]/a", Some("https://[::1]/a")),
            ("https://[::1]:443/a", Some("https://[::1]/a")),
            ("https://api.example:99999/a", None),
            ("https://api.example:0443/a", Some("https://api.example/a")),
            ("https://u@api.example/", None),
            ("/a", None),
        ] {
            assert_eq!(same(uri).as_deref(), expected, "{uri}");
        }
    }
}

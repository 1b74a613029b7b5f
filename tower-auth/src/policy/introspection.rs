//! What an introspection endpoint says about a token (RFC 7662 §2.2).

use serde::Deserialize;

use super::claims::{self, Registered};
use super::{json, jws};

/// An answer of the endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// "not active", for whatever reason: nothing else is said about it.
    Inactive,
    /// Active, with what it says about the token.
    Active(Box<Registered>),
}

#[derive(Deserialize)]
struct Head {
    active: bool,
}

/// Reads an answer; `None` when it is none, which says nothing about the token.
pub(crate) fn parse(body: &[u8]) -> Option<Answer> {
    let Head { active } = serde_json::from_slice(body).ok()?;
    if !active {
        return Some(Answer::Inactive);
    }
    claims::parse(body.to_vec(), &claims::Places::default())
        .ok()
        .map(|registered| Answer::Active(Box::new(registered)))
}

/// Whether the token is none that could be verified here: not three parts of which the first is the header of a JWS.
pub(crate) fn is_opaque(token: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return true;
    };
    jws::decode(header).ok().is_none_or(|header| json::object(&header).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7662() {
        // §2.2, figure 3.
        let good = br#"{"active":true,"client_id":"l238j323ds-23ij4","username":"jdoe","scope":"read write dolphin","sub":"Z5O3upPC88QrAjx00dis","aud":"https://protected.example.net/resource","iss":"https://server.example.com/","exp":1419356238,"iat":1419350238,"extension_field":"twenty-seven"}"#;
        let Some(Answer::Active(claims)) = parse(good) else { panic!("not active") };
        assert_eq!((claims.exp, claims.scopes().count()), (Some(1_419_356_238), 3));
        assert_eq!(parse(br#"{"active":false}"#), Some(Answer::Inactive));
        let good = String::from_utf8_lossy(good);
        for (from, to) in [
            ("true", "\"true\""),
            ("\"active\":true,", ""),
            ("1419356238", "\"1419356238\""),
            ("\"iat\"", "\"exp\":1,\"iat\""),
            ("}", ""),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn tokens_that_could_be_verified_here_are_not_opaque() {
        assert!(!is_opaque("eyJhbGciOiJIUzI1NiJ9.e30.AAAA"));
        assert!(!is_opaque("eyJhbGciOiJub25lIn0.e30."));
        for opaque in ["mF_9.B5f-4.1JqM", "2YotnFZFEjr1zCsicMWpAA", "a.b.c.d", "", ".."] {
            assert!(is_opaque(opaque), "{opaque}");
        }
    }
}

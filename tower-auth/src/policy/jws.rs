//! Compact JWS (RFC 7515 §7.1), read strictly: sizes first, then the shape, then base64url, then the header.

use super::base64url;
use super::json::{self, Value};
use crate::error::TokenFault;
use crate::keys::Algorithm;

/// Longest token that is looked at, in bytes. Request headers above 8 to 16 KiB are refused by most servers anyway.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;
/// Longest encoded header, in bytes.
const MAX_HEADER: usize = 2 * 1024;
/// Longest encoded signature: RSA with 8192 bits is 1024 bytes.
const MAX_SIGNATURE: usize = 1_366;
/// Longest `kid`, in bytes.
const MAX_KID: usize = 256;

/// A token split, nothing of it decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Split<'t> {
    /// What was signed: header, dot, payload as they arrived.
    pub(crate) signed: &'t str,
    pub(crate) header: &'t str,
    pub(crate) payload: &'t str,
    pub(crate) signature: &'t str,
}

/// The header parameters this crate acts on. `jku`, `jwk`, `x5u` and `x5c` are deliberately absent: a token does not
/// choose the key it is verified with (RFC 8725 §3.10).
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
}

/// Splits. The payload is decoded only after the signature has been found good.
pub(crate) fn split(token: &str) -> Result<Split<'_>, TokenFault> {
    if token.len() > MAX_TOKEN {
        return Err(TokenFault::TooLarge);
    }
    let (header, rest) = split_at_dot(token).ok_or(TokenFault::Malformed)?;
    let (payload, signature) = split_at_dot(rest).ok_or(TokenFault::Malformed)?;
    // A third dot would be JWE (five parts) or something unknown.
    if split_at_dot(signature).is_some() || header.is_empty() {
        return Err(TokenFault::Malformed);
    }
    if header.len() > MAX_HEADER || signature.len() > MAX_SIGNATURE {
        return Err(TokenFault::TooLarge);
    }
    if signature.is_empty() {
        return Err(TokenFault::Signature);
    }
    let signed = &token[..header.len() + 1 + payload.len()];
    Ok(Split { signed, header, payload, signature })
}

/// What is before the first dot, and what is behind it. Sixteen characters at once, because most are none.
fn split_at_dot(text: &str) -> Option<(&str, &str)> {
    let dot = |characters: &[u8]| characters.iter().position(|character| *character == b'.');
    let (steps, rest) = text.as_bytes().as_chunks::<16>();
    let has_one = |step: &[u8; 16]| step.iter().fold(false, |any, character| any | (*character == b'.'));
    let at = match steps.iter().position(has_one) {
        Some(number) => number * 16 + dot(&steps[number])?,
        None => steps.len() * 16 + dot(rest)?,
    };
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Canonical base64url without padding (RFC 7515 §2), so that one signature has one spelling.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, TokenFault> {
    base64url::decode(text).ok_or(TokenFault::Malformed)
}

/// The same in the place of what is in `bytes`, which are undefined when it fails.
pub(crate) fn decode_into(text: &str, bytes: &mut Vec<u8>) -> Result<(), TokenFault> {
    base64url::decode_into(text, bytes).then_some(()).ok_or(TokenFault::Malformed)
}

/// The same with room for some more behind it.
pub(crate) fn decode_with_room(text: &str, room: usize) -> Result<Vec<u8>, TokenFault> {
    let mut bytes = Vec::with_capacity(base64url::needed(text) + room);
    decode_into(text, &mut bytes)?;
    Ok(bytes)
}

/// Reads a decoded header.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, TokenFault> {
    let members = json::object(bytes).map_err(|_| TokenFault::Malformed)?;
    let (mut algorithm, mut kid, mut typ) = (None, None, None);
    for (name, value) in members {
        match (&*name.into_cow(), value) {
            ("alg", Value::String(name)) => {
                algorithm = Some(Algorithm::from_name(&name.into_cow()).ok_or(TokenFault::Algorithm)?);
            }
            ("alg", _) => return Err(TokenFault::Algorithm),
            ("kid", Value::String(id)) if id.into_cow().len() <= MAX_KID => kid = Some(id.into()),
            ("typ", Value::String(name)) => typ = Some(name.into()),
            // Nested tokens (RFC 7519 §5.2) are not read.
            ("cty", Value::String(name)) if !name.into_cow().eq_ignore_ascii_case("JWT") => {}
            // `crit` names what must be understood, and nothing that could be named is (RFC 7515 §4.1.11; `b64`, RFC
            // 7797). `zip` and `enc` belong to JWE (RFC 7516 §4.1).
            ("crit" | "b64" | "zip" | "enc" | "kid" | "typ" | "cty", _) => return Err(TokenFault::Header),
            _ => {}
        }
    }
    let algorithm = algorithm.ok_or(TokenFault::Algorithm)?;
    Ok(Header { algorithm, kid, typ })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn parse(token: &str) -> Result<Header, TokenFault> {
        let split = split(token)?;
        let header = header(&decode(split.header)?)?;
        decode(split.signature)?;
        Ok(header)
    }

    fn token(header: &str) -> String {
        format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn one_change_to_an_accepted_header_is_refused() {
        assert!(parse(&token(r#"{"alg":"HS256","typ":"JWT","x5u":"http://a","jwk":{"kty":"oct"}}"#)).is_ok());
        for (header, fault) in [
            (r#"{"alg":"none","typ":"JWT"}"#, TokenFault::Algorithm),
            (r#"{"alg":"hs256","typ":"JWT"}"#, TokenFault::Algorithm),
            (r#"{"alg":["HS256"],"typ":"JWT"}"#, TokenFault::Algorithm),
            (r#"{"typ":"JWT"}"#, TokenFault::Algorithm),
            (r#"{"alg":"HS256","alg":"HS256"}"#, TokenFault::Malformed),
            (r#"{"alg":"HS256","al\u0067":"HS256"}"#, TokenFault::Malformed),
            (r#"{"alg":"HS256","crit":["exp"]}"#, TokenFault::Header),
            (r#"{"alg":"HS256","crit":[]}"#, TokenFault::Header),
            (r#"{"alg":"HS256","b64":false}"#, TokenFault::Header),
            (r#"{"alg":"HS256","b64":true}"#, TokenFault::Header),
            (r#"{"alg":"HS256","zip":"DEF"}"#, TokenFault::Header),
            (r#"{"alg":"HS256","enc":"A128GCM"}"#, TokenFault::Header),
            (r#"{"alg":"HS256","cty":"JWT"}"#, TokenFault::Header),
            (r#"{"alg":"HS256","kid":7}"#, TokenFault::Header),
            (r#"{"alg":"HS256"} x"#, TokenFault::Malformed),
            (r#"["HS256"]"#, TokenFault::Malformed),
        ] {
            assert_eq!(parse(&token(header)).unwrap_err(), fault, "{header}");
        }
    }

    #[test]
    fn one_change_to_an_accepted_shape_is_refused() {
        let good = token(r#"{"alg":"HS256"}"#);
        assert!(parse(&good).is_ok());
        let long = format!("{}.{}.AAAA", good.split('.').next().unwrap(), "A".repeat(MAX_TOKEN));
        for (bad, fault) in [
            (format!("{good}="), TokenFault::Malformed),
            (format!("{good}."), TokenFault::Malformed),
            (format!("{good}.AAAA.AAAA"), TokenFault::Malformed),
            (format!(" {good}"), TokenFault::Malformed),
            (format!("{good}\n"), TokenFault::Malformed),
            (format!("{}B", &good[..good.len() - 2]), TokenFault::Malformed),
            (good.trim_end_matches("AAAA").to_owned(), TokenFault::Signature),
            (good.replace(".e30", ""), TokenFault::Malformed),
            (long, TokenFault::TooLarge),
        ] {
            assert_eq!(parse(&bad).unwrap_err(), fault, "{bad:.80}");
        }
    }
}

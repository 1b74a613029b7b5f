//! The registered claims (RFC 7519 §4.1, RFC 9068 §2.2), each of the type it must have.

use super::json::{self, Text, Value};
use crate::error::TokenFault;

/// Latest time that is understood: the year 9999. Later ones are mistakes or attacks on arithmetic.
const MAX_TIME: i64 = 253_402_300_799;

/// The claims this crate decides by. Times are whole seconds since 1970; fractions are cut toward refusing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Registered {
    pub(crate) iss: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) aud: Vec<String>,
    pub(crate) exp: Option<i64>,
    pub(crate) nbf: Option<i64>,
    pub(crate) iat: Option<i64>,
    pub(crate) jti: Option<String>,
    pub(crate) client_id: Option<String>,
    /// `scope` (RFC 8693 §4.2, a string) and `scp` (what some providers send, a string or an array).
    pub(crate) scopes: Vec<String>,
    /// From where the configuration says.
    pub(crate) roles: Vec<String>,
    /// Whether the token is bound to a key of its sender (`cnf`, RFC 7800 §3.1).
    pub(crate) bound: bool,
    /// The thumbprint of that key, where it is one that proofs are made with (`jkt`, RFC 9449 §6.1).
    pub(crate) jkt: Option<String>,
}

/// Where scopes and roles are besides `scope` and `scp`: JSON pointers (RFC 6901), split and unescaped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    pub(crate) scopes: Vec<Vec<String>>,
    pub(crate) roles: Vec<Vec<String>>,
}

/// The reference tokens of a JSON pointer (RFC 6901 §3); `None` when it is none, or the whole document.
pub(crate) fn pointer(text: &str) -> Option<Vec<String>> {
    let unescaped = |part: &str| {
        let wrong = part.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
        (!wrong).then(|| part.replace("~1", "/").replace("~0", "~"))
    };
    text.strip_prefix('/')?.split('/').map(unescaped).collect()
}

fn at<'v, 'j>(members: &'v [(Text<'j>, Value<'j>)], path: &[String]) -> Option<&'v Value<'j>> {
    let (name, rest) = path.split_first()?;
    let (_, value) = members.iter().find(|(member, _)| member.as_str() == name)?;
    match (rest, value) {
        ([], value) => Some(value),
        (rest, Value::Object(members)) => at(members, rest),
        _ => None,
    }
}

/// Reads a payload whose signature is good.
pub(crate) fn parse(payload: &[u8], places: &Places) -> Result<Registered, TokenFault> {
    let mut claims = Registered::default();
    let members = json::object(payload).map_err(|_| TokenFault::Malformed)?;
    for value in places.scopes.iter().filter_map(|path| at(&members, path)) {
        strings(value.clone(), "scope")?.iter().for_each(|scope| add_scopes(&mut claims.scopes, scope));
    }
    for value in places.roles.iter().filter_map(|path| at(&members, path)) {
        claims.roles.extend(strings(value.clone(), "roles")?);
    }
    for (name, value) in members {
        match name.as_str() {
            "iss" => claims.iss = Some(string(value, "iss")?),
            "sub" => claims.sub = Some(string(value, "sub")?),
            "jti" => claims.jti = Some(string(value, "jti")?),
            "client_id" => claims.client_id = Some(string(value, "client_id")?),
            "aud" => claims.aud = strings(value, "aud")?,
            "exp" => claims.exp = Some(time(&value, "exp", f64::floor)?),
            "nbf" => claims.nbf = Some(time(&value, "nbf", f64::ceil)?),
            "iat" => claims.iat = Some(time(&value, "iat", f64::floor)?),
            "scope" => add_scopes(&mut claims.scopes, &string(value, "scope")?),
            "scp" => {
                strings(value, "scp")?.iter().for_each(|scope| add_scopes(&mut claims.scopes, scope));
            }
            "cnf" => {
                claims.bound = true;
                if let Value::Object(members) = value {
                    claims.jkt = members.into_iter().find_map(|member| match member {
                        (name, Value::String(jkt)) if name == "jkt" => Some(jkt.into()),
                        _ => None,
                    });
                }
            }
            _ => {}
        }
    }
    Ok(claims)
}

fn string(value: Value<'_>, claim: &'static str) -> Result<String, TokenFault> {
    match value {
        Value::String(text) => Ok(text.into()),
        _ => Err(TokenFault::Claim(claim)),
    }
}

/// A string or an array of strings (RFC 7519 §4.1.3).
fn strings(value: Value<'_>, claim: &'static str) -> Result<Vec<String>, TokenFault> {
    match value {
        Value::String(text) => Ok(vec![text.into()]),
        Value::Array(items) => items.into_iter().map(|item| string(item, claim)).collect(),
        _ => Err(TokenFault::Claim(claim)),
    }
}

/// NumericDate (RFC 7519 §2): a number, possibly with a fraction; never negative here.
fn time(value: &Value<'_>, claim: &'static str, whole: fn(f64) -> f64) -> Result<i64, TokenFault> {
    let seconds = match *value {
        Value::Integer(seconds) => seconds,
        // The cast saturates, and the range below refuses what saturated.
        Value::Float(seconds) if seconds.is_finite() => whole(seconds) as i64,
        _ => return Err(TokenFault::Claim(claim)),
    };
    if (0..=MAX_TIME).contains(&seconds) { Ok(seconds) } else { Err(TokenFault::Claim(claim)) }
}

fn add_scopes(scopes: &mut Vec<String>, text: &str) {
    for scope in text.split(' ').filter(|scope| !scope.is_empty()) {
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_type_is_refused() {
        let good = r#"{"iss":"i","sub":"s","aud":["a","b"],"exp":10,"nbf":1.5,"iat":1,"scope":"x y"}"#;
        let parse = |text: &[u8]| parse(text, &Places::default());
        let claims = parse(good.as_bytes()).unwrap();
        assert_eq!((claims.nbf, claims.scopes), (Some(2), vec!["x".to_owned(), "y".to_owned()]));
        for (from, to, claim) in [
            ("\"iss\":\"i\"", "\"iss\":[\"i\"]", "iss"),
            ("\"iss\":\"i\"", "\"iss\":null", "iss"),
            ("\"sub\":\"s\"", "\"sub\":1", "sub"),
            ("[\"a\",\"b\"]", "[\"a\",1]", "aud"),
            ("[\"a\",\"b\"]", "{\"a\":1}", "aud"),
            ("[\"a\",\"b\"]", "7", "aud"),
            ("\"exp\":10", "\"exp\":\"10\"", "exp"),
            ("\"exp\":10", "\"exp\":-10", "exp"),
            ("\"exp\":10", "\"exp\":1e19", "exp"),
            ("\"exp\":10", "\"exp\":18446744073709551615", "exp"),
            ("\"exp\":10", "\"exp\":null", "exp"),
            ("\"exp\":10", "\"exp\":[10]", "exp"),
            ("\"nbf\":1.5", "\"nbf\":true", "nbf"),
            ("\"iat\":1", "\"iat\":\"1\"", "iat"),
            ("\"scope\":\"x y\"", "\"scope\":[\"x\"]", "scope"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(parse(bad.as_bytes()), Err(TokenFault::Claim(claim)), "{bad}");
        }
    }

    #[test]
    fn pointers_to_scopes_and_roles() {
        let places = Places {
            scopes: vec![pointer("/permissions").unwrap()],
            roles: vec![pointer("/realm_access/roles").unwrap(), pointer("/https:~1~1a~0b").unwrap()],
        };
        let good =
            r#"{"permissions":["a b","c"],"realm_access":{"roles":["x y"]},"https://a~b":"z","scope":"d a"}"#;
        let claims = parse(good.as_bytes(), &places).unwrap();
        assert_eq!((claims.scopes.join(","), claims.roles.join(",")), ("a,b,c,d".into(), "x y,z".into()));
        for (from, to, claim) in
            [("\"c\"", "7", "scope"), ("[\"x y\"]", "{}", "roles"), ("\"z\"", "null", "roles")]
        {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(parse(bad.as_bytes(), &places), Err(TokenFault::Claim(claim)), "{bad}");
        }
        let without = good.replace("realm_access", "other").replace("permissions", "p");
        let claims = parse(without.as_bytes(), &places).unwrap();
        assert_eq!((claims.scopes.join(","), claims.roles.join(",")), ("d,a".into(), "z".into()));
        for bad in ["", "roles", "/a~", "/a~2b"] {
            assert_eq!(pointer(bad), None, "{bad}");
        }
    }
}

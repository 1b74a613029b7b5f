//! The registered claims (RFC 7519 §4.1, RFC 9068 §2.2), each of the type it must have.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{self, Members, Text, Value};
use super::typed::{Kind, Member, Outline};
use crate::error::TokenFault;

/// Latest time that is understood: the year 9999. Later ones are mistakes or attacks on arithmetic.
const MAX_TIME: i64 = 253_402_300_799;

/// The claims this crate decides by. Times are whole seconds since 1970; fractions are cut toward refusing. Texts are kept
/// once, as the payload they came in, and named by their places in it.
#[derive(Debug, Clone, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Registered {
    // What is asked at every use comes first.
    /// The payload, after it the values that had escapes, and at the end the token itself.
    text: String,
    token: usize,
    pub(crate) exp: Option<i64>,
    pub(crate) nbf: Option<i64>,
    pub(crate) iat: Option<i64>,
    /// Whether the token is bound to a key of its sender (`cnf`, RFC 7800 §3.1), otherwise than by a certificate.
    pub(crate) bound: bool,
    /// Whether it is bound to the certificate of a client (`x5t#S256`, RFC 8705 §3.1).
    pub(crate) certificate: bool,
    payload: usize,
    iss: Option<Span>,
    sub: Option<Span>,
    jti: Option<Span>,
    client_id: Option<Span>,
    jkt: Option<Span>,
    aud: Spans,
    scopes: Spans,
    roles: Spans,
}

/// From where to where in [`Registered::text`], in bytes.
pub(crate) type Span = (u32, u32);

/// A few places, most often without an allocation.
#[derive(Debug, Clone, Default, PartialEq)]
struct Spans {
    first: [Span; 4],
    count: u8,
    more: Vec<Span>,
}

impl Spans {
    fn push(&mut self, span: Span) {
        match self.first.get_mut(usize::from(self.count)) {
            Some(place) => {
                *place = span;
                self.count += 1;
            }
            None => self.more.push(span),
        }
    }

    fn iter(&self) -> impl Iterator<Item = Span> {
        self.first[..usize::from(self.count)].iter().chain(&self.more).copied()
    }
}

impl Registered {
    fn at(&self, (start, end): Span) -> &str {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// All of it, as it was signed.
    pub(crate) fn payload(&self) -> &str {
        &self.text[..self.payload]
    }

    /// Keeps the token too.
    pub(crate) fn keep(&mut self, token: &str) {
        self.text.push_str(token);
    }

    /// What [`keep`](Self::keep) was told.
    pub(crate) fn token(&self) -> &str {
        &self.text[self.token..]
    }

    pub(crate) fn iss(&self) -> Option<&str> {
        self.iss.map(|span| self.at(span))
    }

    pub(crate) fn sub(&self) -> Option<&str> {
        self.sub.map(|span| self.at(span))
    }

    pub(crate) fn jti(&self) -> Option<&str> {
        self.jti.map(|span| self.at(span))
    }

    pub(crate) fn client_id(&self) -> Option<&str> {
        self.client_id.map(|span| self.at(span))
    }

    /// The thumbprint of the key that the token is bound to, where it is one that proofs are made with (`jkt`, RFC 9449
    /// §6.1).
    pub(crate) fn jkt(&self) -> Option<&str> {
        self.jkt.map(|span| self.at(span))
    }

    pub(crate) fn aud(&self) -> impl Iterator<Item = &str> {
        self.aud.iter().map(|span| self.at(span))
    }

    /// `scope` (RFC 8693 §4.2, a string, and what some issuers make an array) and `scp` (what some providers send, a
    /// string or an array), none of them twice.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().map(|span| self.at(span))
    }

    /// From where the configuration says.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|span| self.at(span))
    }
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

fn at<'j>(members: &Members<'j>, path: &[String]) -> Option<Value<'j>> {
    let (name, rest) = path.split_first()?;
    let (_, value) = members.iter().find(|(member, _)| *member == **name)?;
    match (rest, value) {
        ([], value) => Some(*value),
        (rest, Value::Object(text)) => at(&json::members(text).ok()?, rest),
        _ => None,
    }
}

/// Reads a payload whose signature is good.
#[cfg(any(feature = "introspection", test))]
pub(crate) fn parse(payload: Vec<u8>, places: &Places) -> Result<Registered, TokenFault> {
    let mut claims = Registered::default();
    parse_outlined(payload, places, &mut Outline::new(), &mut claims)?;
    Ok(claims)
}

/// The same, with the places of all members. Into claims that are empty: moving as much as they are takes its time.
pub(crate) fn parse_outlined(
    payload: Vec<u8>,
    places: &Places,
    outline: &mut Outline,
    claims: &mut Registered,
) -> Result<(), TokenFault> {
    let text = String::from_utf8(payload).map_err(|_| TokenFault::Malformed)?;
    let mut reading = Reading { payload: &text, copied: String::new(), claims };
    reading.read(places, outline)?;
    let Reading { copied, claims, .. } = reading;
    claims.payload = text.len();
    claims.text = text;
    claims.text.push_str(&copied);
    claims.token = claims.text.len();
    Ok(())
}

/// The issuer that an unverified payload names, for choosing among the configured ones and for nothing else.
pub(crate) fn issuer(payload: &[u8]) -> Result<Cow<'_, str>, TokenFault> {
    let members = json::object(payload).map_err(|_| TokenFault::Malformed)?;
    match members.into_iter().find(|(name, _)| name == "iss") {
        Some((_, Value::String(text))) => Ok(text.into_cow()),
        Some(_) => Err(TokenFault::Claim("iss")),
        None => Err(TokenFault::Missing("iss")),
    }
}

/// Claims on their way out of a payload.
struct Reading<'p, 'c> {
    payload: &'p str,
    /// Values that do not stand in the payload as they are.
    copied: String,
    claims: &'c mut Registered,
}

impl<'p> Reading<'p, '_> {
    fn read(&mut self, places: &Places, outline: &mut Outline) -> Result<(), TokenFault> {
        if !(places.scopes.is_empty() && places.roles.is_empty()) {
            self.read_places(places)?;
        }
        // What is no JSON is that and nothing else, whatever its claims are.
        let mut result = Ok(());
        json::each(self.payload, |name, value, place| {
            let member = self.member(name, value, place);
            outline.push(member);
            if result.is_ok() {
                result = match name {
                    Text::Plain(name) => self.claim(name, value),
                    Text::Escaped(_) => self.claim(&name.into_cow(), value),
                };
            }
        })
        .map_err(|_| TokenFault::Malformed)?;
        result
    }

    /// `None` where the name does not stand in the payload as it is.
    fn member(&self, name: Text<'p>, value: Value<'p>, place: Range<usize>) -> Option<Member> {
        let name = self.within(name.plain()?);
        let (start, end) = (place.start as u32, place.end as u32);
        Some(match value {
            Value::String(Text::Plain(_)) => Member { name, value: (start + 1, end - 1), kind: Kind::Plain },
            Value::Integer(number) => Member { name, value: (start, end), kind: Kind::Integer(number) },
            _ => Member { name, value: (start, end), kind: Kind::Other },
        })
    }

    fn read_places(&mut self, places: &Places) -> Result<(), TokenFault> {
        let members = json::members(self.payload).map_err(|_| TokenFault::Malformed)?;
        for value in places.scopes.iter().filter_map(|path| at(&members, path)) {
            each(value, |text| self.add_scopes(text)).ok_or(TokenFault::Claim("scope"))?;
        }
        for value in places.roles.iter().filter_map(|path| at(&members, path)) {
            let pushed = each(value, |text| {
                let span = self.place(text);
                self.claims.roles.push(span);
            });
            pushed.ok_or(TokenFault::Claim("roles"))?;
        }
        Ok(())
    }

    /// Keeps a claim that is of the right type. What all of a kind have in common is there once: most of its time is that of
    /// fetching the code, after a signature.
    fn claim(&mut self, name: &str, value: Value<'p>) -> Result<(), TokenFault> {
        let right = match name {
            "iss" | "sub" | "jti" | "client_id" => self.text_claim(name, value),
            "exp" | "nbf" | "iat" => self.time_claim(name, value),
            "aud" => each(value, |text| {
                let span = self.place(text);
                self.claims.aud.push(span);
            }),
            // RFC 8693 §4.2 wants a string for `scope`; some issuers write an array, as their `scp` and `aud` would be.
            "scope" | "scp" => each(value, |text| self.add_scopes(text)),
            "cnf" => self.confirmation(value),
            _ => Some(()),
        };
        right.ok_or_else(|| wrong(name))
    }

    fn text_claim(&mut self, name: &str, value: Value<'p>) -> Option<()> {
        let Value::String(text) = value else { return None };
        let span = Some(self.place(text));
        match name {
            "iss" => self.claims.iss = span,
            "sub" => self.claims.sub = span,
            "jti" => self.claims.jti = span,
            _ => self.claims.client_id = span,
        }
        Some(())
    }

    fn time_claim(&mut self, name: &str, value: Value<'p>) -> Option<()> {
        let time = Some(time(value, name == "nbf")?);
        match name {
            "exp" => self.claims.exp = time,
            "nbf" => self.claims.nbf = time,
            _ => self.claims.iat = time,
        }
        Some(())
    }

    fn confirmation(&mut self, value: Value<'p>) -> Option<()> {
        self.claims.bound = true;
        if let Value::Object(text) = value {
            let members = json::members(text).ok()?;
            self.claims.certificate = members.iter().any(|(name, _)| name == "x5t#S256");
            self.claims.bound = !self.claims.certificate || members.len() > 1;
            if let Some((_, Value::String(jkt))) = members.into_iter().find(|(name, _)| name == "jkt") {
                self.claims.jkt = Some(self.place(jkt));
            }
        }
        Some(())
    }

    /// Where the text is, once the payload and what was copied are one. Tokens are far shorter than 4 GiB.
    fn place(&mut self, text: Text<'p>) -> Span {
        match text.into_cow() {
            Cow::Borrowed(text) => self.within(text),
            Cow::Owned(text) => self.copy(&text),
        }
    }

    /// The place of a part of the payload.
    fn within(&self, part: &str) -> Span {
        let start = part.as_ptr() as usize - self.payload.as_ptr() as usize;
        (start as u32, (start + part.len()) as u32)
    }

    fn copy(&mut self, text: &str) -> Span {
        let start = self.payload.len() + self.copied.len();
        self.copied.push_str(text);
        (start as u32, (start + text.len()) as u32)
    }

    fn text(&self, (start, end): Span) -> &str {
        let (start, end, before) = (start as usize, end as usize, self.payload.len());
        let text = match start.checked_sub(before) {
            None => self.payload.get(start..end),
            Some(start) => self.copied.get(start..end - before),
        };
        text.unwrap_or_default()
    }

    fn add_scopes(&mut self, text: Text<'p>) {
        let text = text.into_cow();
        let copied = matches!(text, Cow::Owned(_));
        let mut end = 0;
        for piece in text.as_bytes().split(|byte| *byte == b' ') {
            let start = end;
            end = start + piece.len() + 1;
            let known = |span| self.text(span).as_bytes() == piece;
            if piece.is_empty() || self.claims.scopes.iter().any(known) {
                continue;
            }
            let scope = text.get(start..end - 1).unwrap_or_default();
            let span = if copied { self.copy(scope) } else { self.within(scope) };
            self.claims.scopes.push(span);
        }
    }
}

/// Claims whose types are looked at.
const NAMES: [&str; 10] = ["iss", "sub", "jti", "client_id", "aud", "exp", "nbf", "iat", "scope", "scp"];

#[cold]
#[inline(never)]
fn wrong(name: &str) -> TokenFault {
    NAMES.into_iter().find(|known| *known == name).map_or(TokenFault::Malformed, TokenFault::Claim)
}

/// Each text of a string or an array of strings (RFC 7519 §4.1.3); `None` when it is neither.
fn each<'p>(value: Value<'p>, mut one: impl FnMut(Text<'p>)) -> Option<()> {
    match value {
        Value::String(text) => one(text),
        Value::Array(text) => {
            for item in json::array(text).ok()? {
                match item {
                    Value::String(text) => one(text),
                    _ => return None,
                }
            }
        }
        _ => return None,
    }
    Some(())
}

/// NumericDate (RFC 7519 §2): a number, possibly with a fraction, which becomes whole downwards or `up`; never negative here.
fn time(value: Value<'_>, up: bool) -> Option<i64> {
    let seconds = match value {
        Value::Integer(seconds) => seconds,
        // The cast saturates, and the range below refuses what saturated.
        Value::Float(seconds) if seconds.is_finite() => {
            (if up { seconds.ceil() } else { seconds.floor() }) as i64
        }
        _ => return None,
    };
    (0..=MAX_TIME).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_type_is_refused() {
        let good = r#"{"iss":"i","sub":"s","aud":["a","b"],"exp":10,"nbf":1.5,"iat":1,"scope":"x y"}"#;
        let parse = |text: &str| parse(text.into(), &Places::default());
        let claims = parse(good).unwrap();
        assert_eq!((claims.nbf, claims.scopes().collect::<Vec<_>>()), (Some(2), vec!["x", "y"]));
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
            ("\"scope\":\"x y\"", "\"scope\":[\"x\",1]", "scope"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(parse(&bad), Err(TokenFault::Claim(claim)), "{bad}");
        }
    }

    fn joined<'c>(texts: impl Iterator<Item = &'c str>) -> String {
        texts.collect::<Vec<_>>().join(",")
    }

    #[test]
    fn texts_with_escapes_and_without() {
        let good = r#"{"sub":"a\u0062","iss":"\n","jti":"j","aud":["\u0061pi","b"],"scope":"x\u0020y x z","scp":["z","\u0071"],"cnf":{"x":1,"jkt":"t"}}"#;
        let claims = parse(good.into(), &Places::default()).unwrap();
        assert_eq!(claims.payload(), good);
        let texts = [claims.sub(), claims.iss(), claims.jti(), claims.client_id(), claims.jkt()];
        assert_eq!(texts, [Some("ab"), Some("\n"), Some("j"), None, Some("t")]);
        assert_eq!((joined(claims.aud()), joined(claims.scopes())), ("api,b".into(), "x,y,z,q".into()));
        let many = format!(r#"{{"aud":["{}"]}}"#, ["a"; 20].join("\",\""));
        assert_eq!(joined(parse(many.into(), &Places::default()).unwrap().aud()), ["a"; 20].join(","));
    }

    #[test]
    fn pointers_to_scopes_and_roles() {
        let places = Places {
            scopes: vec![pointer("/permissions").unwrap()],
            roles: vec![pointer("/realm_access/roles").unwrap(), pointer("/https:~1~1a~0b").unwrap()],
        };
        let good =
            r#"{"permissions":["a b","c"],"realm_access":{"roles":["x y"]},"https://a~b":"z","scope":"d a"}"#;
        let claims = parse(good.into(), &places).unwrap();
        assert_eq!((joined(claims.scopes()), joined(claims.roles())), ("a,b,c,d".into(), "x y,z".into()));
        for (from, to, claim) in
            [("\"c\"", "7", "scope"), ("[\"x y\"]", "{}", "roles"), ("\"z\"", "null", "roles")]
        {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(parse(bad.clone().into(), &places), Err(TokenFault::Claim(claim)), "{bad}");
        }
        let without = good.replace("realm_access", "other").replace("permissions", "p");
        let claims = parse(without.into(), &places).unwrap();
        assert_eq!((joined(claims.scopes()), joined(claims.roles())), ("d,a".into(), "z".into()));
        for bad in ["", "roles", "/a~", "/a~2b"] {
            assert_eq!(pointer(bad), None, "{bad}");
        }
    }
}

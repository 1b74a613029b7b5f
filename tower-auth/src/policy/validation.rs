//! What the claims of a token with a good signature must say (RFC 7519 §4.1, RFC 8725 §3.8 to 3.12, RFC 9068 §4).

use std::time::Duration;

use super::claims::Registered;
use crate::error::TokenFault;

/// Most that clocks may differ: beyond five minutes a clock is broken, and leeway would keep dead tokens alive.
pub(crate) const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// Which `typ` a token must carry (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TokenType {
    /// `at+jwt`, `JWT` or none: what providers send as access tokens today, and nothing that is clearly another kind
    /// of token (`dpop+jwt`, `logout+jwt`). The default.
    #[default]
    AccessTokenOrJwt,
    /// `at+jwt` only (RFC 9068 §4).
    AccessToken,
    /// Whatever the token says.
    Any,
}

impl TokenType {
    pub(crate) fn admits(self, typ: Option<&str>) -> bool {
        // A media type whose `application/` may be left out (RFC 7515 §4.1.9), compared without case.
        let short = typ.map(|typ| match typ.split_at_checked("application/".len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
            _ => typ,
        });
        match self {
            Self::Any => true,
            Self::AccessToken => short.is_some_and(|typ| typ.eq_ignore_ascii_case("at+jwt")),
            Self::AccessTokenOrJwt => {
                short.is_none_or(|typ| typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("jwt"))
            }
        }
    }
}

/// The rules of one authenticator.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Accepted audiences; `None` when the check is waived.
    pub(crate) audiences: Option<Vec<String>>,
    pub(crate) leeway: Duration,
    pub(crate) max_age: Option<Duration>,
    pub(crate) token_type: TokenType,
    /// Whether somebody else has compared the certificate that a token is bound to.
    pub(crate) certificates_compared: bool,
}

impl Rules {
    /// Everything that must hold of a token with a good signature. `now` in seconds since 1970; `proof` the thumbprint of
    /// the key that the sender proved to have. The issuer has been matched before: it chose the keys.
    pub(crate) fn check(&self, claims: &Registered, now: i64, proof: Option<&str>) -> Result<(), TokenFault> {
        self.check_again(claims, now, proof)?;
        match &self.audiences {
            None => Ok(()),
            Some(audiences) => {
                let mut named = claims.aud().peekable();
                named.peek().ok_or(TokenFault::Missing("aud"))?;
                let ours = named.any(|aud| audiences.iter().any(|ours| ours == aud));
                if ours { Ok(()) } else { Err(TokenFault::Audience) }
            }
        }
    }

    /// What may hold at one use of a token and not at the next. Its audience and these rules stay as they are.
    pub(crate) fn check_again(
        &self,
        claims: &Registered,
        now: i64,
        proof: Option<&str>,
    ) -> Result<(), TokenFault> {
        let leeway = seconds(self.leeway);
        let exp = claims.exp.ok_or(TokenFault::Missing("exp"))?;
        // "on or after which the JWT MUST NOT be accepted" (RFC 7519 §4.1.4).
        if now >= exp.saturating_add(leeway) {
            return Err(TokenFault::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(leeway)) {
            return Err(TokenFault::NotYetValid);
        }
        if claims.iat.is_some_and(|iat| iat > now.saturating_add(leeway)) {
            return Err(TokenFault::NotYetValid);
        }
        if let Some(max_age) = self.max_age {
            let iat = claims.iat.ok_or(TokenFault::Missing("iat"))?;
            if now.saturating_sub(iat) > seconds(max_age).saturating_add(leeway) {
                return Err(TokenFault::Expired);
            }
        }
        // "the protected resource MUST verify that the certificate matches" (RFC 8705 §3), whatever else a token is bound to.
        if claims.certificate && !self.certificates_compared {
            return Err(TokenFault::SenderConstrained);
        }
        // A token bound to its sender must not be taken as a bearer token (RFC 9449 §7.2, RFC 8705 §3), and a proof must
        // be by the key that the token is bound to (RFC 9449 §7.1).
        if (claims.bound || proof.is_some()) && (proof.is_none() || claims.jkt() != proof) {
            return Err(TokenFault::SenderConstrained);
        }
        Ok(())
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::claims::{self, Places};
    use super::*;

    #[test]
    fn each_rule_refuses_by_itself() {
        let rules = Rules {
            audiences: Some(vec!["api".into()]),
            leeway: Duration::from_secs(60),
            max_age: Some(Duration::from_secs(600)),
            token_type: TokenType::default(),
            certificates_compared: false,
        };
        let of = |json: &str| claims::parse(json.into(), &Places::default()).unwrap();
        let good = of(r#"{"aud":["other","api"],"exp":1000,"nbf":500,"iat":500}"#);
        assert_eq!(rules.check(&good, 1_059, None), Ok(()));
        assert_eq!(rules.check(&good, 1_060, None), Err(TokenFault::Expired));
        assert_eq!(rules.check(&good, 440, None), Ok(()));
        assert_eq!(rules.check(&good, 439, None), Err(TokenFault::NotYetValid));
        let change = |edit: fn(&mut Registered)| {
            let mut claims = good.clone();
            edit(&mut claims);
            rules.check(&claims, 900, None)
        };
        assert_eq!(change(|_| ()), Ok(()));
        assert_eq!(change(|c| c.exp = None), Err(TokenFault::Missing("exp")));
        assert_eq!(change(|c| c.nbf = Some(961)), Err(TokenFault::NotYetValid));
        assert_eq!(change(|c| c.iat = Some(961)), Err(TokenFault::NotYetValid));
        assert_eq!(change(|c| c.iat = None), Err(TokenFault::Missing("iat")));
        assert_eq!(change(|c| c.iat = Some(239)), Err(TokenFault::Expired));
        for (aud, fault) in [
            ("[]", TokenFault::Missing("aud")),
            (r#""API""#, TokenFault::Audience),
            (r#""api/""#, TokenFault::Audience),
        ] {
            let mut claims = of(&format!(r#"{{"aud":{aud},"exp":1000}}"#));
            assert_eq!(rules.check_again(&claims, 900, None), Err(TokenFault::Missing("iat")));
            claims.iat = Some(500);
            assert_eq!(rules.check_again(&claims, 900, None), Ok(()));
            assert_eq!(rules.check(&claims, 900, None), Err(fault), "{aud}");
        }
        assert_eq!(change(|c| c.bound = true), Err(TokenFault::SenderConstrained));
        let bound = of(r#"{"aud":"api","exp":1000,"nbf":500,"iat":500,"cnf":{"jkt":"key"}}"#);
        assert_eq!(rules.check(&bound, 900, Some("key")), Ok(()));
        for (claims, proof) in [(&bound, Some("other")), (&bound, None), (&good, Some("key"))] {
            assert_eq!(rules.check(claims, 900, proof), Err(TokenFault::SenderConstrained), "{proof:?}");
        }
        // Also bound to a certificate: nobody looks at certificates here, unless somebody has before.
        let of = |cnf: &str| of(&format!(r#"{{"aud":"api","exp":1000,"iat":500,"cnf":{cnf}}}"#));
        let (both, alone) = (of(r#"{"jkt":"key","x5t#S256":"c"}"#), of(r#"{"x5t#S256":"c"}"#));
        let compared = Rules { certificates_compared: true, ..rules.clone() };
        for (claims, proof) in [(&both, Some("key")), (&alone, None)] {
            assert_eq!(rules.check(claims, 900, proof), Err(TokenFault::SenderConstrained), "{proof:?}");
            assert_eq!(compared.check(claims, 900, proof), Ok(()), "{proof:?}");
        }
        for (claims, proof) in [(&both, None), (&both, Some("other")), (&alone, Some("key"))] {
            assert_eq!(compared.check(claims, 900, proof), Err(TokenFault::SenderConstrained), "{proof:?}");
        }
        for cnf in ["{}", r#"{"y":1}"#, r#"{"y":1,"x5t#S256":"c"}"#, "null", r#""x5t#S256""#] {
            assert_eq!(compared.check(&of(cnf), 900, None), Err(TokenFault::SenderConstrained), "{cnf}");
        }
    }

    #[test]
    fn token_types() {
        for (typ, default, strict) in [
            (None, true, false),
            (Some("JWT"), true, false),
            (Some("at+jwt"), true, true),
            (Some("application/AT+JWT"), true, true),
            (Some("dpop+jwt"), false, false),
            (Some(""), false, false),
        ] {
            assert_eq!(TokenType::AccessTokenOrJwt.admits(typ), default, "{typ:?}");
            assert_eq!(TokenType::AccessToken.admits(typ), strict, "{typ:?}");
            assert!(TokenType::Any.admits(typ));
        }
    }
}

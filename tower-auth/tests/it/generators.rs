//! Every parser with texts made by chance from accepted ones: nothing panics, and what comes out obeys the rules.
//!
//! 20,000 texts for each parser; a million with `TOWER_ASSURE`.
use std::convert::Infallible;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{Empty, Full};
use tower::service_fn;
use tower_auth::keys::{Algorithm, KeySet};
use tower_auth::verify::{Backend, verify_jws};
use tower_auth::{AuthError, Authenticator, Issuer, RemoteJwks, StaticKeys, TokenFault};

use crate::attacks::{
    ED_JWK, ED_PUBLIC, HEADER, Keys, P256_JWK, P256_PUBLIC, RSA_JWK, RSA_PKCS1, RSA_PUBLIC, good, hs, send,
    with,
};
use crate::support::{CLAIMS, SECRET, clock};

fn count() -> usize {
    if std::env::var_os("TOWER_ASSURE").is_some() { 1_000_000 } else { 20_000 }
}

/// Random numbers enough for this (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }

    /// A text with one to three changes, by pieces that mean something to the parser.
    fn change(&mut self, text: &[u8], pieces: &[&str]) -> Vec<u8> {
        let mut bytes = text.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(24)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let copied = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, copied);
                }
                3 => bytes.insert(at, self.below(256) as u8),
                4 => bytes.truncate(at),
                _ => {
                    let piece = self.pick(pieces).bytes();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    }
}

const JSON: [&str; 22] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "1e400",
    "-0",
    "18446744073709551616",
    "\"exp\":1800000300",
    "\"alg\":\"none\"",
    "\"kid\":\"a\"",
    "\"crit\":[]",
    "\"kty\":\"oct\"",
    "\"use\":\"enc\"",
    "\"e\":\"AQAB\"",
    "{\"a\":{\"a\":{\"a\":1}}}",
];

#[test]
fn headers() {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let mut chance = Chance(1);
    let mut accepted = 0;
    for _ in 0..count() {
        let header = chance.change(HEADER.as_bytes(), &JSON);
        if let Ok(jws) = verify_jws(&hs(&header, "payload"), keys.set(), Backend::default()) {
            let value: serde_json::Value = serde_json::from_slice(&header).unwrap();
            assert_eq!((&value["alg"], jws.header), (&"HS256".into(), header));
            assert!(["crit", "b64", "zip", "enc"].iter().all(|name| value.get(name).is_none()));
            accepted += 1;
        }
    }
    assert!(accepted > count() / 100, "{accepted}");
}

#[test]
fn tokens() {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let token = good();
    let mut chance = Chance(2);
    for _ in 0..count() {
        let changed = chance.change(token.as_bytes(), &[".", "=", "-_", "eyJ", " ", "AAAA"]);
        let Ok(changed) = String::from_utf8(changed) else { continue };
        let result = verify_jws(&changed, keys.set(), Backend::default());
        assert_eq!(result.is_ok(), changed == token, "{changed}");
    }
}

#[tokio::test]
async fn claims() {
    let authenticator = Authenticator::builder()
        .issuer(Issuer::new("https://issuer.example", StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap()))
        .audience("api")
        .cache_bytes(0)
        .wall_clock(clock)
        .build()
        .unwrap();
    let (mut chance, mut accepted) = (Chance(3), 0);
    for _ in 0..count() {
        let payload = chance.change(CLAIMS.as_bytes(), &JSON);
        match authenticator.verify(&hs(HEADER, &payload)).await {
            Ok(verified) => {
                let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                assert_eq!(value["iss"], "https://issuer.example");
                assert!(value["exp"].as_f64().unwrap() >= 1_799_999_940.0);
                assert_eq!(verified.subject(), value.get("sub").and_then(serde_json::Value::as_str));
                accepted += 1;
            }
            Err(error) => {
                let AuthError::InvalidToken(fault) = error else { panic!("{error:?}") };
                assert!(!matches!(fault, TokenFault::Signature | TokenFault::UnknownKey), "{fault:?}");
            }
        }
    }
    assert!(accepted > count() / 100, "{accepted}");
}

#[test]
fn key_sets() {
    let (mut chance, mut read, mut taken) = (Chance(4), 0, 0);
    let named = [with(r#""kid":"a""#, RSA_JWK), with(r#""kid":"b""#, P256_JWK), ED_JWK.to_owned()];
    let document = format!(r#"{{"keys":[{}]}}"#, named.join(","));
    let signed = good();
    // Three signatures each, or six.
    let count = count() / 4;
    for _ in 0..count {
        let text = chance.change(document.as_bytes(), &JSON);
        if let Ok(set) = KeySet::from_jwks(&text) {
            read += 1;
            // Whatever the keys have become, they verify nothing they have not signed, and no backend panics.
            for backend in crate::attacks::backends() {
                assert!(verify_jws(&signed, &set, backend).is_err());
            }
        }
        let key = chance.pick(&[RSA_JWK, P256_JWK, ED_JWK]);
        let changed = chance.change(key.as_bytes(), &JSON);
        if let Ok(key) = StaticKeys::jwk(&changed) {
            taken += 1;
            let algorithm = key.set().len();
            assert_eq!(algorithm, 1);
            for (name, backend) in
                ["ES256", "EdDSA", "RS256"].iter().zip(crate::attacks::backends().iter().cycle())
            {
                let size = if *name == "RS256" { 256 } else { 64 };
                let jws = format!(
                    "{}.e30.{}",
                    B64.encode(format!(r#"{{"alg":"{name}"}}"#)),
                    B64.encode(vec![1; size])
                );
                assert!(verify_jws(&jws, key.set(), *backend).is_err());
            }
        }
    }
    assert!(read > count / 100 && taken > count / 100, "{read}, {taken}");
}

#[test]
fn files() {
    let (mut chance, mut taken) = (Chance(5), 0);
    for _ in 0..count() {
        let pem = chance.pick(&[RSA_PUBLIC, RSA_PKCS1, P256_PUBLIC, ED_PUBLIC]);
        let label = pem.split_once("BEGIN ").unwrap().1.split_once("---").unwrap().0;
        // The text, and the DER inside of it.
        let changed = if chance.below(2) == 0 {
            chance.change(pem.as_bytes(), &["-----", "BEGIN", "END", "=", "\n", "AAAA"])
        } else {
            let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let der = chance
                .change(&STANDARD.decode(body).unwrap(), &["0\u{3}", "\u{2}\u{1}\u{1}", "\0", "\u{6}\u{1}"]);
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", STANDARD.encode(der)).into_bytes()
        };
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            taken += usize::from(StaticKeys::pem(algorithm, &changed).is_ok());
        }
    }
    assert!(taken > count() / 100, "{taken}");
}

#[tokio::test]
async fn fields() {
    let (layer, token) = (Keys::Hs256.layer(Backend::default()), good());
    let field = format!("Bearer {token}");
    let (mut chance, mut accepted) = (Chance(6), 0);
    for _ in 0..count() / 4 {
        let changed =
            chance.change(field.as_bytes(), &["Bearer ", "bearer", " ", "\t", ",", "\"", "=", "Basic "]);
        if HeaderValue::from_bytes(&changed).is_err() {
            continue;
        }
        let response = send(&layer, &vec![changed.clone()]).await;
        if response.status() == 200 {
            let text = String::from_utf8(changed).unwrap();
            let (scheme, rest) = text.split_once(' ').unwrap();
            assert!(scheme.eq_ignore_ascii_case("bearer") && rest.trim_start_matches(' ') == token, "{text}");
            accepted += 1;
        } else {
            assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
        }
    }
    assert!(accepted > 0);
}

#[tokio::test(start_paused = true)]
async fn metadata() {
    let document =
        r#"{"issuer":"https://issuer.example","jwks_uri":"https://issuer.example/jwks","x":[1,{"y":null}]}"#;
    let mut chance = Chance(7);
    let token = crate::support::ed25519("a", CLAIMS);
    let keys =
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{}"}}]}}"#, crate::support::ED_X);
    let mut accepted = 0;
    for _ in 0..count() / 100 {
        let changed = Bytes::from(chance.change(document.as_bytes(), &JSON));
        let (metadata, keys) = (changed.clone(), keys.clone());
        let service = service_fn(move |request: Request<Empty<Bytes>>| {
            let well_known = request.uri().path().starts_with("/.well-known/");
            let body = if well_known { metadata.clone() } else { keys.clone().into() };
            async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
        });
        let remote = RemoteJwks::discover("https://issuer.example", service);
        let issuer = Issuer::remote("https://issuer.example", remote);
        let authenticator = Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock);
        match authenticator.build().unwrap().verify(&token).await {
            Ok(_) => {
                let value: serde_json::Value = serde_json::from_slice(&changed).unwrap();
                assert_eq!(value["issuer"], "https://issuer.example");
                // Schemes have no case (RFC 3986 §3.1).
                assert!(value["jwks_uri"].as_str().unwrap().to_lowercase().starts_with("https://"));
                accepted += 1;
            }
            Err(error) => assert!(matches!(error, AuthError::KeysUnavailable { .. }), "{error:?}"),
        }
    }
    assert!(accepted > 0);
}

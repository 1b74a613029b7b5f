//! Keys, and tokens like those of providers.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Deserialize;
use tower_auth::keys::Algorithm as Ours;
use tower_auth::{Authenticator, Issuer, StaticKeys};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(crate) const KINDS: [&str; 4] = ["HS256", "RS256", "EdDSA", "ES256"];

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../tests/it/keys/", $name))
    };
}

/// What a provider puts into an access token (RFC 9068 §2.2), and one claim of the application.
#[derive(Clone, Debug, Deserialize)]
#[allow(dead_code, reason = "read for being read")]
pub(crate) struct Claims {
    iss: String,
    aud: String,
    sub: String,
    client_id: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    scope: String,
    pub(crate) tenant: String,
}

/// An algorithm with its keys.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) algorithm: Algorithm,
    encoding: EncodingKey,
    #[allow(dead_code, reason = "one of two benches wants it")]
    pub(crate) decoding: DecodingKey,
    jwk: Option<&'static str>,
}

impl Kind {
    pub(crate) fn new(name: &'static str) -> Self {
        let (algorithm, encoding, decoding, jwk) = match name {
            "HS256" => {
                (Algorithm::HS256, EncodingKey::from_secret(SECRET), DecodingKey::from_secret(SECRET), None)
            }
            "RS256" => (
                Algorithm::RS256,
                EncodingKey::from_rsa_pem(key!("rsa.pem").as_bytes()).unwrap(),
                DecodingKey::from_rsa_pem(key!("rsa.pub.pem").as_bytes()).unwrap(),
                Some(key!("rsa.jwk.json")),
            ),
            "EdDSA" => (
                Algorithm::EdDSA,
                EncodingKey::from_ed_pem(key!("ed25519.pem").as_bytes()).unwrap(),
                DecodingKey::from_ed_pem(key!("ed25519.pub.pem").as_bytes()).unwrap(),
                Some(key!("ed25519.jwk.json")),
            ),
            _ => (
                Algorithm::ES256,
                EncodingKey::from_ec_pem(key!("p256.pem").as_bytes()).unwrap(),
                DecodingKey::from_ec_pem(key!("p256.pub.pem").as_bytes()).unwrap(),
                Some(key!("p256.jwk.json")),
            ),
        };
        Self { name, algorithm, encoding, decoding, jwk }
    }

    pub(crate) fn token(&self, number: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = format!(
            r#"{{"iss":"{ISSUER}","aud":"api","sub":"248289761001-{number}","client_id":"s6BhdRkqt3","exp":{},"nbf":{now},"iat":{now},"jti":"dbe39bf3a3ba4238a513f51d6e1691c4-{number}","scope":"openid profile orders:read orders:write","tenant":"north"}}"#,
            now + 86_400
        );
        let header = format!(r#"{{"typ":"at+jwt","alg":"{}","kid":"a"}}"#, self.name);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signer = (DEFAULT_PROVIDER.signer_factory)(&self.algorithm, &self.encoding).unwrap();
        let signature = signer.try_sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) fn authenticator(&self, cache_bytes: u64) -> Authenticator<Claims> {
        let keys = match self.jwk {
            Some(jwk) => {
                let members = format!(r#"{{"kid":"a","alg":"{}","#, self.name);
                StaticKeys::jwk(jwk.replacen('{', &members, 1).as_bytes()).unwrap()
            }
            None => StaticKeys::hmac(Ours::Hs256, SECRET).unwrap(),
        };
        let builder = Authenticator::builder().issuer(Issuer::new(ISSUER, keys)).audience("api");
        builder.cache_bytes(cache_bytes).claims().build().unwrap()
    }
}

//! An issuer of tokens for tests: HS256, with a secret that is no secret.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tower_auth::keys::Algorithm;
use tower_auth::{Authenticator, Issuer, StaticKeys};

const SECRET: &[u8] = b"a secret that only these tests and their tokens know";
pub(crate) const ISSUER: &str = "https://issuer.example";

/// Accepts the tokens made here.
pub(crate) fn authenticator() -> Authenticator {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).expect("a key");
    Authenticator::builder()
        .issuer(Issuer::new(ISSUER, keys))
        .audience("api")
        .roles_at("/roles")
        .build()
        .expect("complete")
}

/// The claims of such a token.
pub(crate) fn claims(user: &str, scope: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({ "iss": ISSUER, "aud": "api", "sub": user, "iat": now, "exp": now + 300, "scope": scope, "roles": ["clerk"] })
}

/// A token of this user with these scopes, good for five minutes.
pub(crate) fn token(user: &str, scope: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message =
        format!("{}.{}", encode(&json!({ "alg": "HS256", "typ": "at+jwt" })), encode(&claims(user, scope)));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes())))
}

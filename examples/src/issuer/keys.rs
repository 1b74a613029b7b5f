//! The issuer's signing keys: ES256, one that signs, older ones that stay in the set while their tokens may live.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::BoxError;

struct Key {
    kid: String,
    pair: EcdsaKeyPair,
    /// When it stopped signing.
    retired: Option<SystemTime>,
}

/// The newest key is the one that signs.
pub(super) struct Keys {
    keys: Vec<Key>,
    random: SystemRandom,
    token_life: Duration,
}

impl Keys {
    pub(super) fn new(token_life: Duration) -> Result<Self, BoxError> {
        let mut keys = Self { keys: Vec::new(), random: SystemRandom::new(), token_life };
        keys.add()?;
        Ok(keys)
    }

    fn add(&mut self) -> Result<String, BoxError> {
        let kid = self.token_id();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        self.keys.push(Key { kid: kid.clone(), pair, retired: None });
        Ok(kid)
    }

    /// A fresh random name, for keys and tokens.
    pub(super) fn token_id(&mut self) -> String {
        let mut bytes = [0; 12];
        // Without randomness there is no key either: `new` would have failed.
        let _ = aws_lc_rs::rand::SecureRandom::fill(&self.random, &mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// A new key signs from now on; returns the old and the new name.
    pub(super) fn rotate(&mut self, now: SystemTime) -> Result<(String, String), BoxError> {
        let old = self.keys.last_mut().ok_or("there is no key")?;
        old.retired = Some(now);
        let old = old.kid.clone();
        Ok((old, self.add()?))
    }

    /// Removes a key that no longer signs.
    pub(super) fn remove(&mut self, kid: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| key.retired.is_none() || key.kid != kid);
        self.keys.len() < before
    }

    /// A compact JWS (RFC 7515 §7.1) of type `at+jwt` (RFC 9068 §2.1).
    pub(super) fn sign(&self, claims: &Value) -> Result<String, BoxError> {
        let key = self.keys.last().ok_or("there is no key")?;
        let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": key.kid });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(claims));
        let signature = key.pair.sign(&self.random, message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The key set (RFC 7517 §5) without keys whose last token has expired.
    pub(super) fn public(&mut self, now: SystemTime) -> Value {
        let life = self.token_life;
        self.keys
            .retain(|key| key.retired.is_none_or(|at| now.duration_since(at).unwrap_or_default() <= life));
        let keys: Vec<Value> = self.keys.iter().map(Key::jwk).collect();
        json!({ "keys": keys })
    }
}

impl Key {
    fn jwk(&self) -> Value {
        // An uncompressed point: 4, then x and y of 32 bytes each (SEC 1 §2.3.3).
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }
}

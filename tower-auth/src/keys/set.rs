//! Sets of keys: each key bound to its algorithms when it is loaded, looked up by `kid` and `alg` without searching.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Algorithm, Family, KeyFault, KeySource, Lookup};
use crate::error::ConfigError;
use crate::policy::der;
use crate::policy::jwk::{self, Parsed, Shape};
use crate::verify::Backend;

/// Most keys of one set that are looked at.
pub(super) const MAX_KEYS: usize = 10_000;

/// A key for verifying, with the algorithms it is for. Never shows its material.
#[derive(Clone)]
pub struct Key {
    /// Differs between any two keys that were read; `None` for a key that comes with what it verifies.
    id: Option<NonZeroU64>,
    decoding: DecodingKey,
    shape: Shape,
    algorithms: Vec<Algorithm>,
    kid: Option<String>,
}

impl Key {
    fn new(parsed: Parsed) -> Result<Self, KeyFault> {
        let Parsed { kid, shape, algorithms } = parsed;
        let decoding = match &shape {
            Shape::Hmac { secret } => DecodingKey::from_secret(secret),
            Shape::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Shape::Ec { x, y } => DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()),
            Shape::Ed25519 { x } => DecodingKey::from_ed_der(x),
        };
        if algorithms.is_empty() {
            return Err(KeyFault::Algorithm);
        }
        Ok(Self {
            id: NonZeroU64::new(IDS.fetch_add(1, Ordering::Relaxed)),
            decoding,
            shape,
            algorithms,
            kid,
        })
    }

    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What it may verify.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    pub(crate) fn id(&self) -> Option<NonZeroU64> {
        self.id
    }

    pub(crate) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// Whether this is the very same key for the same purposes, wherever it was read from.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.shape == other.shape && self.algorithms == other.algorithms
    }

    /// Whether the backend can verify with it.
    pub(crate) fn suits(&self, backend: Backend) -> bool {
        self.modulus() <= backend.longest_modulus()
    }

    /// Its length in bytes; nothing for keys of other kinds than RSA.
    fn modulus(&self) -> usize {
        match &self.shape {
            Shape::Rsa { n, .. } => n.len(),
            _ => 0,
        }
    }

    fn is_symmetric(&self) -> bool {
        matches!(self.shape, Shape::Hmac { .. })
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.kid == other.kid && self.algorithms.iter().any(|algorithm| other.algorithms.contains(algorithm))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// The keys of one issuer at one time.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    /// Positions by `kid`: usually one, more when one id is used for several kinds of keys.
    by_kid: HashMap<String, Vec<usize>, RandomState>,
    /// By algorithm, the only key for it; tokens without `kid` are verified with that one.
    sole: [Sole; Algorithm::ALL.len()],
    refused: usize,
    /// Differs between any two sets that were read, so that what was verified with one is checked against the other.
    generation: u64,
}

static IDS: AtomicU64 = AtomicU64::new(1);
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone, Copy, Default)]
enum Sole {
    #[default]
    None,
    One(usize),
    Many,
}

#[derive(Deserialize)]
struct Document<'j> {
    #[serde(borrow)]
    keys: Vec<&'j RawValue>,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5). Keys that cannot be used are left out and counted, so that one of them never
    /// spoils the set; of two different keys with one `kid` and algorithm neither is used.
    ///
    /// # Errors
    ///
    /// [`KeyFault::Malformed`] when this is no JWK set at all.
    pub fn from_jwks(json: &[u8]) -> Result<Self, KeyFault> {
        Self::read(json, MAX_KEYS)
    }

    /// As [`from_jwks`](Self::from_jwks); of more keys than `most` the rest is left out and counted.
    pub(super) fn read(json: &[u8], most: usize) -> Result<Self, KeyFault> {
        let document: Document<'_> = serde_json::from_slice(json).map_err(|_| KeyFault::Malformed)?;
        let total = document.keys.len();
        let keys = document.keys.iter().take(most.min(MAX_KEYS));
        let read = |key: &&RawValue| jwk::parse(key.get().as_bytes()).and_then(Key::new).map(Arc::new).ok();
        let mut set = Self::index(keys.filter_map(read).collect());
        set.refused = total - set.keys.len();
        Ok(set)
    }

    /// One key for one signature.
    #[cfg(feature = "dpop")]
    pub(crate) fn passing(jwk: &[u8]) -> Result<Self, KeyFault> {
        let key = Key::new(jwk::parse(jwk)?)?;
        Ok(Self::index(vec![Arc::new(Key { id: None, ..key })]))
    }

    fn index(keys: Vec<Arc<Key>>) -> Self {
        let mut groups: HashMap<Option<String>, Vec<Arc<Key>>, RandomState> = HashMap::default();
        let mut order = Vec::new();
        for key in keys {
            let group = groups.entry(key.kid.clone()).or_default();
            if group.is_empty() {
                order.push(key.kid.clone());
            }
            // The very same key twice is harmless.
            if !group.iter().any(|other| other.shape == key.shape && other.algorithms == key.algorithms) {
                group.push(key);
            }
        }
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        let mut set = Self { generation, ..Self::default() };
        for kid in order {
            let group = groups.remove(&kid).unwrap_or_default();
            for (position, key) in group.iter().enumerate() {
                let rivals = group.iter().enumerate().filter(|(other, _)| *other != position);
                if kid.is_none() || !rivals.into_iter().any(|(_, other)| key.conflicts(other)) {
                    set.push(Arc::clone(key));
                }
            }
        }
        set
    }

    fn push(&mut self, key: Arc<Key>) {
        let position = self.keys.len();
        for algorithm in &key.algorithms {
            let sole = &mut self.sole[*algorithm as usize];
            *sole = if matches!(sole, Sole::None) { Sole::One(position) } else { Sole::Many };
        }
        if let Some(kid) = &key.kid {
            self.by_kid.entry(kid.clone()).or_default().push(position);
        }
        self.keys.push(key);
    }

    /// The key for a token: by `kid` where it has one; otherwise the only key for the algorithm, and none when there
    /// are several. A set whose keys have no ids at all (a PEM file) ignores the `kid` of the token.
    pub(crate) fn select(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Arc<Key>> {
        if let (Some(kid), false) = (kid, self.by_kid.is_empty()) {
            let positions = self.by_kid.get(kid)?;
            let keys = positions.iter().filter_map(|position| self.keys.get(*position));
            return keys.into_iter().find(|key| key.algorithms.contains(&algorithm));
        }
        match self.sole[algorithm as usize] {
            Sole::One(position) => self.keys.get(position),
            Sole::None | Sole::Many => None,
        }
    }

    /// Whether there is a key for a token with this `kid` and `alg`.
    #[must_use]
    pub fn has(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        self.select(kid, algorithm).is_some()
    }

    /// The same by this very id; without one in the token any key is meant.
    pub(super) fn names(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        self.has(kid, algorithm) && (kid.is_none() || !self.by_kid.is_empty())
    }

    /// Drops symmetric keys: a secret that is published is none.
    pub(super) fn without_symmetric(self) -> Self {
        self.only(|key| !key.is_symmetric())
    }

    /// Drops RSA keys that are longer than so many bytes, unless that is nothing.
    pub(super) fn up_to_modulus(self, longest: usize) -> Self {
        let fits = |key: &Key| longest == 0 || key.modulus() <= longest;
        if self.keys.iter().all(|key| fits(key)) { self } else { self.only(fits) }
    }

    fn only(self, keep: impl Fn(&Key) -> bool) -> Self {
        let before = self.keys.len() + self.refused;
        let mut set = Self::index(self.keys.into_iter().filter(|key| keep(key)).collect());
        set.refused = before - set.keys.len();
        set
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether both sets answer every lookup alike.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |(one, two): (&Arc<Key>, &Arc<Key>)| one.kid == two.kid && one.is_same(two);
        self.len() == other.len() && self.keys.iter().zip(&other.keys).all(same)
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys of the document are not used.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused
    }
}

/// Keys from the configuration, which never change.
#[derive(Debug, Clone)]
pub struct StaticKeys {
    set: Arc<KeySet>,
}

impl StaticKeys {
    /// A shared secret for one HMAC algorithm. At least as long as its hash: 32, 48 or 64 bytes (RFC 7518 §3.2).
    ///
    /// # Errors
    ///
    /// When the secret is too short, or the algorithm is not HMAC; and when it is no secret but a key file, such as the public
    /// key of an issuer in PEM: with that anybody could sign.
    pub fn hmac(algorithm: Algorithm, secret: &[u8]) -> Result<Self, ConfigError> {
        Self::one(algorithm, Shape::Hmac { secret: secret.to_vec() }, "hmac")
    }

    /// A public key in PEM: `PUBLIC KEY` (RSA, P-256, P-384, Ed25519) or `RSA PUBLIC KEY`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is weak, or does not fit the algorithm.
    pub fn pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, ConfigError> {
        let shape = der::unarmour(pem)
            .and_then(|(der, pkcs1)| if pkcs1 { der::rsa_public_key(&der) } else { der::public_key(&der) });
        Self::one(algorithm, shape.ok_or_else(|| ConfigError::new("pem", "not a public key in PEM"))?, "pem")
    }

    /// A public key in DER: `SubjectPublicKeyInfo` (RSA, P-256, P-384, Ed25519) or PKCS#1 `RSAPublicKey`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is weak, or does not fit the algorithm.
    pub fn der(algorithm: Algorithm, der: &[u8]) -> Result<Self, ConfigError> {
        let shape = der::public_key(der).or_else(|| der::rsa_public_key(der));
        Self::one(algorithm, shape.ok_or_else(|| ConfigError::new("der", "not a public key in DER"))?, "der")
    }

    /// One key in JSON (RFC 7517 §4).
    ///
    /// # Errors
    ///
    /// When it cannot be read, is weak, or is not for verifying signatures.
    pub fn jwk(json: &[u8]) -> Result<Self, ConfigError> {
        let key = jwk::parse(json)
            .and_then(Key::new)
            .map_err(|fault| ConfigError::new("jwk", fault.to_string()))?;
        Ok(Self { set: Arc::new(KeySet::index(vec![Arc::new(key)])) })
    }

    /// A set of keys in JSON (RFC 7517 §5). Keys that cannot be used are left out.
    ///
    /// # Errors
    ///
    /// When it is not a key set, no key can be used, or symmetric and other keys are mixed.
    pub fn jwks(json: &[u8]) -> Result<Self, ConfigError> {
        let set = KeySet::from_jwks(json).map_err(|fault| ConfigError::new("jwks", fault.to_string()))?;
        if set.is_empty() {
            return Err(ConfigError::new("jwks", "no key that can be used"));
        }
        let symmetric = set.keys.iter().filter(|key| key.is_symmetric()).count();
        if symmetric > 0 && symmetric < set.len() {
            return Err(ConfigError::new("jwks", "symmetric and asymmetric keys in one set"));
        }
        Ok(Self { set: Arc::new(set) })
    }

    fn one(algorithm: Algorithm, shape: Shape, field: &'static str) -> Result<Self, ConfigError> {
        let sized = match (&shape, algorithm.family()) {
            (Shape::Hmac { secret }, Family::Hmac) if secret.len() < algorithm.hash_size() => {
                Err(KeyFault::Size)
            }
            _ => shape.check(),
        };
        let fits = sized.and_then(|()| if shape.fits(algorithm) { Ok(()) } else { Err(KeyFault::Algorithm) });
        let key = fits.and_then(|()| Key::new(Parsed { kid: None, shape, algorithms: vec![algorithm] }));
        let key = key.map_err(|fault| ConfigError::new(field, fault.to_string()))?;
        Ok(Self { set: Arc::new(KeySet::index(vec![Arc::new(key)])) })
    }

    /// The keys, for [`verify_jws`](crate::verify::verify_jws).
    #[must_use]
    pub fn set(&self) -> &KeySet {
        &self.set
    }
}

impl KeySource for StaticKeys {
    fn peek(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<KeySet>> {
        self.set.has(kid, algorithm).then(|| Arc::clone(&self.set))
    }

    fn lookup(&self, _: Option<&str>, _: Algorithm, _: bool) -> Lookup {
        Lookup::Keys(Arc::clone(&self.set))
    }

    fn vouches_for(&self, generation: u64) -> bool {
        self.set.generation == generation
    }

    fn used_with(&self, backend: Backend) -> Result<(), KeyFault> {
        let all = self.set.keys.iter().all(|key| key.suits(backend));
        if all { Ok(()) } else { Err(KeyFault::Backend) }
    }
}

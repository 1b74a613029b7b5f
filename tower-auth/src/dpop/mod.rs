//! Proof of possession (RFC 9449): tokens that are worth nothing without the key they are bound to.
//!
//! On the server [`DpopPolicy`] is given to [`AuthLayer::dpop`](crate::AuthLayer::dpop); on a client [`DpopLayer`] goes
//! below [`BearerLayer`](crate::client::BearerLayer) and around the token endpoint.

mod client;
mod replay;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderValue, Uri, header};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use client::{Dpop, DpopFuture, DpopKey, DpopLayer};
pub use replay::{MemoryReplayStore, ReplayStore};

use crate::error::{AuthError, ConfigError};
use crate::keys::{Algorithm, Family, KeySet};
use crate::policy::challenge::{self, Credentials};
use crate::policy::dpop::{self as rules, Expected};
use crate::policy::jws;
use crate::verify::{self, Backend};

/// The header that proofs come in.
pub(crate) const PROOF: &str = "dpop";
/// Of 4096 bits, in base64url.
const LONGEST_MODULUS: usize = 683;
/// The header that nonces come in.
pub(crate) const NONCE: &str = "dpop-nonce";

/// How proofs are verified (RFC 9449 §4.3, §7). A cheap handle: layers that share it share what they have seen.
#[derive(Clone)]
pub struct DpopPolicy {
    shared: Arc<Shared>,
}

/// Builds a [`DpopPolicy`].
pub struct DpopPolicyBuilder {
    base: Uri,
    max_age: Duration,
    leeway: Duration,
    nonces: Option<Duration>,
    store: Arc<dyn ReplayStore>,
}

struct Shared {
    /// Scheme, authority and path prefix, normalised, without a slash at the end.
    base: String,
    window: (i64, i64),
    nonces: Option<Nonces>,
    store: Arc<dyn ReplayStore>,
}

/// A nonce is good for one to two periods.
struct Nonces {
    period: Duration,
    kept: Mutex<Option<(Instant, [String; 2])>>,
}

/// A proof that was found good, not yet spent.
#[derive(Debug, Clone)]
pub(crate) struct Proven {
    /// Of its key: what tokens are bound to.
    pub(crate) thumbprint: String,
    id: [u8; 32],
    until: SystemTime,
}

impl DpopPolicy {
    /// Proofs for requests to this absolute URL and below it: what clients see, which behind a proxy is not what this
    /// server sees. Inside of a router that is nested at `/api`, which takes the prefix off, it ends with `/api`.
    #[must_use]
    pub fn builder(base: Uri) -> DpopPolicyBuilder {
        let store = Arc::new(MemoryReplayStore::new(100_000));
        let (max_age, leeway) = (Duration::from_secs(60), Duration::from_secs(10));
        DpopPolicyBuilder { base, max_age, leeway, nonces: None, store }
    }
}

impl fmt::Debug for DpopPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpopPolicy").field("base", &self.shared.base).finish_non_exhaustive()
    }
}

impl fmt::Debug for DpopPolicyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpopPolicyBuilder").field("base", &self.base).finish_non_exhaustive()
    }
}

impl DpopPolicyBuilder {
    /// How old a proof may be. 60 seconds by default: longer than a request takes to arrive; it is also how long used
    /// proofs are remembered.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How far clocks may differ. 10 seconds by default.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Asks for a nonce in each proof (RFC 9449 §9), changed after this period; a nonce is good for one to two periods.
    /// Not asked for by default, because each client then pays one more round trip. Nonces are kept by this value:
    /// instances behind a balancer that sends a client here and there need clients that stay.
    #[must_use]
    pub fn nonces(mut self, period: Duration) -> Self {
        self.nonces = Some(period);
        self
    }

    /// Where used proofs are remembered. By default in memory, up to 100,000; several instances of a service that must
    /// not accept a proof once each share a store.
    #[must_use]
    pub fn replay_store(mut self, store: impl ReplayStore) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// The finished policy.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn build(self) -> Result<DpopPolicy, ConfigError> {
        let base =
            rules::normalised(&self.base).ok_or_else(|| ConfigError::new("base", "not an absolute URL"))?;
        if self.max_age.is_zero() || self.max_age > Duration::from_secs(3_600) {
            return Err(ConfigError::new("max_age", "zero or more than an hour"));
        }
        if self.leeway > Duration::from_secs(300) {
            return Err(ConfigError::new("leeway", "more than 300 seconds"));
        }
        if self.nonces.is_some_and(|period| period.is_zero()) {
            return Err(ConfigError::new("nonces", "zero"));
        }
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let window = (seconds(self.max_age) + seconds(self.leeway), seconds(self.leeway));
        let nonces = self.nonces.map(|period| Nonces { period, kept: Mutex::default() });
        let base = base.trim_end_matches('/').to_owned();
        Ok(DpopPolicy { shared: Arc::new(Shared { base, window, nonces, store: self.store }) })
    }
}

/// The parts of a proof's header that are not those of any JWS.
#[derive(Deserialize)]
struct ProofHeader<'j> {
    #[serde(borrow)]
    jwk: Option<&'j RawValue>,
}

#[derive(Deserialize)]
struct Members {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    // What makes a key private (RFC 9449 §4.3, point 7).
    d: Option<serde_json::Value>,
    p: Option<serde_json::Value>,
    q: Option<serde_json::Value>,
    dp: Option<serde_json::Value>,
    dq: Option<serde_json::Value>,
    qi: Option<serde_json::Value>,
    oth: Option<serde_json::Value>,
    k: Option<serde_json::Value>,
}

impl Members {
    fn is_private(&self) -> bool {
        let Self { d, p, q, dp, dq, qi, oth, k, .. } = self;
        [d, p, q, dp, dq, qi, oth, k].into_iter().any(Option::is_some)
    }

    /// Whoever has no token can have proofs verified. With 8192 bits and an exponent full of ones that would take many times
    /// as long as with the keys that clients have.
    fn is_dear(&self) -> bool {
        self.kty == "RSA"
            && (self.e.as_deref() != Some("AQAB")
                || self.n.as_ref().is_some_and(|n| n.len() > LONGEST_MODULUS))
    }
}

impl DpopPolicy {
    /// The token of `Authorization: DPoP` and its proof, if that is the scheme; otherwise the request is none of ours.
    pub(crate) fn proven<'p>(
        &self,
        parts: &'p Parts,
        now: SystemTime,
        backend: Backend,
    ) -> Result<Option<(&'p str, Proven)>, AuthError> {
        let Some(token) = token(parts)? else { return Ok(None) };
        let mut proofs = parts.headers.get_all(PROOF).iter();
        let proof = match (proofs.next(), proofs.next()) {
            (Some(proof), None) => {
                proof.to_str().map_err(|_| AuthError::InvalidProof("The DPoP proof is malformed"))?
            }
            (None, _) => return Err(AuthError::InvalidProof("A DPoP proof is required")),
            _ => return Err(AuthError::InvalidProof("More than one DPoP proof")),
        };
        let path = parts.uri.path();
        let mut uri = self.shared.base.clone();
        rules::push_path(&mut uri, path);
        let expected = Expected {
            method: parts.method.as_str(),
            uri: &uri,
            ath: &hash(token.as_bytes(), backend),
            now: seconds(now),
            window: self.shared.window,
        };
        self.verify(proof, &expected, backend).map(|proven| Some((token, proven)))
    }

    fn verify(&self, proof: &str, expected: &Expected<'_>, backend: Backend) -> Result<Proven, AuthError> {
        let (payload, thumbprint) = verify_proof(proof, backend).map_err(AuthError::InvalidProof)?;
        let claims = rules::parse(&payload).map_err(AuthError::InvalidProof)?;
        rules::check(&claims, expected).map_err(AuthError::InvalidProof)?;
        if let Some(nonces) = &self.shared.nonces
            && !claims.nonce.as_deref().is_some_and(|nonce| nonces.admits(nonce))
        {
            return Err(AuthError::UseNonce);
        }
        let id = backend.sha256(format!("{thumbprint}.{}", claims.jti).as_bytes());
        let until = claims.iat.saturating_add(self.shared.window.0).max(0).unsigned_abs();
        Ok(Proven { thumbprint, id, until: UNIX_EPOCH + Duration::from_secs(until + 1) })
    }

    /// Uses the proof up, once its token was accepted: others must not fill the store.
    pub(crate) fn spend(&self, proven: &Proven, now: SystemTime) -> Result<(), AuthError> {
        match self.shared.store.first(proven.id, now, proven.until) {
            true => Ok(()),
            false => Err(AuthError::InvalidProof("The DPoP proof was used before")),
        }
    }

    /// What an answer with [`AuthError::UseNonce`] must bring.
    pub(crate) fn nonce(&self) -> Option<HeaderValue> {
        self.shared.nonces.as_ref().and_then(|nonces| nonces.current().parse().ok())
    }
}

/// The token of `Authorization: DPoP`.
pub(crate) fn token(parts: &Parts) -> Result<Option<&str>, AuthError> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match challenge::credentials_of("DPoP", value.as_bytes()) {
        Credentials::OtherScheme => Ok(None),
        _ if values.next().is_some() => Err(AuthError::InvalidRequest("More than one Authorization header")),
        Credentials::Token(token) => Ok(Some(token)),
        Credentials::Malformed => Err(AuthError::InvalidRequest("The Authorization header is malformed")),
    }
}

/// The payload of a proof whose signature is good by the key it brings, and that key's thumbprint.
fn verify_proof(proof: &str, backend: Backend) -> Result<(Vec<u8>, String), &'static str> {
    let malformed = "The DPoP proof is malformed";
    let split = jws::split(proof).map_err(|_| malformed)?;
    let bytes = jws::decode(split.header).map_err(|_| malformed)?;
    let mut parsed = jws::header(&bytes).map_err(|_| malformed)?;
    let signature = verify::Signature::decode(split.signature).map_err(|_| malformed)?;
    if parsed.typ.as_deref() != Some("dpop+jwt") {
        return Err("The DPoP proof is of another type");
    }
    if parsed.algorithm.family() == Family::Hmac {
        return Err("The DPoP proof is not signed by a key pair");
    }
    let header: ProofHeader<'_> = serde_json::from_slice(&bytes).map_err(|_| malformed)?;
    let jwk = header.jwk.ok_or("The DPoP proof brings no key")?.get();
    let members: Members = serde_json::from_str(jwk).map_err(|_| malformed)?;
    if members.is_private() {
        return Err("The DPoP proof brings a private key");
    }
    let refused = "The key of the DPoP proof is not accepted";
    if members.is_dear() {
        return Err(refused);
    }
    let keys = KeySet::passing(jwk.as_bytes()).map_err(|_| refused)?;
    // The key is the one in the header, whatever its name.
    parsed.kid = None;
    let payload = verify::verify_split(&split, &parsed, &signature, &keys, backend)
        .and_then(|_| jws::decode(split.payload))
        .map_err(|_| "The signature of the DPoP proof is not valid")?;
    let thumbprint = thumbprint(&members, backend).ok_or(malformed)?;
    Ok((payload, thumbprint))
}

/// RFC 7638 §3: the required members in lexical order. They are base64url, as reading the key has shown.
fn thumbprint(members: &Members, backend: Backend) -> Option<String> {
    let Members { crv, x, y, n, e, .. } = members;
    let canonical = match members.kty.as_str() {
        "EC" => {
            let (crv, x, y) = (crv.as_ref()?, x.as_ref()?, y.as_ref()?);
            format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        "RSA" => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, e.as_ref()?, n.as_ref()?),
        "OKP" => format!(r#"{{"crv":"{}","kty":"OKP","x":"{}"}}"#, crv.as_ref()?, x.as_ref()?),
        _ => return None,
    };
    Some(hash(canonical.as_bytes(), backend))
}

/// SHA-256 in base64url.
fn hash(bytes: &[u8], backend: Backend) -> String {
    URL_SAFE_NO_PAD.encode(backend.sha256(bytes))
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// Random text of 128 bits.
fn random() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<16>())
}

fn random_bytes<const N: usize>() -> [u8; N] {
    use rand::TryRng;
    let mut bytes = [0; N];
    // The same source as the keys' own: when the system has no randomness, nothing here is safe.
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the system gives random numbers");
    bytes
}

impl Nonces {
    fn rotated<T>(&self, read: impl FnOnce(&[String; 2]) -> T) -> T {
        let now = tokio::time::Instant::now().into_std();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, pair) = kept.get_or_insert_with(|| (now, [random(), random()]));
        let age = now.saturating_duration_since(*since);
        if age >= self.period {
            pair.swap(0, 1);
            pair[0] = random();
            if age >= self.period * 2 {
                pair[1] = random();
            }
            *since = now;
        }
        read(pair)
    }

    fn current(&self) -> String {
        self.rotated(|[current, _]| current.clone())
    }

    fn admits(&self, nonce: &str) -> bool {
        self.rotated(|pair| pair.iter().any(|known| known == nonce))
    }
}

/// What is signed with.
const ALGORITHM: Algorithm = Algorithm::Es256;

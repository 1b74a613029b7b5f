//! The signature step, callable by itself: a compact JWS against a set of keys, whatever the payload is.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier};

use crate::error::TokenFault;
use crate::keys::{Algorithm, Key, KeySet};
use crate::policy::jws::{self, Header, Split};

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;

/// What computes signatures. Both features may be on; the choice is made per
/// [`Authenticator`](crate::Authenticator), never for the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// aws-lc-rs: the default where it is compiled in, four to nine times faster with RSA and ECDSA.
    #[cfg(feature = "aws-lc-rs")]
    AwsLcRs,
    /// The pure Rust crates of RustCrypto. They stop at RSA keys of 4096 bits: an
    /// [`Authenticator`](crate::Authenticator) with a longer one in its configuration is not built, and of the keys that are
    /// fetched longer ones are left out.
    #[cfg(feature = "rust-crypto")]
    RustCrypto,
}

#[allow(clippy::derivable_impls, reason = "the default depends on features")]
impl Default for Backend {
    fn default() -> Self {
        #[cfg(feature = "aws-lc-rs")]
        return Self::AwsLcRs;
        #[cfg(not(feature = "aws-lc-rs"))]
        return Self::RustCrypto;
    }
}

impl Backend {
    fn provider(self) -> &'static CryptoProvider {
        match self {
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLcRs => &aws_lc::PROVIDER,
            #[cfg(feature = "rust-crypto")]
            Self::RustCrypto => &jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER,
        }
    }

    /// In bytes; no backend is given more than 8192 bits.
    pub(crate) fn longest_modulus(self) -> usize {
        match self {
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLcRs => 1_024,
            #[cfg(feature = "rust-crypto")]
            Self::RustCrypto => 512,
        }
    }

    #[cfg(feature = "dpop")]
    pub(crate) fn sha256(self, bytes: &[u8]) -> [u8; 32] {
        let digest =
            (self.provider().key_utils.compute_digest)(bytes, jsonwebtoken::jwk::ThumbprintHash::SHA256);
        digest.ok().and_then(|digest| digest.try_into().ok()).expect("every backend has SHA-256")
    }

    /// The coordinates of the public key of a pair on P-256.
    #[cfg(feature = "dpop")]
    pub(crate) fn public_point(self, pair: &jsonwebtoken::EncodingKey) -> Option<(Vec<u8>, Vec<u8>)> {
        let parts = self.provider().key_utils.ec_pub_components_from_private_key;
        let (curve, x, y) = parts(pair.as_bytes(), jsonwebtoken::Algorithm::ES256).ok()?;
        (curve == jsonwebtoken::jwk::EllipticCurve::P256).then_some((x, y))
    }

    #[cfg(feature = "dpop")]
    pub(crate) fn sign(
        self,
        pair: &jsonwebtoken::EncodingKey,
        algorithm: Algorithm,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let signer = (self.provider().signer_factory)(&algorithm.to_jsonwebtoken(), pair).ok()?;
        signer.try_sign(bytes).ok()
    }

    /// Whether `signature` over `signed` is good. An error of the backend is a signature that is not good.
    fn good(self, key: &Arc<Key>, algorithm: Algorithm, signed: &[u8], signature: &Vec<u8>) -> bool {
        let prepare =
            || (self.provider().verifier_factory)(&algorithm.to_jsonwebtoken(), key.decoding()).ok();
        let verify = |verifier: &dyn JwtVerifier| verifier.verify(signed, signature).is_ok();
        let once = || prepare().is_some_and(|verifier| verify(&*verifier));
        // A key that comes with what it verifies is not seen again.
        if key.id().is_none() {
            return once();
        }
        PREPARED
            .try_with(|prepared| {
                let mut prepared = prepared.borrow_mut();
                match prepared.iter().position(|known| known.is(key, algorithm, self)) {
                    // The one used last is found first.
                    Some(position) => prepared[..=position].rotate_right(1),
                    None => {
                        let Some(verifier) = prepare() else { return false };
                        prepared.retain(|known| known.key.strong_count() > 0);
                        prepared.truncate(MOST_PREPARED - 1);
                        let key = Arc::downgrade(key);
                        prepared.insert(0, Prepared { key, algorithm, backend: self, verifier });
                    }
                }
                verify(&*prepared[0].verifier)
            })
            // This thread is about to end.
            .unwrap_or_else(|_| once())
    }
}

/// How many verifiers a thread keeps: a rotation of keys for each of two issuers.
const MOST_PREPARED: usize = 4;

struct Prepared {
    /// As long as this is here, no other key comes to the same place.
    key: Weak<Key>,
    algorithm: Algorithm,
    backend: Backend,
    verifier: Box<dyn JwtVerifier>,
}

impl Prepared {
    fn is(&self, key: &Arc<Key>, algorithm: Algorithm, backend: Backend) -> bool {
        self.key.as_ptr() == Arc::as_ptr(key) && self.algorithm == algorithm && self.backend == backend
    }
}

thread_local! {
    /// Verifiers used last. They cannot be kept with their keys, because they cannot go from thread to thread. Those of keys
    /// that are gone go when the next one is prepared.
    static PREPARED: RefCell<Vec<Prepared>> = const { RefCell::new(Vec::new()) };
}

/// A verified JWS. `Debug` shows neither header nor payload: whose they are is not known here.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Jws {
    /// The protected header, decoded, as it arrived.
    pub header: Vec<u8>,
    /// The payload, decoded: any bytes.
    pub payload: Vec<u8>,
    /// The algorithm that was used, which the key allows.
    pub algorithm: Algorithm,
}

impl fmt::Debug for Jws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Verifies a compact JWS and returns its header and payload. The rules for the header and for keys are those of the
/// layer; nothing is asked of the payload.
///
/// # Errors
///
/// Why the token is not accepted.
pub fn verify_jws(token: &str, keys: &KeySet, backend: Backend) -> Result<Jws, TokenFault> {
    let split = jws::split(token)?;
    let header = jws::decode(split.header)?;
    let parsed = jws::header(&header)?;
    let signature = Signature::decode(split.signature)?;
    verify_split(&split, &parsed, &signature, keys, backend)?;
    let payload = jws::decode(split.payload)?;
    Ok(Jws { header, payload, algorithm: parsed.algorithm })
}

/// The key that the signature is good with. What it signs may be decoded then.
pub(crate) fn verify_split<'k>(
    split: &Split<'_>,
    header: &Header,
    signature: &Signature,
    keys: &'k KeySet,
    backend: Backend,
) -> Result<&'k Arc<Key>, TokenFault> {
    let key = key_for(header, keys, backend)?;
    verify_with(key, header.algorithm, split, signature, backend, None)?;
    Ok(key)
}

/// The key for tokens with this header.
pub(crate) fn key_for<'k>(
    header: &Header,
    keys: &'k KeySet,
    backend: Backend,
) -> Result<&'k Arc<Key>, TokenFault> {
    let key = keys.select(header.kid.as_deref(), header.algorithm).filter(|key| key.suits(backend));
    key.ok_or(TokenFault::UnknownKey)
}

/// With the key for its header. With `once`, the key that verified exactly this token before, nothing is computed if that
/// is still the one.
pub(crate) fn verify_with(
    key: &Arc<Key>,
    algorithm: Algorithm,
    split: &Split<'_>,
    signature: &Signature,
    backend: Backend,
    once: Option<NonZeroU64>,
) -> Result<(), TokenFault> {
    if once.is_some() && once == key.id() {
        return Ok(());
    }
    if !algorithm.admits_signature(signature.0.len())
        || !backend.good(key, algorithm, split.signed.as_bytes(), &signature.0)
    {
        return Err(TokenFault::Signature);
    }
    Ok(())
}

/// A decoded signature. Its memory is used again by the next one on the same thread; at most what [`jws::split`] lets
/// through.
pub(crate) struct Signature(Vec<u8>);

thread_local! {
    static DECODED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Signature {
    pub(crate) fn decode(text: &str) -> Result<Self, TokenFault> {
        let mut signature = Self(DECODED.try_with(Cell::take).unwrap_or_default());
        jws::decode_into(text, &mut signature.0)?;
        Ok(signature)
    }
}

impl Drop for Signature {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        // A thread that is about to end keeps nothing.
        let _ = DECODED.try_with(|kept| kept.set(bytes));
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(feature = "test-servers")]
mod wycheproof;

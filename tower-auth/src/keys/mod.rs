//! Keys and where they come from.

mod chain;
mod remote;
mod set;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::verify::Backend;

pub use chain::ChainedKeys;
pub use remote::RemoteJwks;
pub use set::{Key, KeySet, StaticKeys};

/// Signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Hmac,
    Rsa,
    Ec,
    Ed,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 12] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The name in `alg`, compared exactly: "case-sensitive" (RFC 7515 §4.1.1). `Ed25519` is the newer name of
    /// [`EdDsa`](Self::EdDsa) (RFC 9864 §2.2).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The name in `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => Family::Hmac,
            Self::Es256 | Self::Es384 => Family::Ec,
            Self::EdDsa => Family::Ed,
            _ => Family::Rsa,
        }
    }

    /// Bytes of the hash; with ECDSA also of a coordinate.
    pub(crate) fn hash_size(self) -> usize {
        match self {
            Self::Hs256 | Self::Rs256 | Self::Ps256 | Self::Es256 => 32,
            Self::Hs384 | Self::Rs384 | Self::Ps384 | Self::Es384 => 48,
            Self::Hs512 | Self::Rs512 | Self::Ps512 | Self::EdDsa => 64,
        }
    }

    /// Whether a signature can have this length; with RSA the backend compares with the modulus.
    pub(crate) fn admits_signature(self, length: usize) -> bool {
        match self.family() {
            Family::Hmac => length == self.hash_size(),
            Family::Ec => length == 2 * self.hash_size(),
            Family::Ed => length == 64,
            Family::Rsa => (256..=1024).contains(&length),
        }
    }

    pub(crate) fn to_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Theirs;
        match self {
            Self::Hs256 => Theirs::HS256,
            Self::Hs384 => Theirs::HS384,
            Self::Hs512 => Theirs::HS512,
            Self::Rs256 => Theirs::RS256,
            Self::Rs384 => Theirs::RS384,
            Self::Rs512 => Theirs::RS512,
            Self::Ps256 => Theirs::PS256,
            Self::Ps384 => Theirs::PS384,
            Self::Ps512 => Theirs::PS512,
            Self::Es256 => Theirs::ES256,
            Self::Es384 => Theirs::ES384,
            Self::EdDsa => Theirs::EdDSA,
        }
    }
}

/// Why a key is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// Not a key in a form that is read.
    Malformed,
    /// A kind of key or curve that is not supported.
    Unsupported,
    /// `use` or `key_ops` says that it does not verify signatures.
    Purpose,
    /// Too short, too long, or coordinates of the wrong size.
    Size,
    /// A modulus or exponent known to be weak.
    Weak,
    /// A key file (PEM, DER, JWK, SSH) in the place of a secret.
    NotSecret,
    /// `alg` does not fit the key.
    Algorithm,
    /// Longer than the backend takes: RustCrypto stops at RSA keys of 4096 bits.
    Backend,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a readable key",
            Self::Unsupported => "a kind of key that is not supported",
            Self::Purpose => "not a key for verifying signatures",
            Self::Size => {
                "a key of the wrong size: RSA has 2,048 to 8,192 bits, an HMAC secret at least those of the hash"
            }
            Self::Weak => "a weak key",
            Self::NotSecret => "a key file in the place of a secret",
            Self::Algorithm => "the algorithm does not fit the key",
            Self::Backend => "an RSA key of more than 4096 bits, which this backend does not take",
        })
    }
}

impl std::error::Error for KeyFault {}

/// What a source answers at once.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// These keys; the wanted one may be absent for good.
    Keys(Arc<KeySet>),
    /// Worth waiting for: ask again after the future, at most once.
    Wait(KeysPending),
    /// No keys can be had now.
    Unavailable {
        /// When asking again may help.
        retry_after: Duration,
    },
}

/// Ends when a fetch has ended, well or not; bounded by the source's own timeout.
pub struct KeysPending(pub(crate) Pin<Box<dyn Future<Output = ()> + Send>>);

impl KeysPending {
    /// Wraps a future.
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl fmt::Debug for KeysPending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeysPending")
    }
}

/// Where the keys of an issuer come from. Never waits: a source that must fetch answers [`Lookup::Wait`].
pub trait KeySource: Send + Sync + 'static {
    /// The keys to look for `kid` in. `waited` is whether the caller has waited once for this request already; then
    /// the answer is never [`Lookup::Wait`].
    fn lookup(&self, kid: Option<&str>, algorithm: Algorithm, waited: bool) -> Lookup;

    /// The keys, where they can be used right now and contain the wanted one; never causes a fetch. [`ChainedKeys`] asks
    /// this first. `None` by default.
    fn peek(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<KeySet>> {
        let _ = (kid, algorithm);
        None
    }

    /// Whether asking now would give the set of this generation, at once and without anything else happening. A token that
    /// was verified with it then needs no second look. `false` by default, which only costs that look.
    #[doc(hidden)]
    fn vouches_for(&self, generation: u64) -> bool {
        let _ = generation;
        false
    }

    /// Told when the authenticator is built what will compute signatures. A source of keys that are known by then says when it
    /// has one that cannot be used so; one that fetches leaves such keys out. Anything goes by default.
    #[doc(hidden)]
    fn used_with(&self, backend: Backend) -> Result<(), KeyFault> {
        let _ = backend;
        Ok(())
    }
}

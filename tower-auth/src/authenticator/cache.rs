//! Tokens that were verified before. An entry is proof of the signature alone: time and every other rule that can change
//! its mind is asked again on each hit, and so is whether the issuer still has the key.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use foldhash::quality::RandomState;
use moka::sync::Cache;

use crate::token::Verified;

/// Bytes of an entry besides its token and claims.
const OVERHEAD: usize = 512;
/// Claims in memory take a few times what they take in base64url.
const EXPANSION: usize = 4;

/// Keyed by a hash of the token whose seed is random, and compared in full: who finds two good tokens with one hash has
/// found that one of them is verified each time. Admission is by frequency (TinyLFU): tokens seen once do not drive out
/// tokens in use, however many there are.
pub(crate) struct VerifiedCache<C> {
    seed: RandomState,
    entries: Cache<u64, Verified<C>, BuildHasherDefault<AsItIs>>,
}

/// The keys are hashes.
#[derive(Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl<C: Send + Sync + 'static> VerifiedCache<C> {
    /// `None` when nothing is to be kept.
    pub(crate) fn new(max_bytes: u64) -> Option<Self> {
        let weigh = |_: &u64, verified: &Verified<C>| {
            u32::try_from(verified.token().len() * EXPANSION + OVERHEAD).unwrap_or(u32::MAX)
        };
        (max_bytes > 0).then(|| Self {
            seed: RandomState::default(),
            entries: Cache::builder()
                .max_capacity(max_bytes)
                .weigher(weigh)
                .build_with_hasher(BuildHasherDefault::default()),
        })
    }

    /// What tokens are asked for by.
    pub(crate) fn key(&self, token: &[u8]) -> u64 {
        self.seed.hash_one(token)
    }

    pub(crate) fn get(&self, key: u64, token: &[u8]) -> Option<Verified<C>> {
        self.entries.get(&key).filter(|verified| verified.token().as_bytes() == token)
    }

    pub(crate) fn insert(&self, key: u64, verified: Verified<C>) {
        self.entries.insert(key, verified);
    }

    pub(crate) fn remove(&self, key: u64) {
        self.entries.invalidate(&key);
    }
}

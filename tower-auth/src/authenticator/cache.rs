//! Tokens that were verified before. An entry is proof of the signature alone: time and every other rule that can change
//! its mind is asked again on each hit, and so is whether the issuer still has the key.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapWeak;
use foldhash::quality::RandomState;
use moka::sync::Cache;

use crate::token::{Inner, Verified};

/// Bytes of an entry besides its token and claims.
const OVERHEAD: usize = 512;
/// Claims in memory take a few times what they take in base64url.
const EXPANSION: usize = 4;
/// Of so many uses one is told to moka, for its idea of what is in use.
const SAMPLE: u8 = 8;
/// A place of the front for as many bytes of the cache: there are at most about as many entries as places.
const BYTES_PER_PLACE: u64 = 1_024;

/// Keyed by a hash of the token whose seed is random, and compared in full: who finds two good tokens with one hash has
/// found that one of them is verified each time. Admission is by frequency (TinyLFU): tokens seen once do not drive out
/// tokens in use, however many there are.
pub(crate) struct VerifiedCache<C> {
    seed: RandomState,
    entries: Cache<u64, Verified<C>, BuildHasherDefault<AsItIs>>,
    /// Where entries were last seen. Finds most of them with a tenth of the memory traffic of a look into `entries`, and
    /// keeps none alive.
    front: Box<[ArcSwapWeak<Inner<C>>]>,
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
        // At most a mebibyte of pointers.
        let places = (max_bytes / BYTES_PER_PLACE).clamp(16, 1 << 17).next_power_of_two();
        (max_bytes > 0).then(|| Self {
            seed: RandomState::default(),
            entries: Cache::builder()
                .max_capacity(max_bytes)
                .weigher(weigh)
                .build_with_hasher(BuildHasherDefault::default()),
            front: (0..places).map(|_| ArcSwapWeak::new(Weak::new())).collect(),
        })
    }

    /// What tokens are asked for by.
    pub(crate) fn key(&self, token: &[u8]) -> u64 {
        self.seed.hash_one(token)
    }

    /// Entries of one place drive each other out of it, not out of the cache.
    fn place(&self, key: u64) -> &ArcSwapWeak<Inner<C>> {
        &self.front[key as usize & (self.front.len() - 1)]
    }

    pub(crate) fn get(&self, key: u64, token: &[u8]) -> Option<Verified<C>> {
        let is_it = |verified: &Verified<C>| verified.token().as_bytes() == token;
        let near = self.place(key).load().upgrade().map(Verified::from_inner).filter(is_it);
        if let Some(near) = near {
            if near.facts().signed.as_ref().is_some_and(|signed| signed.used() % SAMPLE == 0) {
                self.entries.get(&key);
            }
            return Some(near);
        }
        let far = self.entries.get(&key).filter(is_it)?;
        self.place(key).store(Arc::downgrade(far.inner()));
        Some(far)
    }

    pub(crate) fn insert(&self, key: u64, verified: Verified<C>) {
        self.place(key).store(Arc::downgrade(verified.inner()));
        self.entries.insert(key, verified);
    }

    pub(crate) fn remove(&self, key: u64) {
        self.place(key).store(Weak::new());
        self.entries.invalidate(&key);
    }
}

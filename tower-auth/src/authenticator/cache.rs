//! Tokens that were verified before. An entry is proof of the signature alone: time, audience and every other rule is
//! asked again on each hit, and so is whether the issuer still has the key.

use std::sync::Arc;

use foldhash::quality::RandomState;
use moka::sync::Cache;

use crate::keys::{Algorithm, Key, KeySet};
use crate::token::Verified;

/// Bytes of an entry besides its token and claims.
const OVERHEAD: usize = 512;
/// Claims in memory take a few times what they take in base64url.
const EXPANSION: usize = 4;

/// What is remembered of one token.
pub(crate) struct Entry<C> {
    pub(crate) verified: Verified<C>,
    /// Position of the issuer among those of the authenticator.
    pub(crate) issuer: usize,
    pub(crate) kid: Option<Box<str>>,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: Arc<Key>,
    /// The set in which `key` was found.
    pub(crate) generation: u64,
}

impl<C> Entry<C> {
    /// Whether the key that verified this token is still the one the issuer has for it.
    pub(crate) fn stands(&self, keys: &KeySet) -> bool {
        keys.generation() == self.generation
            || keys.select(self.kid.as_deref(), self.algorithm).is_some_and(|key| key.is_same(&self.key))
    }
}

/// Keyed by the whole token, compared in full; the seed of the hash is random, so that nobody can make entries collide.
/// Admission is by frequency (TinyLFU): tokens seen once do not drive out tokens in use, however many there are.
pub(crate) struct VerifiedCache<C> {
    entries: Cache<Arc<str>, Arc<Entry<C>>, RandomState>,
}

impl<C: Send + Sync + 'static> VerifiedCache<C> {
    /// `None` when nothing is to be kept.
    pub(crate) fn new(max_bytes: u64) -> Option<Self> {
        let weigh = |token: &Arc<str>, _: &Arc<Entry<C>>| {
            u32::try_from(token.len() * EXPANSION + OVERHEAD).unwrap_or(u32::MAX)
        };
        (max_bytes > 0).then(|| Self {
            entries: Cache::builder()
                .max_capacity(max_bytes)
                .weigher(weigh)
                .build_with_hasher(RandomState::default()),
        })
    }

    pub(crate) fn get(&self, token: &str) -> Option<Arc<Entry<C>>> {
        self.entries.get(token)
    }

    pub(crate) fn insert(&self, entry: Entry<C>) {
        self.entries.insert(entry.verified.shared_token(), Arc::new(entry));
    }

    pub(crate) fn remove(&self, token: &str) {
        self.entries.invalidate(token);
    }
}

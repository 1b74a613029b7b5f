//! Headers of tokens that were accepted, as they arrived, and the key that each led to: the tokens of one issuer have the
//! same few.

use std::hash::BuildHasher;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use foldhash::quality::RandomState;

use crate::keys::Key;
use crate::policy::jws::Header;

/// One place for each hash, the latest header wins. Sixteen are more than issuers have keys.
const PLACES: usize = 16;

/// Read without waiting; what is not found here is parsed.
#[derive(Default)]
pub(crate) struct KnownHeaders {
    seed: RandomState,
    places: [ArcSwapOption<Known>; PLACES],
}

/// A header whose type is admitted.
pub(crate) struct Known {
    pub(crate) header: Header,
    /// Position of the issuer whose tokens had it.
    issuer: usize,
    /// The set of that issuer in which the key was found. No other set has this generation, and in one set a header leads
    /// to one key.
    generation: u64,
    key: Arc<Key>,
    encoded: Box<str>,
}

impl Known {
    /// The key for it in the set of this generation.
    pub(crate) fn key(&self, generation: u64) -> Option<&Arc<Key>> {
        (self.generation == generation).then_some(&self.key)
    }
}

impl KnownHeaders {
    fn place(&self, encoded: &str) -> &ArcSwapOption<Known> {
        &self.places[self.seed.hash_one(encoded) as usize % PLACES]
    }

    pub(crate) fn get(&self, encoded: &str) -> Option<Arc<Known>> {
        let known = self.place(encoded).load();
        known.as_ref().filter(|known| *known.encoded == *encoded).map(Arc::clone)
    }

    /// Only for headers of tokens that were accepted, which attackers do not make up. `known` is what was found instead;
    /// issuers whose tokens have one header do not take it from each other.
    pub(crate) fn keep(
        &self,
        encoded: &str,
        header: &Header,
        known: Option<&Known>,
        (issuer, generation, key): (usize, u64, &Arc<Key>),
    ) {
        if known.is_some_and(|known| known.issuer != issuer || known.generation == generation) {
            return;
        }
        let (header, key) = (header.clone(), Arc::clone(key));
        let known = Known { header, issuer, generation, key, encoded: encoded.into() };
        self.place(encoded).store(Some(Arc::new(known)));
    }
}

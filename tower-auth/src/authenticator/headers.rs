//! Headers of tokens that were accepted, as they arrived: the tokens of one issuer have the same few.

use std::hash::BuildHasher;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use foldhash::quality::RandomState;

use crate::policy::jws::Header;

/// One place for each hash, the latest header wins. Sixteen are more than issuers have keys.
const PLACES: usize = 16;

/// Read without waiting; what is not found here is parsed.
#[derive(Default)]
pub(crate) struct KnownHeaders {
    seed: RandomState,
    places: [ArcSwapOption<Known>; PLACES],
}

struct Known {
    encoded: Box<str>,
    header: Arc<Header>,
}

impl KnownHeaders {
    fn place(&self, encoded: &str) -> &ArcSwapOption<Known> {
        &self.places[self.seed.hash_one(encoded) as usize % PLACES]
    }

    pub(crate) fn get(&self, encoded: &str) -> Option<Arc<Header>> {
        let known = self.place(encoded).load();
        known.as_ref().filter(|known| *known.encoded == *encoded).map(|known| Arc::clone(&known.header))
    }

    /// Only for headers of tokens that were accepted, which attackers do not make up.
    pub(crate) fn keep(&self, encoded: &str, header: &Arc<Header>) {
        let known = Known { encoded: encoded.into(), header: Arc::clone(header) };
        self.place(encoded).store(Some(Arc::new(known)));
    }
}

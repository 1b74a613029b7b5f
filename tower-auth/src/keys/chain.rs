//! Several sources as one.

use std::fmt;
use std::sync::Arc;

use super::{Algorithm, KeyFault, KeySet, KeySource, Lookup};
use crate::verify::Backend;

/// Keys from several sources for one issuer, in order: a key from the configuration besides fetched ones, or two documents
/// during a move. A key that a source holds by the id in the token is used without asking the others; only for a key that
/// none holds may each of them fetch. A set whose keys have no ids (a PEM file) has one for every id, and is used when no
/// other source has it by name, wherever it stands in the chain.
#[derive(Clone, Default)]
pub struct ChainedKeys {
    sources: Vec<Arc<dyn KeySource>>,
}

impl ChainedKeys {
    /// Starts with one source.
    pub fn new(source: impl KeySource) -> Self {
        Self::default().then(source)
    }

    /// One more source, asked after the others.
    #[must_use]
    pub fn then(mut self, source: impl KeySource) -> Self {
        self.sources.push(Arc::new(source));
        self
    }
}

impl fmt::Debug for ChainedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainedKeys").field("sources", &self.sources.len()).finish()
    }
}

impl KeySource for ChainedKeys {
    fn peek(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<KeySet>> {
        let mut found = self.sources.iter().filter_map(|source| source.peek(kid, algorithm));
        found.find(|keys| keys.names(kid, algorithm))
    }

    /// A key that is taken away from its source is no longer in a set that this vouches for.
    fn vouches_for(&self, generation: u64) -> bool {
        self.sources.iter().any(|source| source.vouches_for(generation))
    }

    fn lookup(&self, kid: Option<&str>, algorithm: Algorithm, waited: bool) -> Lookup {
        if let Some(keys) = self.peek(kid, algorithm) {
            return Lookup::Keys(keys);
        }
        let (mut pending, mut nameless, mut unavailable, mut without) = (None, None, None, None);
        for source in &self.sources {
            match source.lookup(kid, algorithm, waited) {
                Lookup::Keys(keys) if keys.names(kid, algorithm) => return Lookup::Keys(keys),
                Lookup::Keys(keys) if nameless.is_none() && keys.has(kid, algorithm) => nameless = Some(keys),
                Lookup::Keys(keys) => without = Some(keys),
                Lookup::Wait(wait) if pending.is_none() => pending = Some(wait),
                // Both fetches run, and either may bring the key.
                Lookup::Wait(wait) => {
                    let first = pending.take();
                    pending = Some(super::KeysPending::new(async move {
                        if let Some(first) = first {
                            first.0.await;
                        }
                        wait.0.await;
                    }));
                }
                Lookup::Unavailable { retry_after } => {
                    unavailable = Some(unavailable.map_or(retry_after, |other| retry_after.min(other)));
                }
            }
        }
        match (pending, nameless, unavailable, without) {
            (Some(pending), ..) => Lookup::Wait(pending),
            (_, Some(keys), ..) => Lookup::Keys(keys),
            // As long as one source cannot say, nobody knows that there is no such key.
            (_, _, Some(retry_after), _) => Lookup::Unavailable { retry_after },
            (_, _, _, Some(keys)) => Lookup::Keys(keys),
            (None, None, None, None) => Lookup::Keys(Arc::default()),
        }
    }

    fn used_with(&self, backend: Backend) -> Result<(), KeyFault> {
        self.sources.iter().try_for_each(|source| source.used_with(backend))
    }
}

impl KeySource for Arc<dyn KeySource> {
    fn peek(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<KeySet>> {
        (**self).peek(kid, algorithm)
    }

    fn lookup(&self, kid: Option<&str>, algorithm: Algorithm, waited: bool) -> Lookup {
        (**self).lookup(kid, algorithm, waited)
    }

    fn vouches_for(&self, generation: u64) -> bool {
        (**self).vouches_for(generation)
    }

    fn used_with(&self, backend: Backend) -> Result<(), KeyFault> {
        (**self).used_with(backend)
    }
}

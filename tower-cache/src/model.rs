//! A door for the models of loom, which exists under `cfg(loom)` only: the shipped purge generations.

use http::Uri;

use crate::key::CacheKey;
use crate::store::{Generations, Stamp};

/// The generations of a store in memory, and some names in it. All names are of one set, which remembers three.
pub struct Model {
    generations: Generations,
    names: Vec<CacheKey>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// One in which nothing has been purged.
    #[must_use]
    pub fn new() -> Self {
        let names = ["/0", "/1", "/2", "/3"].map(|path| format!("http://a.example{path}").parse::<Uri>());
        let names = names.into_iter().flatten().filter_map(|uri| CacheKey::of_uri(&uri)).collect();
        Self { generations: Generations::new(), names }
    }

    /// What a fill that begins now is stored with.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.generations.now()
    }

    /// Purges a name.
    pub fn purge(&self, name: usize, soft: bool) {
        self.generations.purge_uri(&self.names[name], soft);
    }

    /// Purges all names.
    pub fn purge_everything(&self, soft: bool) {
        self.generations.purge_everything(soft);
    }

    /// Whether a lookup of a name may answer with what was stored with this stamp, as the store decides.
    #[must_use]
    pub fn answers(&self, name: usize, stamp: Stamp) -> bool {
        !Generations::is_any_purged(self.generations.now())
            || stamp >= self.generations.hard(&self.names[name])
    }

    /// Whether it is fresh.
    #[must_use]
    pub fn is_fresh(&self, name: usize, stamp: Stamp) -> bool {
        !Generations::is_any_purged(self.generations.now())
            || stamp >= self.generations.soft(&self.names[name])
    }
}

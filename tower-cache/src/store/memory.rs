//! The store in this process's memory.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::generations::Generations;
use super::shelves::{Record, Shelves};
use super::{Entry, Lookup, Purge, PurgeTarget, Stamp, Store, StoreFuture, StoreStatistics, Variants};
use crate::key::CacheKey;

/// Responses in memory, bounded by octets. Cheap to clone; clones share everything.
///
/// What is used seldom goes first (moka's TinyLFU). A lookup is answered at once and copies no content.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// Makes a [`MemoryStore`].
#[derive(Debug, Clone)]
#[must_use]
pub struct MemoryStoreBuilder {
    max_bytes: u64,
    max_variants: usize,
}

struct Shared {
    /// Has the bound and says what goes.
    owner: Cache<u64, Arc<Record>, Prehashed>,
    /// All that the owner has, and a short way to it.
    records: Arc<Shelves>,
    max_variants: usize,
    /// Octets of all variants of a key together.
    max_record: u64,
    /// Held while the owner hears of a record, by the key's hash: in the order in which they were put in their place.
    commits: [Mutex<()>; 64],
    generations: Generations,
    evictions: Arc<AtomicU64>,
    /// Octets committed since the owner's housekeeping last ran.
    unsettled: AtomicU64,
    settle_after: u64,
}

impl MemoryStore {
    /// Holds at most about `max_bytes` octets: bodies, fields, keys and an estimate of what surrounds them.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self::builder().max_bytes(max_bytes).build()
    }

    /// With more to choose.
    pub const fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder { max_bytes: 64 << 20, max_variants: 64 }
    }
}

impl Default for MemoryStore {
    /// 64 MiB.
    fn default() -> Self {
        Self::builder().build()
    }
}

impl MemoryStoreBuilder {
    /// Octets to hold at most. Default 64 MiB: useful for small services, harmless to others.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Variants (`Vary`) to hold of one key; beyond it, and beyond an eighth of [`max_bytes`](Self::max_bytes) for all
    /// of them together, the oldest go. Default 64: a client that invents field values must not push out everything
    /// else, nor make the search for the right variant long.
    pub const fn max_variants(mut self, variants: usize) -> Self {
        self.max_variants = variants;
        self
    }

    /// The store.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        let evictions = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&evictions);
        let records = Arc::new(Shelves::new());
        let gone = Arc::clone(&records);
        let owner = Cache::builder()
            .max_capacity(self.max_bytes)
            // A share of what usually comes to fit: tables that grow are copied again and again.
            .initial_capacity(usize::try_from(self.max_bytes >> 14).unwrap_or(0).min(1 << 16))
            .weigher(|_, record: &Arc<Record>| {
                let weight = record.entries().map(Entry::weight).sum::<u64>();
                u32::try_from(weight + RECORD_OVERHEAD).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |_, record, cause| {
                // What has been replaced has left its place before.
                if cause != RemovalCause::Replaced {
                    gone.forget(&record);
                }
                if cause == RemovalCause::Size {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(Prehashed);
        let shared = Shared {
            owner,
            records,
            max_variants: self.max_variants.max(1),
            max_record: self.max_bytes / 8,
            commits: std::array::from_fn(|_| Mutex::default()),
            generations: Generations::new(),
            evictions,
            unsettled: AtomicU64::new(0),
            settle_after: (self.max_bytes / 64).min(SETTLE_AFTER),
        };
        MemoryStore { shared: Arc::new(shared) }
    }
}

impl Store for MemoryStore {
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup> {
        let Shared { owner, records, generations, .. } = &*self.shared;
        let stamp = generations.now();
        let mut lookup = Lookup::nothing(stamp);
        if Generations::is_any_purged(stamp) {
            lookup = lookup.purged_before(generations.hard(key)).stale_before(generations.soft(key));
        }
        // Only the hash is compared, all of it; whoever uses an entry compares its key.
        let Some(record) = records.get(key.hash64()) else { return StoreFuture::ready(Ok(lookup)) };
        if record.counts() {
            // It counts this; what it answers is here already.
            drop(owner.get(&key.hash64()));
        }
        lookup.variants = Variants::Record(record);
        if Generations::is_any_purged(stamp)
            && lookup.variants.iter().any(|entry| generations.is_tag_purged(entry))
        {
            let entries = lookup.variants.iter();
            let before = lookup.purged_before;
            let usable = entries.filter(|entry| entry.stamp() >= before.max(generations.tags(entry, false)));
            let marked = usable.map(|entry| match entry.stamp() < generations.tags(entry, true) {
                // Older than whatever a soft purge looks for.
                true => Arc::new(entry.stamped(Stamp(0))),
                false => Arc::new(entry.clone()),
            });
            lookup.variants = Variants::List(marked.collect());
            // Those are gone, and what is marked is not purged.
            lookup.purged_before = Stamp(0);
            lookup.stale_before = lookup.stale_before.max(Stamp(1));
        }
        StoreFuture::ready(Ok(lookup))
    }

    fn commit(&self, entry: Arc<Entry>, stamp: Stamp) -> StoreFuture<()> {
        let Shared { owner, records, generations, max_variants, .. } = &*self.shared;
        let (key, weight) = (entry.key(), entry.weight());
        let hash = key.hash64();
        // The cast keeps the low bits, which are as good as any.
        let place = hash as usize % self.shared.commits.len();
        let committing = self.shared.commits[place].lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = false;
        let record = records.replace(hash, |known| {
            new = known.is_none();
            // A purge either is seen here, or comes to this shelf later and finds what is put there now.
            let hard = generations.hard(key);
            if stamp < hard.max(generations.prefix()).max(generations.tags(&entry, false)) {
                return None;
            }
            let others = known.into_iter().flat_map(Record::entries);
            let others = others
                .filter(|other| !other.same_variant(&entry) && other.stamp() >= hard && other.key() == key);
            // What goes, goes as a whole, and what comes may push out as much as it weighs.
            let mut room = self.shared.max_record.saturating_sub(weight);
            let fits =
                |other: &&Entry| room.checked_sub(other.weight()).inspect(|left| room = *left).is_some();
            Some(Record::new(Entry::clone(&entry), others.take(max_variants - 1).take_while(fits).cloned()))
        });
        let Some(record) = record else { return StoreFuture::ready(Ok(())) };
        if new {
            // Somebody asked for it, or it were not here: it counts that too, and lets nobody in without.
            drop(owner.get(&hash));
        }
        owner.insert(hash, Arc::clone(&record));
        if !records.has(&record) {
            // Purged, or refused, meanwhile.
            owner.invalidate(&hash);
        }
        drop(committing);
        // moka evicts when some number of writes has come together; large bodies must not wait for so many.
        let unsettled = &self.shared.unsettled;
        if unsettled.fetch_add(weight, Ordering::Relaxed) + weight > self.shared.settle_after {
            unsettled.store(0, Ordering::Relaxed);
            owner.run_pending_tasks();
        }
        StoreFuture::ready(Ok(()))
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        let Shared { owner, records, generations, .. } = &*self.shared;
        let remove = |key: &CacheKey| {
            records.remove(key.hash64());
            owner.invalidate(&key.hash64());
        };
        let soft = purge.is_soft();
        match purge.target() {
            PurgeTarget::Uri(key) => {
                generations.purge_uri(key, soft);
                if !soft {
                    remove(key);
                }
            }
            PurgeTarget::Prefix(prefix) => {
                // What is being fetched now is not among the records: it is not stored.
                generations.purge_prefix();
                let named = |record: &Record| {
                    let key = record.first().key();
                    key.uri().starts_with(&**prefix).then(|| key.clone())
                };
                for key in records.pick(named) {
                    generations.purge_uri(&key, soft);
                    if !soft {
                        remove(&key);
                    }
                }
            }
            PurgeTarget::Tag(tag) => generations.purge_tag(tag, soft),
            PurgeTarget::Everything => {
                generations.purge_everything(soft);
                if !soft {
                    records.clear();
                    owner.invalidate_all();
                }
            }
        }
        StoreFuture::ready(Ok(()))
    }

    fn statistics(&self) -> StoreStatistics {
        self.shared.owner.run_pending_tasks();
        StoreStatistics {
            bytes: self.shared.owner.weighted_size(),
            entries: self.shared.records.len() as u64,
            evictions: self.shared.evictions.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("max_bytes", &self.shared.owner.policy().max_capacity())
            .field("bytes", &self.shared.owner.weighted_size())
            .finish_non_exhaustive()
    }
}

/// What moka keeps for each key, its slot, and its place in the table with what is free there.
const RECORD_OVERHEAD: u64 = 320;

/// Octets committed between two rounds of housekeeping: what waits to go is resident beyond the bound.
const SETTLE_AFTER: u64 = 48 << 10;

/// What is asked for is a hash already.
#[derive(Clone, Default)]
struct Prehashed;

impl BuildHasher for Prehashed {
    type Hasher = KeyHash;

    fn build_hasher(&self) -> KeyHash {
        KeyHash(0)
    }
}

struct KeyHash(u64);

impl Hasher for KeyHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

//! The store in this process's memory.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::generations::Generations;
use super::shelves::{Record, Shelves};
use super::window::Window;
use super::{Entry, Lookup, Purge, PurgeTarget, Stamp, Store, StoreFuture, StoreStatistics, Variants};
use crate::key::{CacheKey, Prehashed};

/// Responses in memory, bounded by octets. Cheap to clone; clones share everything.
///
/// What is used seldom goes first: what nobody asks for a second time, and then as moka's TinyLFU says. A lookup is answered at once and copies no content.
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
    /// What the owner is not told of yet.
    window: Window,
    /// All that the owner and the window have, and a short way to it.
    records: Arc<Shelves>,
    max_bytes: u64,
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
        let window = Window::new(self.max_bytes);
        let owner = Cache::builder()
            .max_capacity(self.max_bytes - window.capacity())
            // A share of what usually comes to fit: tables that grow are copied again and again.
            .initial_capacity(usize::try_from(self.max_bytes >> 14).unwrap_or(0).min(1 << 16))
            .weigher(|_, record: &Arc<Record>| u32::try_from(record.weight()).unwrap_or(u32::MAX))
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
            window,
            records,
            max_bytes: self.max_bytes,
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
            // It counts this, whether it has it or not; what it answers is here already.
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

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        let Shared { records, generations, max_variants, .. } = &*self.shared;
        let head = Arc::clone(&entry.head);
        let (key, hash) = (&head.key, head.key.hash64());
        let committing = self.shared.committing(hash);
        let mut waits = false;
        let replaced = records.replace(hash, |known| {
            // A purge either is seen here, or comes to this shelf later and finds what is put there now.
            let mut hard = Stamp(0);
            if Generations::is_any_purged(generations.now()) {
                hard = generations.hard(key);
                if stamp < hard.max(generations.prefix()).max(generations.tags(&entry, false)) {
                    return None;
                }
            }
            let Some(known) = known else {
                let record = Record::new(entry, Box::default());
                waits = self.shared.window.takes(&record);
                if waits {
                    // Before anybody can see it, and purge it.
                    self.shared.window.expect(&record);
                }
                return Some(record);
            };
            let others = || known.entries();
            // What has taken its time to arrive does not take the place of what was answered later.
            let later = |other: &Entry| {
                other.same_variant(&entry)
                    && other.head.stored_at > entry.head.stored_at
                    && other.stamp() >= stamp.max(generations.tags(other, false))
            };
            if others().any(later) {
                return None;
            }
            let others = others()
                .filter(|other| !other.same_variant(&entry) && other.stamp() >= hard && other.key() == key);
            // What goes, goes as a whole, and what comes may push out as much as it weighs.
            let mut room = self.shared.max_record.saturating_sub(entry.weight());
            let fits =
                |other: &&Entry| room.checked_sub(other.weight()).inspect(|left| room = *left).is_some();
            let others: Box<[Entry]> = others.take(max_variants - 1).take_while(fits).cloned().collect();
            Some(Record::new(entry, others))
        });
        let Some((record, replaced)) = replaced else { return StoreFuture::ready(Ok(())) };
        if let Some(replaced) = &replaced {
            self.shared.window.leaves(replaced);
        }
        if waits {
            self.shared.window.push(&record);
        } else {
            // One that has been here before, where it is new: it is not the first time that it is asked for.
            let asked = if replaced.is_none() { 2 } else { 0 };
            self.shared.own(&record, asked);
        }
        drop(committing);
        drop(replaced);
        self.shared.settle();
        StoreFuture::ready(Ok(()))
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        let Shared { owner, window, records, generations, .. } = &*self.shared;
        let remove = |key: &CacheKey| {
            if let Some(removed) = records.remove(key.hash64()) {
                window.leaves(&removed);
            }
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
                    records.clear(|record| {
                        window.leaves(record);
                    });
                    owner.invalidate_all();
                }
            }
        }
        StoreFuture::ready(Ok(()))
    }

    fn statistics(&self) -> StoreStatistics {
        self.shared.owner.run_pending_tasks();
        StoreStatistics {
            bytes: self.shared.bytes(),
            entries: self.shared.records.len() as u64,
            evictions: self.shared.evictions.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    /// Held while the owner hears of a record.
    fn committing(&self, hash: u64) -> MutexGuard<'_, ()> {
        // The cast keeps the low bits, which are as good as any.
        let place = hash as usize % self.commits.len();
        self.commits[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner has a record from now on, which has been asked for so often; its turn is held.
    fn own(&self, record: &Arc<Record>, asked: u32) {
        let hash = record.hash();
        for _ in 0..asked {
            // It counts that too, and lets nobody in without.
            drop(self.owner.get(&hash));
        }
        self.owner.insert(hash, Arc::clone(record));
        if !self.records.has(record) {
            // Purged, or refused, meanwhile.
            self.owner.invalidate(&hash);
        }
        self.unsettled.fetch_add(record.weight(), Ordering::Relaxed);
    }

    /// Lets go of what has to. No turn is held.
    fn settle(&self) {
        while let Some(record) = self.window.next() {
            let room =
                || self.owner.weighted_size() + record.weight() <= self.max_bytes - self.window.capacity();
            if record.is_used() || room() {
                let committing = self.committing(record.hash());
                if self.records.has(&record) {
                    self.own(&record, 1);
                }
                drop(committing);
            } else {
                self.window.note(record.hash());
                self.records.forget(&record);
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
        }
        // moka evicts when some number of writes has come together; large bodies must not wait for so many.
        if self.unsettled.load(Ordering::Relaxed) > self.settle_after {
            self.unsettled.store(0, Ordering::Relaxed);
            self.owner.run_pending_tasks();
        }
    }

    /// Octets of all there is.
    fn bytes(&self) -> u64 {
        self.owner.weighted_size() + self.window.bytes()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("max_bytes", &self.shared.max_bytes)
            .field("bytes", &self.shared.bytes())
            .finish_non_exhaustive()
    }
}

/// Octets committed between two rounds of housekeeping: what waits to go is resident beyond the bound.
const SETTLE_AFTER: u64 = 48 << 10;

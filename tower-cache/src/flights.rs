//! Which keys are being fetched, and what is remembered of keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::flight::{Flight, Reader};
use crate::key::{CacheKey, Prehashed};
use crate::store::PurgeTarget;

/// All flights that others may join.
pub(crate) struct Flights {
    shards: [Shard; SHARDS],
}

const SHARDS: usize = 16;

#[derive(Default)]
struct Shard {
    open: Mutex<ByKey>,
    /// How many have ended.
    ended: AtomicU64,
}

/// By the hash of their key. Where two have one, the later takes the place of the other, which nobody joins then.
type ByKey = HashMap<u64, Arc<Flight>, Prehashed>;

/// The part a request takes in fetching.
pub(crate) enum Part {
    Lead(Arc<Flight>),
    Follow(Reader),
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, ByKey> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Shard::default()) }
    }

    fn shard(&self, key: &CacheKey) -> &Shard {
        // The top bits: the low ones choose the slot in the map. All partitions of a URI are in one shard.
        &self.shards[(key.uri_hash() >> 60) as usize % SHARDS]
    }

    /// How many flights have ended, of this key and of some others. As long as this is the same, nothing has been stored
    /// by one since.
    pub(crate) fn ended(&self, key: &CacheKey) -> u64 {
        self.shard(key).ended.load(Ordering::SeqCst)
    }

    /// Follows the flight of this key, or begins it. One that hangs is left to those who are in it: `patience` is how
    /// long a response may take.
    pub(crate) fn join(&self, key: &CacheKey, now: Instant, patience: Duration) -> Part {
        let mut flights = self.shard(key).lock();
        let place = flights.entry(key.hash64());
        if let Entry::Occupied(known) = &place {
            let flight = known.get();
            if flight.key() == Some(key) && !flight.hangs(now, patience) {
                return Part::Follow(Reader::new(Arc::clone(flight)));
            }
        }
        let flight = Arc::new(Flight::new(Some(key.clone()), now));
        place.insert_entry(Arc::clone(&flight));
        Part::Lead(flight)
    }

    /// Nobody joins the flights of what is purged any more; they go on for those who have.
    pub(crate) fn forget(&self, target: &PurgeTarget) {
        if let PurgeTarget::Uri(key) = target {
            let mut flights = self.shard(key).lock();
            flights.retain(|_, flight| flight.key().is_none_or(|known| known.uri() != key.uri()));
            return;
        }
        for shard in &self.shards {
            shard.lock().retain(|_, flight| match target {
                PurgeTarget::Prefix(prefix) => {
                    flight.key().is_none_or(|known| !known.uri().starts_with(&**prefix))
                }
                // What tags a response will have is not known before it is there.
                PurgeTarget::Uri(_) | PurgeTarget::Tag(_) | PurgeTarget::Everything => false,
            });
        }
    }

    /// Nobody joins this flight any more.
    pub(crate) fn close(&self, flight: &Arc<Flight>) {
        let Some(key) = flight.key() else { return };
        let shard = self.shard(key);
        let mut flights = shard.lock();
        if let Entry::Occupied(known) = flights.entry(key.hash64())
            && Arc::ptr_eq(known.get(), flight)
        {
            known.remove();
        }
        shard.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Remembers keys for a short time: those whose responses cannot be shared, as waiting for each other would only make
/// their requests slow, or those that have been renewed. A collision or a lost note costs a wait or a second fetch,
/// nothing else.
pub(crate) struct Notes {
    slots: Box<[AtomicU64]>,
    /// Until when there may be any: most often nobody need look for one.
    latest: AtomicU64,
}

impl Notes {
    const SLOTS: usize = 4096;
    /// How long a response that cannot be shared is remembered, in seconds. Short enough that a handler that changes
    /// its mind is soon collapsed again.
    pub(crate) const UNSHARED: u64 = 60;

    pub(crate) fn new() -> Self {
        Self { slots: (0..Self::SLOTS).map(|_| AtomicU64::new(0)).collect(), latest: AtomicU64::new(0) }
    }

    fn slot(&self, key: &CacheKey) -> (&AtomicU64, u64) {
        (&self.slots[key.hash64() as usize % Self::SLOTS], key.hash64() & !0xffff_ffff)
    }

    /// Both in seconds since the cache was made.
    pub(crate) fn remember(&self, key: &CacheKey, until: u64) {
        let (slot, mark) = self.slot(key);
        let until = until.min(0xffff_ffff);
        slot.store(mark | until, Ordering::Relaxed);
        if self.latest.load(Ordering::Relaxed) < until {
            self.latest.fetch_max(until, Ordering::Relaxed);
        }
    }

    pub(crate) fn forget(&self, key: &CacheKey) {
        if self.latest.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (slot, mark) = self.slot(key);
        if slot.load(Ordering::Relaxed) & !0xffff_ffff == mark {
            slot.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn contains(&self, key: &CacheKey, now: u64) -> bool {
        if self.latest.load(Ordering::Relaxed) <= now {
            return false;
        }
        let (slot, mark) = self.slot(key);
        let noted = slot.load(Ordering::Relaxed);
        noted & !0xffff_ffff == mark && noted & 0xffff_ffff > now
    }
}

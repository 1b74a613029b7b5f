//! Where the keys are kept: a bounded map whose evictions look at a few neighbours, not at all of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::breaker::Breaker;
use crate::bulkhead::Bulkhead;
use crate::policy::{Leaves, Shelf, State, Tenant};

/// One key's breaker, and its bulkhead if there is one.
pub(crate) struct Entry {
    pub(crate) breaker: Breaker,
    pub(crate) bulkhead: Option<Bulkhead>,
    /// Milliseconds since the registry was made.
    used: AtomicU64,
    /// It is one of those whose refusals count.
    pub(crate) ejected: AtomicBool,
}

impl Entry {
    pub(crate) fn new(breaker: Breaker, bulkhead: Option<Bulkhead>) -> Self {
        Self { breaker, bulkhead, used: AtomicU64::new(0), ejected: AtomicBool::new(false) }
    }

    fn tenant(&self, now: u64) -> Tenant {
        let seen = self.breaker.glance();
        let by_hand = !matches!(seen.state, State::Closed | State::Open | State::HalfOpen);
        let busy = self.bulkhead.as_ref().is_some_and(|bulkhead| bulkhead.in_use() + bulkhead.waiting() > 0);
        Tenant {
            idle: Duration::from_millis(now.saturating_sub(self.used.load(Ordering::Relaxed))),
            keeps: by_hand || seen.refuses || busy,
            clean: seen.state == State::Closed && !seen.remembers,
        }
    }
}

/// How many neighbours are looked at when a new key wants in.
const NEIGHBOURS: usize = 16;

/// More shards than threads that meet in them.
const SHARDS: usize = 16;

pub(crate) struct Entries<K> {
    policy: Shelf,
    hasher: RandomState,
    shards: Box<[RwLock<Shard<K>>]>,
    known: AtomicUsize,
}

struct Shard<K> {
    places: HashMap<K, usize>,
    kept: Vec<(K, Arc<Entry>)>,
    /// Where the next search for room begins.
    hand: usize,
    capacity: usize,
}

/// Entries that were looked at or removed within a lock. Once it is free they are told of, and dropped: recorders,
/// handlers and wakers may use the registry.
struct Looked<K>(Vec<(K, Arc<Entry>)>);

impl<K> Drop for Looked<K> {
    fn drop(&mut self) {
        for (_, entry) in &self.0 {
            entry.breaker.tell();
        }
    }
}

/// What came of asking for a key.
pub(crate) enum Found {
    Entry(Arc<Entry>),
    /// There is no room: the shared bucket has to do.
    Overflow,
}

impl<K: Hash + Eq + Clone> Entries<K> {
    pub(crate) fn new(policy: Shelf) -> Self {
        // Few keys are exact, many are spread: a shard that is full while others are not is not what was asked for.
        let shards = if policy.capacity < SHARDS * 64 { 1 } else { SHARDS };
        let share = |shard| policy.capacity / shards + usize::from(shard < policy.capacity % shards);
        let shard = |index| {
            let (places, kept) = (HashMap::new(), Vec::new());
            RwLock::new(Shard { places, kept, hand: 0, capacity: share(index) })
        };
        Self {
            policy,
            hasher: RandomState::new(),
            shards: (0..shards).map(shard).collect(),
            known: AtomicUsize::new(0),
        }
    }

    pub(crate) fn known(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    fn shard(&self, key: &K) -> &RwLock<Shard<K>> {
        let shards = self.shards.len() as u64;
        // Below the number of shards.
        &self.shards[(self.hasher.hash_one(key) % shards) as usize]
    }

    /// The key's entry if it is known; asking is using.
    pub(crate) fn get(&self, key: &K, now: u64) -> Option<Arc<Entry>> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        let (_, entry) = &shard.kept[*shard.places.get(key)?];
        entry.used.store(now, Ordering::Relaxed);
        Some(Arc::clone(entry))
    }

    /// The key's entry, made if need be; `left` hears why others had to go.
    pub(crate) fn get_or_make(
        &self,
        key: K,
        now: u64,
        make: impl FnOnce() -> Entry,
        mut left: impl FnMut(Leaves),
    ) -> Found {
        if let Some(entry) = self.get(&key, now) {
            return Found::Entry(entry);
        }
        let (mut looked, mut reason) = (Looked(Vec::new()), None);
        let mut shard = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&place) = shard.places.get(&key) {
            return Found::Entry(Arc::clone(&shard.kept[place].1));
        }
        if shard.kept.len() >= shard.capacity {
            reason = shard.make_room(&self.policy, now, &mut looked);
            if reason.is_none() {
                return Found::Overflow;
            }
            self.known.fetch_sub(1, Ordering::Relaxed);
        }
        let entry = Arc::new(make());
        entry.used.store(now, Ordering::Relaxed);
        let place = shard.kept.len();
        shard.places.insert(key.clone(), place);
        shard.kept.push((key, Arc::clone(&entry)));
        self.known.fetch_add(1, Ordering::Relaxed);
        drop(shard);
        if let Some(reason) = reason {
            left(reason);
        }
        Found::Entry(entry)
    }

    /// Drops what has been idle for long enough; how many.
    pub(crate) fn expire(&self, now: u64) -> usize {
        let mut gone = 0;
        for shard in &self.shards {
            let mut looked = Looked(Vec::new());
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            looked.0.clone_from(&shard.kept);
            let mut place = 0;
            while let Some((_, entry)) = shard.kept.get(place) {
                if self.policy.expired(entry.tenant(now)) {
                    looked.0.push(shard.remove(place));
                    gone += 1;
                } else {
                    place += 1;
                }
            }
        }
        self.known.fetch_sub(gone, Ordering::Relaxed);
        gone
    }

    /// Every key with its breaker, a shard at a time.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&K, &Entry)) {
        for shard in &self.shards {
            // A copy, for `look` may ask for other keys.
            let kept = shard.read().unwrap_or_else(PoisonError::into_inner).kept.clone();
            for (key, entry) in &kept {
                look(key, entry);
            }
        }
    }
}

impl<K: Hash + Eq + Clone> Shard<K> {
    fn make_room(&mut self, policy: &Shelf, now: u64, looked_at: &mut Looked<K>) -> Option<Leaves> {
        let (length, hand) = (self.kept.len(), self.hand);
        let looked = NEIGHBOURS.min(length);
        let places = (0..looked).map(|step| (hand + step) % length);
        looked_at.0.extend(places.clone().map(|place| self.kept[place].clone()));
        self.hand = (hand + looked) % length;
        let (step, reason) = policy.leaves(places.map(|place| self.kept[place].1.tenant(now)))?;
        looked_at.0.push(self.remove((hand + step) % length));
        Some(reason)
    }

    fn remove(&mut self, place: usize) -> (K, Arc<Entry>) {
        let (key, entry) = self.kept.swap_remove(place);
        self.places.remove(&key);
        if let Some((moved, _)) = self.kept.get(place) {
            self.places.insert(moved.clone(), place);
        }
        (key, entry)
    }
}

//! Where new records wait until it is seen whether anybody asks for them again.
//!
//! Most of what is stored once is never asked for again, and to tell moka of it, only to be told that it has to go,
//! costs more than all the rest of storing it. So a new record waits in a queue of its own, a small share of the whole;
//! at its end it goes to moka if it has been asked for again, or if there is room, and otherwise it goes. Its hash is
//! remembered for a while: whoever comes back after that does not wait a second time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::shelves::Record;

pub(super) struct Window {
    /// In the order in which they came. What has left its place already is still here, without content.
    queue: Mutex<VecDeque<Weak<Record>>>,
    /// Octets of those that wait.
    bytes: AtomicU64,
    capacity: u64,
    /// Marks of those that went unasked, by their hashes; one takes the place of another.
    gone: Box<[AtomicU32]>,
}

impl Window {
    /// A window of a store of so many octets.
    pub(super) fn new(max_bytes: u64) -> Self {
        let capacity = (max_bytes / SHARE).min(MOST);
        // About as many as the store has records; the cast keeps what the bounds allow.
        let marks = (max_bytes / 2048).clamp(1 << 8, 1 << 18).next_power_of_two() as usize;
        let gone = (0..marks).map(|_| AtomicU32::new(0)).collect();
        Self { queue: Mutex::default(), bytes: AtomicU64::new(0), capacity, gone }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Octets of those that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a new record waits here: it leaves room for others, and has not been here lately.
    pub(super) fn takes(&self, record: &Record) -> bool {
        let (place, mark) = self.gone(record.hash());
        record.weight() <= self.capacity / 2 && place.load(Ordering::Relaxed) != mark
    }

    /// A new record is to wait here until it is asked for again.
    pub(super) fn expect(&self, record: &Record) {
        self.bytes.fetch_add(record.weight(), Ordering::Relaxed);
        record.waits(true);
    }

    /// It comes to the end of the queue.
    pub(super) fn push(&self, record: &Arc<Record>) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(Arc::downgrade(record));
    }

    /// The one that has waited longest, where there is more than fits. It waits no more.
    pub(super) fn next(&self) -> Option<Arc<Record>> {
        loop {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let limit = if queue.len() > FEW { self.capacity.min(USUAL) } else { self.capacity };
            // Those without content weigh nothing, and are bounded by number.
            if self.bytes() <= limit && queue.len() as u64 <= self.capacity / LEAST {
                return None;
            }
            let first = queue.pop_front()?;
            drop(queue);
            if let Some(record) = first.upgrade().filter(|record| self.leaves(record)) {
                return Some(record);
            }
        }
    }

    /// It waits here no more, if it did; whether it did.
    pub(super) fn leaves(&self, record: &Record) -> bool {
        let waited = record.waits(false);
        if waited {
            self.bytes.fetch_sub(record.weight(), Ordering::Relaxed);
        }
        waited
    }

    /// It went unasked.
    pub(super) fn note(&self, hash: u64) {
        let (place, mark) = self.gone(hash);
        place.store(mark, Ordering::Relaxed);
    }

    fn gone(&self, hash: u64) -> (&AtomicU32, u32) {
        // The casts keep the low bits for the place and the high ones for the mark; none of them is zero.
        (&self.gone[hash as usize & (self.gone.len() - 1)], (hash >> 32) as u32 | 1)
    }
}

/// This part of a store is for those that wait.
const SHARE: u64 = 32;
/// And no more than this.
const MOST: u64 = 256 << 10;
/// Of which more than a few records take less than a processor's own cache holds beside all else that a response passes:
/// what goes again soon is written where it went before, and that is near.
const USUAL: u64 = 64 << 10;
/// So many may be large.
const FEW: usize = 2;
/// No record weighs less.
const LEAST: u64 = 512;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use http::Uri;

    use super::*;
    use crate::key::CacheKey;
    use crate::store::{
        Entry, Head, Lookup, MemoryStore, Purge, PurgeTarget, Store, StoreFuture, StoredBody, Variants,
    };

    const EACH: usize = 4000;

    fn key(number: u64) -> CacheKey {
        CacheKey::of_uri(&Uri::try_from(format!("http://example.com/{number}")).unwrap()).unwrap()
    }

    fn now<T>(mut future: StoreFuture<T>) -> T {
        match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(result)) => result,
            _ => panic!("not at once"),
        }
    }

    fn is_in(lookup: &Lookup) -> bool {
        !matches!(lookup.variants, Variants::None)
    }

    /// Asks for something, and stores it if it is not there; whether it was.
    fn ask(store: &MemoryStore, number: u64) -> bool {
        let lookup = now(store.lookup(&key(number)));
        if is_in(&lookup) {
            return true;
        }
        let head = Head::plain(key(number));
        let body = StoredBody::copied([Bytes::from(vec![b'x'; EACH])].iter(), EACH as u64, None);
        let stamp = lookup.stamp;
        now(store.commit(Entry::new(Arc::new(head), body, stamp), stamp));
        false
    }

    /// A full store whose window takes some records.
    fn full() -> MemoryStore {
        let store = MemoryStore::new(4 << 20);
        for number in 1_000_000..1_002_000 {
            ask(&store, number);
        }
        assert!(store.statistics().bytes > 3 << 20);
        store
    }

    #[test]
    fn what_nobody_asks_for_again_goes_and_what_somebody_does_stays() {
        let store = full();
        assert!(!ask(&store, 1) && !ask(&store, 2) && ask(&store, 2));
        for number in 10..200 {
            assert!(!ask(&store, number));
        }
        assert!(!is_in(&now(store.lookup(&key(1)))) && ask(&store, 2));
        assert!(store.statistics().bytes <= 4 << 20);
    }

    #[test]
    fn who_comes_back_does_not_wait_a_second_time() {
        let store = full();
        for begin in [1000, 2000] {
            assert!((0..20).all(|number| !ask(&store, number)));
            for number in begin..begin + 200 {
                ask(&store, number);
            }
        }
        // Some marks have given way to others.
        assert!((0..20).filter(|number| ask(&store, *number)).count() >= 12);
    }

    #[test]
    fn where_there_is_room_all_stay() {
        let store = MemoryStore::new(16 << 20);
        assert!((0..2000).all(|number| !ask(&store, number)));
        assert!((0..2000).all(|number| ask(&store, number)));
        assert_eq!(store.statistics().evictions, 0);
    }

    #[test]
    fn purges_reach_those_that_wait_and_leave_no_weight_behind() {
        let store = full();
        let before = store.statistics();
        for _ in 0..2000 {
            assert!(!ask(&store, 1) && ask(&store, 1));
            now(store.purge(&Purge::hard(PurgeTarget::Uri(key(1)))));
            assert!(!is_in(&now(store.lookup(&key(1)))));
        }
        let after = store.statistics();
        assert!(after.bytes <= before.bytes && after.entries <= before.entries, "{before:?} {after:?}");
        let waiting = store.clone();
        assert!(!ask(&waiting, 3));
        now(store.purge(&Purge::hard(PurgeTarget::Everything)));
        let left = store.statistics();
        assert_eq!((left.bytes, left.entries), (0, 0));
    }

    #[test]
    fn more_is_found_than_where_the_latest_are_kept() {
        let store = MemoryStore::new(4 << 20);
        let room = {
            let full = full();
            full.statistics().entries as usize
        };
        let (mut latest, mut hits, mut kept) = (VecDeque::new(), 0_u64, 0_u64);
        let mut state = 7_u64;
        for _ in 0..30_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Few are asked for often, and most seldom: about Zipf's law over 20,000.
            let share = (state >> 11) as f64 / (1_u64 << 53) as f64;
            let number = 20_000_f64.powf(share) as u64;
            hits += u64::from(ask(&store, number));
            let known = latest.iter().position(|known| *known == number);
            kept += u64::from(known.is_some());
            if let Some(known) = known {
                latest.remove(known);
            }
            latest.push_front(number);
            latest.truncate(room);
        }
        assert!(hits > kept, "{hits} {kept}");
    }
}

//! All records of a memory store by their hash: a short way from the question to the answer.
//!
//! moka owns the bound and says what has to go. To ask it costs more memory than all the rest of a hit, and a miss
//! would ask three times; so questions are answered here, and moka hears of what is stored and of some of the
//! readings: it counts to 15, and what it needs besides is to hear of a record now and then while that is in use.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Entry;
use super::table::{Kept, Table};

/// All that is stored under one key: at least one response, the newest first.
#[derive(Debug)]
pub(crate) struct Record {
    /// That of the key, which is two steps away.
    hash: u64,
    /// How often it was asked for; where two threads ask at once, one of them may not count.
    used: AtomicU32,
    /// It is in the window, and the owner does not know it.
    waits: AtomicBool,
    /// Octets of all of it.
    weight: u64,
    first: Entry,
    others: Box<[Entry]>,
}

impl Record {
    pub(super) fn new(first: Entry, others: Box<[Entry]>) -> Self {
        let entries = std::iter::once(&first).chain(&*others);
        Self {
            hash: first.key().hash64(),
            used: AtomicU32::new(0),
            waits: AtomicBool::new(false),
            weight: entries.map(Entry::weight).sum::<u64>() + RECORD_OVERHEAD,
            first,
            others,
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn first(&self) -> &Entry {
        &self.first
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether anybody has asked for it.
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed) > 0
    }

    /// Notes whether it waits in the window; whether it did.
    pub(super) fn waits(&self, waits: bool) -> bool {
        self.waits.swap(waits, Ordering::Relaxed)
    }

    /// Counts a use; whether moka is to hear of it.
    pub(super) fn counts(&self) -> bool {
        let used = self.used.load(Ordering::Relaxed).wrapping_add(1);
        self.used.store(used, Ordering::Relaxed);
        used < OFTEN || used.is_multiple_of(EACH)
    }
}

/// Uses of which moka hears each.
const OFTEN: u32 = 16;
/// Beyond that it hears of one in so many.
const EACH: u32 = 64;

/// What moka keeps for each key, its slot, and its place in the table with what is free there.
const RECORD_OVERHEAD: u64 = 320;

/// Records by hash. Only the hash is compared, all of it; whoever uses an entry compares its key.
pub(super) struct Shelves {
    shelves: Box<[Place]>,
}

/// A shelf's lock, held for a look into a table. It shares no line of the processor's cache with another.
#[repr(align(128))]
#[derive(Default)]
struct Place(Mutex<Table>);

impl Shelves {
    const COUNT: usize = 64;

    pub(super) fn new() -> Self {
        Self { shelves: (0..Self::COUNT).map(|_| Place::default()).collect() }
    }

    fn shelf(&self, hash: u64) -> MutexGuard<'_, Table> {
        // The top bits: the low ones choose the place in the table.
        self.lock((hash >> 58) as usize % Self::COUNT)
    }

    fn lock(&self, shelf: usize) -> MutexGuard<'_, Table> {
        self.shelves[shelf].0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, hash: u64) -> Option<Arc<Record>> {
        let shelf = self.shelf(hash);
        let Kept { record, head } = shelf.get(hash)?;
        // Before the count of references: nothing that is read after that is on its way before it.
        head.warm();
        record.first.warm();
        Some(Arc::clone(record))
    }

    /// Puts what `make` makes of a record in its place, and returns both; where it makes nothing, nothing changes.
    /// Nobody else changes that record meanwhile, so what `make` sees is still so when all others see what it made.
    pub(super) fn replace<F>(&self, hash: u64, make: F) -> Option<(Arc<Record>, Option<Arc<Record>>)>
    where
        F: FnOnce(Option<&Record>) -> Option<Record>,
    {
        let mut shelf = self.shelf(hash);
        let before = shelf.get(hash).map(|kept| &*kept.record);
        let record = Arc::new(make(before)?);
        let head = Arc::clone(&record.first.head);
        let replaced = shelf.insert(Kept { record: Arc::clone(&record), head });
        drop(shelf);
        Some((record, replaced.map(|kept| kept.record)))
    }

    /// Whether this very record is what is found.
    pub(super) fn has(&self, record: &Arc<Record>) -> bool {
        is(&self.shelf(record.hash), record)
    }

    /// Content is given back when nobody waits for the shelf.
    pub(super) fn remove(&self, hash: u64) -> Option<Arc<Record>> {
        let removed = self.shelf(hash).remove(hash);
        removed.map(|kept| kept.record)
    }

    /// Removes this very record, and none that has taken its place.
    pub(super) fn forget(&self, record: &Arc<Record>) {
        let mut shelf = self.shelf(record.hash);
        let removed = if is(&shelf, record) { shelf.remove(record.hash) } else { None };
        drop(shelf);
        drop(removed);
    }

    /// Removes all, each of which is `seen` before.
    pub(super) fn clear(&self, seen: impl Fn(&Record)) {
        for shelf in 0..Self::COUNT {
            let cleared = std::mem::take(&mut *self.lock(shelf));
            cleared.records().for_each(&seen);
        }
    }

    /// What `pick` picks of each record, shelf after shelf.
    pub(super) fn pick<T>(&self, pick: impl Fn(&Record) -> Option<T>) -> impl Iterator<Item = T> {
        (0..Self::COUNT)
            .flat_map(move |shelf| self.lock(shelf).records().filter_map(&pick).collect::<Vec<_>>())
    }

    pub(super) fn len(&self) -> usize {
        (0..Self::COUNT).map(|shelf| self.lock(shelf).len()).sum()
    }
}

fn is(shelf: &Table, record: &Arc<Record>) -> bool {
    shelf.get(record.hash).is_some_and(|kept| Arc::ptr_eq(&kept.record, record))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use http::Uri;

    use super::*;
    use crate::key::CacheKey;
    use crate::store::{Head, Pieces, Stamp, StoredBody};

    /// Numbers that look random, the same in every run.
    fn scatter(number: u64) -> u64 {
        let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (mixed >> 31)
    }

    fn record(hash: u64) -> Record {
        let head = Head::plain(CacheKey::of_uri(&Uri::from_static("http://example.com/")).unwrap());
        let entry = Entry::new(Arc::new(head), StoredBody::new(Pieces::default()), Stamp::new(1));
        Record { hash, ..Record::new(entry, Box::default()) }
    }

    #[test]
    fn moka_hears_of_the_first_uses_and_then_now_and_then() {
        let record = record(1);
        assert_eq!((0..15).filter(|_| record.counts()).count(), 15);
        assert_eq!((0..640).filter(|_| record.counts()).count(), 10);
    }

    #[test]
    fn beside_a_map_of_the_standard_library() {
        let shelves = Shelves::new();
        let mut model: HashMap<u64, Arc<Record>> = HashMap::new();
        let mut older: Option<Arc<Record>> = None;
        for step in 0..30_000_u64 {
            // Few different hashes, of which many begin at the same place, and some share that half.
            let number = scatter(scatter(step) % 500);
            let hash = ((number % 5) << 58) | ((number >> 8 & 1) << 40) | (number >> 9 & 0x1f);
            let is = |found: Option<Arc<Record>>, model: &HashMap<u64, Arc<Record>>| match model.get(&hash) {
                Some(known) => found.is_some_and(|found| Arc::ptr_eq(&found, known)),
                None => found.is_none(),
            };
            assert!(is(shelves.get(hash), &model));
            match scatter(step << 20) % 8 {
                0..=2 => {
                    let made = shelves.replace(hash, |before| {
                        assert!(match (before, model.get(&hash)) {
                            (Some(before), Some(known)) => std::ptr::eq(before, &raw const **known),
                            (before, known) => before.is_none() && known.is_none(),
                        });
                        Some(record(hash))
                    });
                    let (made, _) = made.unwrap();
                    assert!(shelves.has(&made));
                    older = model.insert(hash, made).or(older);
                }
                3 => assert!(shelves.replace(hash, |_| None).is_none()),
                4 | 5 => {
                    assert_eq!(shelves.remove(hash).is_some(), model.remove(&hash).is_some());
                }
                _ => {
                    if let Some(older) = &older {
                        // What has taken its place stays.
                        assert!(!shelves.has(older));
                        shelves.forget(older);
                    }
                    if let Some(own) = model.remove(&hash) {
                        shelves.forget(&own);
                        assert_eq!(Arc::strong_count(&own), 1);
                    }
                }
            }
            assert_eq!(shelves.len(), model.len());
        }
        assert_eq!(shelves.pick(|_| Some(())).count(), model.len());
        assert!(model.len() > 50);
        shelves.clear(|_| ());
        assert!(shelves.len() == 0 && model.values().all(|record| Arc::strong_count(record) == 1));
    }
}

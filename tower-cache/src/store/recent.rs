//! What a memory store was asked for lately, a short way from the question to the answer.
//!
//! moka keeps count of every reading, which costs a hit more memory than all the rest of it. So records that are asked
//! for often are found here, and only some of those readings are told to moka: it counts to 15, and what it needs
//! besides is to hear of a record now and then while that is in use.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Entry;
use crate::key::CacheKey;

/// All that is stored under one key: at least one response, the newest first.
#[derive(Debug)]
pub(crate) struct Record {
    /// That of the key: it is at hand where the key itself is two steps away.
    hash: u64,
    first: Entry,
    others: Box<[Entry]>,
    /// How often it was asked for; where two threads ask at once, one of them may not count.
    used: AtomicU32,
    /// It is no longer what the store has.
    gone: AtomicBool,
}

impl Record {
    pub(crate) fn new(first: Entry, others: impl Iterator<Item = Entry>) -> Self {
        let (used, gone) = (AtomicU32::new(0), AtomicBool::new(false));
        Self { hash: first.key().hash64(), first, others: others.collect(), used, gone }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Counts a use; whether moka is to hear of it.
    fn counts(&self) -> bool {
        let used = self.used.load(Ordering::Relaxed).wrapping_add(1);
        self.used.store(used, Ordering::Relaxed);
        used < OFTEN || used.is_multiple_of(EACH)
    }

    fn is_used_often(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= OFTEN
    }
}

/// Uses of which moka hears each.
const OFTEN: u32 = 16;
/// Beyond that it hears of one in so many.
const EACH: u32 = 16;

/// Records by hash, in sets of four; what finds no room takes the place of another.
pub(super) struct Recent {
    sets: Box<[Set]>,
}

/// One line of the processor's cache.
#[derive(Default)]
#[repr(align(64))]
struct Set(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    /// Of the hash, the bits that do not choose the set.
    tags: [u32; WAYS],
    records: [Option<Arc<Record>>; WAYS],
}

const WAYS: usize = 4;

impl Recent {
    /// For a store of so many octets: takes four per mille of them, 4 MiB at most.
    pub(super) fn new(max_bytes: u64) -> Self {
        // The clamp fits.
        let sets = (max_bytes >> 14).clamp(16, 1 << 16).next_power_of_two() as usize;
        Self { sets: (0..sets).map(|_| Set::default()).collect() }
    }

    /// The set of a hash, and its tag there.
    fn place(&self, hash: u64) -> (&Mutex<Slots>, u32) {
        // Both casts choose bits.
        (&self.sets[hash as usize & (self.sets.len() - 1)].0, (hash >> 32) as u32)
    }

    /// The record of a key. `None` as well when moka is to be asked, and when somebody else is at the set: nobody
    /// waits. Only the hash is compared, all of it; whoever uses an entry compares its key.
    pub(super) fn get(&self, key: &CacheKey) -> Option<Arc<Record>> {
        let (set, tag) = self.place(key.hash64());
        let slots = set.try_lock().ok()?;
        let way = slots.tags.iter().position(|other| *other == tag)?;
        let record = slots.records[way].clone()?;
        drop(slots);
        let same = record.hash == key.hash64() && !record.gone.load(Ordering::SeqCst);
        if same {
            record.first.warm();
        }
        (same && !record.counts()).then_some(record)
    }

    /// Notes what moka had.
    pub(super) fn note(&self, record: &Arc<Record>) {
        if !record.is_used_often() {
            record.counts();
            return;
        }
        let (set, tag) = self.place(record.hash);
        let mut replaced = None;
        if let Ok(mut slots) = set.try_lock() {
            let free = slots.records.iter().position(Option::is_none);
            let same =
                slots.records.iter().zip(slots.tags).position(|(one, own)| one.is_some() && own == tag);
            // The bits are neither those of the set nor, mostly, those of the tags in it.
            let way = same.or(free).unwrap_or(tag as usize % WAYS);
            slots.tags[way] = tag;
            replaced = slots.records[way].replace(Arc::clone(record));
        }
        drop(replaced);
        // It may have gone between moka's answer and this; whoever is second sees the other.
        if record.gone.load(Ordering::SeqCst) {
            self.forget(record);
        }
    }

    /// The store does not have it any more.
    pub(super) fn forget(&self, record: &Arc<Record>) {
        record.gone.store(true, Ordering::SeqCst);
        let (set, _) = self.place(record.hash);
        let mut slots = set.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |own: &&mut Option<Arc<Record>>| own.as_ref().is_some_and(|own| Arc::ptr_eq(own, record));
        let found = slots.records.iter_mut().find(same).and_then(Option::take);
        drop(slots);
        drop(found);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::{HeaderMap, StatusCode, Uri};

    use super::*;
    use crate::policy::freshness::Freshness;
    use crate::store::{Head, Stamp, StoredBody};

    fn record(path: u32) -> Arc<Record> {
        let uri: Uri = format!("http://example.com/{path}").parse().unwrap();
        let head = Head {
            key: CacheKey::of_uri(&uri).unwrap(),
            variant: crate::policy::vary::Variant::default(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            freshness: Freshness {
                initial_age: Duration::ZERO,
                lifetime: Duration::from_secs(60),
                stale_while_revalidate: Duration::ZERO,
                stale_if_error: Duration::ZERO,
                stale_if_unreachable: Duration::ZERO,
                always_validate: false,
                never_stale: false,
            },
            part: None,
            upstream_status: false,
            own_etag: false,
            tags: Box::default(),
            stored_at: Instant::now(),
        };
        Arc::new(Record::new(
            Entry::new(Arc::new(head), StoredBody::default(), Stamp::new(1)),
            [].into_iter(),
        ))
    }

    fn key(record: &Record) -> CacheKey {
        record.first.key().clone()
    }

    fn heat(recent: &Recent, record: &Arc<Record>) {
        (0..=OFTEN).for_each(|_| recent.note(record));
    }

    #[test]
    fn moka_hears_of_the_first_uses_and_then_of_each_sixteenth() {
        let (recent, record) = (Recent::new(0), record(1));
        let heard = (0..OFTEN).filter(|_| recent.get(&key(&record)).inspect(|_| panic!("kept")).is_none());
        assert_eq!(heard.inspect(|_| recent.note(&record)).count() as u32, OFTEN);
        recent.note(&record);
        let answered = (0..160).filter(|_| recent.get(&key(&record)).is_some()).count();
        assert_eq!(answered, 150);
    }

    #[test]
    fn what_is_gone_is_found_no_more_whichever_comes_first() {
        let (recent, record) = (Recent::new(0), record(1));
        heat(&recent, &record);
        assert!(recent.get(&key(&record)).is_some());
        recent.forget(&record);
        assert!((0..100).all(|_| recent.get(&key(&record)).is_none()));
        recent.note(&record);
        assert_eq!(Arc::strong_count(&record), 1, "noted too late");
    }

    #[test]
    fn a_newer_record_takes_the_place_of_an_older_one_and_stays_when_that_goes() {
        let (recent, older, newer) = (Recent::new(0), record(1), record(1));
        heat(&recent, &older);
        heat(&recent, &newer);
        assert_eq!(Arc::strong_count(&older), 1);
        recent.forget(&older);
        let found = recent.get(&key(&newer)).or_else(|| recent.get(&key(&newer)));
        assert!(found.is_some_and(|found| Arc::ptr_eq(&found, &newer)));
    }

    #[test]
    fn there_is_room_for_four_in_a_set_and_none_answers_for_another() {
        let recent = Recent::new(0);
        let records: Vec<_> = (0..1000).map(record).collect();
        records.iter().for_each(|record| heat(&recent, record));
        let kept = records.iter().filter(|record| Arc::strong_count(record) > 1).count();
        assert_eq!(kept, 16 * WAYS);
        for record in &records {
            let found = recent.get(&key(record));
            assert!(found.is_none_or(|found| Arc::ptr_eq(&found, record)));
        }
    }
}

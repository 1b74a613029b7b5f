//! When what was purged last, in memory.

use std::sync::PoisonError;

use super::{Entry, Stamp};
use crate::key::CacheKey;
use crate::sync::{AtomicU64, Mutex, Ordering};

/// When what was purged last. A purge of a URI holds for all its partitions, whose keys nobody knows, and costs the
/// same however many there are: it is noted under the URI, and lookups compare. So it is for tags.
pub(crate) struct Generations {
    now: AtomicU64,
    hard: Notes,
    soft: Notes,
    everything_hard: AtomicU64,
    everything_soft: AtomicU64,
    prefix: AtomicU64,
}

impl Generations {
    pub(crate) fn new() -> Self {
        Self {
            // Zero is older than everything.
            now: AtomicU64::new(1),
            hard: Notes::new(),
            soft: Notes::new(),
            everything_hard: AtomicU64::new(0),
            everything_soft: AtomicU64::new(0),
            prefix: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self) -> Stamp {
        Stamp(self.now.load(Ordering::SeqCst).into())
    }

    /// Whether there has ever been a purge, as this stamp knows it.
    pub(crate) fn is_any_purged(now: Stamp) -> bool {
        now > Stamp(1)
    }

    pub(crate) fn hard(&self, key: &CacheKey) -> Stamp {
        let own = self.hard.last(key.uri_hash());
        Stamp(own.max(self.everything_hard.load(Ordering::SeqCst)).into())
    }

    pub(crate) fn soft(&self, key: &CacheKey) -> Stamp {
        let own = self.soft.last(key.uri_hash());
        Stamp(own.max(self.everything_soft.load(Ordering::SeqCst)).into())
    }

    pub(super) fn prefix(&self) -> Stamp {
        Stamp(self.prefix.load(Ordering::SeqCst).into())
    }

    /// The last purge of one of an entry's tags.
    pub(super) fn tags(&self, entry: &Entry, soft: bool) -> Stamp {
        let notes = self.notes(soft);
        let last = |tag: &str| notes.last(crate::key::hash(tag.as_bytes()));
        Stamp(entry.tags().map(last).max().unwrap_or(0).into())
    }

    pub(super) fn is_tag_purged(&self, entry: &Entry) -> bool {
        entry.stamp() < self.tags(entry, false).max(self.tags(entry, true))
    }

    pub(super) fn purge_tag(&self, tag: &str, soft: bool) {
        self.notes(soft).note(crate::key::hash(tag.as_bytes()), self.next());
    }

    pub(crate) fn purge_uri(&self, key: &CacheKey, soft: bool) {
        self.notes(soft).note(key.uri_hash(), self.next());
    }

    pub(super) fn purge_prefix(&self) {
        self.prefix.fetch_max(self.next(), Ordering::SeqCst);
    }

    pub(crate) fn purge_everything(&self, soft: bool) {
        let everything = if soft { &self.everything_soft } else { &self.everything_hard };
        everything.fetch_max(self.next(), Ordering::SeqCst);
    }

    fn notes(&self, soft: bool) -> &Notes {
        if soft { &self.soft } else { &self.hard }
    }

    fn next(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// The last purges of single URIs or tags, by their hashes: bounded, and never forgotten. Each set remembers the last
/// three that were purged in it; of those before only the time of the latest is left, which then holds for all others
/// of the set. So a purge touches what is stored under other names only where many were purged since that was stored.
struct Notes {
    sets: Box<[Set]>,
    /// Whoever notes; lookups need no turn.
    turn: Mutex<()>,
}

/// Half a cache line: three notes, and what holds for all whose note is gone.
#[derive(Default)]
#[repr(align(32))]
struct Set {
    notes: [AtomicU64; 3],
    floor: AtomicU64,
}

/// A note is a mark of the name above the number of the purge. Two names with one mark share their purges.
const NUMBER_BITS: u32 = 44;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

impl Notes {
    /// In the models of loom one set holds all names.
    const SETS: usize = if cfg!(loom) { 1 } else { 1 << 14 };

    fn new() -> Self {
        Self { sets: (0..Self::SETS).map(|_| Set::default()).collect(), turn: Mutex::new(()) }
    }

    fn set(&self, hash: u64) -> &Set {
        // The cast keeps the low bits, which are as good as any; the mark is made of the high ones.
        &self.sets[hash as usize % Self::SETS]
    }

    /// The number of the last purge of this name, or of one that may have been it.
    fn last(&self, hash: u64) -> u64 {
        let set = self.set(hash);
        let own = set.notes.iter().fold(0, |last, note| {
            let note = note.load(Ordering::SeqCst);
            if (note ^ hash) >> NUMBER_BITS == 0 { last.max(note & NUMBER) } else { last }
        });
        // After the notes: who takes a note away has raised the floor before.
        own.max(set.floor.load(Ordering::SeqCst))
    }

    fn note(&self, hash: u64, number: u64) {
        let set = self.set(hash);
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if number > NUMBER {
            // After 17 million million purges: all of the set, each time.
            set.floor.fetch_max(number, Ordering::SeqCst);
            return;
        }
        let notes = set.notes.each_ref().map(|note| note.load(Ordering::SeqCst));
        let own = notes.iter().position(|note| note & NUMBER != 0 && (note ^ hash) >> NUMBER_BITS == 0);
        let oldest = || (0..notes.len()).min_by_key(|index| notes[*index] & NUMBER).unwrap_or(0);
        let index = own.unwrap_or_else(oldest);
        let before = notes[index] & NUMBER;
        if own.is_none() {
            set.floor.fetch_max(before, Ordering::SeqCst);
        }
        let note = hash & !NUMBER | number.max(before);
        set.notes[index].store(note, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another name of the same set.
    fn name(mark: u64) -> u64 {
        mark << NUMBER_BITS | 7
    }

    #[test]
    fn each_name_has_its_own_and_none_is_forgotten() {
        let notes = Notes::new();
        for (number, mark) in [(2, 1), (3, 2), (4, 3), (5, 1)] {
            notes.note(name(mark), number);
        }
        assert_eq!([1, 2, 3, 4].map(|mark| notes.last(name(mark))), [5, 3, 4, 0]);
        assert_eq!(notes.last(name(1) + 1), 0, "another set");
        // The fourth name takes the place of the oldest note, whose time holds from then on for all without a note.
        notes.note(name(4), 6);
        assert_eq!([1, 2, 3, 4, 5].map(|mark| notes.last(name(mark))), [5, 3, 4, 6, 3]);
        notes.note(name(2), 7);
        assert_eq!([1, 2, 3, 4, 5].map(|mark| notes.last(name(mark))), [5, 7, 4, 6, 4]);
    }

    #[test]
    fn numbers_that_do_not_fit_hold_for_the_set() {
        let notes = Notes::new();
        notes.note(name(1), NUMBER);
        assert_eq!([1, 2].map(|mark| notes.last(name(mark))), [NUMBER, 0]);
        notes.note(name(1), NUMBER + 1);
        assert_eq!([1, 2].map(|mark| notes.last(name(mark))), [NUMBER + 1; 2]);
    }

    #[test]
    fn a_purge_that_has_ended_is_seen_whatever_is_purged_meanwhile() {
        let (notes, now, ended) = (Notes::new(), AtomicU64::new(1), AtomicU64::new(0));
        let next = || now.fetch_add(1, Ordering::SeqCst) + 1;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let number = next();
                    notes.note(name(1), number);
                    ended.store(number, Ordering::SeqCst);
                }
                ended.store(u64::MAX, Ordering::SeqCst);
            });
            scope.spawn(|| {
                for mark in (2..9).cycle() {
                    if ended.load(Ordering::SeqCst) == u64::MAX {
                        break;
                    }
                    notes.note(name(mark), next());
                }
            });
            loop {
                let known = ended.load(Ordering::SeqCst);
                if known == u64::MAX {
                    break;
                }
                assert!(notes.last(name(1)) >= known);
            }
        });
    }
}

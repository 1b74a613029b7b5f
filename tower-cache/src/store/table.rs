//! A table from hashes to records, where a look reads two lines of the processor's cache at once, and no third before
//! the record; and most often one alone where there is none.

use std::sync::Arc;

use super::Head;
use super::shelves::Record;

/// Open addressing with linear probing. Grows by doubling and never shrinks.
#[derive(Default)]
pub(super) struct Table {
    /// The low halves of hashes, from which the search begins; zero where a place is free.
    marks: Box<[u32]>,
    places: Box<[Option<Kept>]>,
    length: usize,
}

/// A record, and the head of its first response: both are read then without one waiting for the other.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) record: Arc<Record>,
    pub(super) head: Arc<Head>,
}

const FIRST: usize = 16;

/// The low half of a hash, which the cast chooses, or what stands for it where that would mean a free place.
fn mark(hash: u64) -> u32 {
    (hash as u32).max(1)
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.places.iter().flatten().map(|kept| &*kept.record)
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.marks.len() - 1)
    }

    /// Where the search for a hash begins, by its mark; the table is not empty.
    fn home(&self, mark: u32) -> usize {
        mark as usize & (self.marks.len() - 1)
    }

    fn find(&self, hash: u64) -> Option<usize> {
        if self.length == 0 {
            return None;
        }
        let mark = mark(hash);
        let mut place = self.home(mark);
        while self.marks[place] != 0 {
            let is = |kept: &Kept| kept.record.hash() == hash;
            if self.marks[place] == mark && self.places[place].as_ref().is_some_and(is) {
                return Some(place);
            }
            place = self.next(place);
        }
        None
    }

    pub(super) fn get(&self, hash: u64) -> Option<&Kept> {
        self.find(hash).and_then(|place| self.places[place].as_ref())
    }

    /// Puts a record in its place; returns the one that had it.
    pub(super) fn insert(&mut self, kept: Kept) -> Option<Kept> {
        let hash = kept.record.hash();
        if let Some(place) = self.find(hash) {
            return self.places[place].replace(kept);
        }
        if (self.length + 1) * 4 > self.marks.len() * 3 {
            self.grow();
        }
        self.length += 1;
        self.put(mark(hash), kept);
        None
    }

    /// In the first place that is free; there is one.
    fn put(&mut self, mark: u32, kept: Kept) {
        let mut place = self.home(mark);
        while self.marks[place] != 0 {
            place = self.next(place);
        }
        self.marks[place] = mark;
        self.places[place] = Some(kept);
    }

    pub(super) fn remove(&mut self, hash: u64) -> Option<Kept> {
        let mut hole = self.find(hash)?;
        let removed = self.places[hole].take();
        self.length -= 1;
        // Whoever could stand in the hole moves there, so that no search ends too early.
        let mut place = hole;
        loop {
            place = self.next(place);
            if self.marks[place] == 0 {
                self.marks[hole] = 0;
                return removed;
            }
            let mask = self.marks.len() - 1;
            let from_home = place.wrapping_sub(self.home(self.marks[place])) & mask;
            let from_hole = place.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.marks[hole] = self.marks[place];
                self.places[hole] = self.places[place].take();
                hole = place;
            }
        }
    }

    fn grow(&mut self) {
        let size = (self.marks.len() * 2).max(FIRST);
        let marks = std::mem::replace(&mut self.marks, vec![0; size].into());
        let places = std::mem::replace(&mut self.places, (0..size).map(|_| None).collect());
        for (mark, kept) in marks.into_iter().zip(places) {
            if let Some(kept) = kept {
                self.put(mark, kept);
            }
        }
    }
}

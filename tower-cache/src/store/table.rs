//! A table from hashes to slots, in eight octets each: a look mostly reads one line of the processor's cache.

/// Open addressing with linear probing. Grows by doubling and never shrinks.
#[derive(Default)]
pub(super) struct Table {
    /// The low half of a hash above the slot plus one; 0 is free.
    places: Box<[u64]>,
    length: usize,
}

const FIRST: usize = 16;

impl Table {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    /// Where the search for a hash begins, by its low half; the table is not empty.
    fn home(&self, low: u32) -> usize {
        low as usize & (self.places.len() - 1)
    }

    /// The slot of a hash. `is` tells whether a slot is the one where half of the hash is the same.
    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.length == 0 {
            return None;
        }
        // The cast chooses the low half.
        let low = hash as u32;
        let mut place = self.home(low);
        loop {
            let (other, slot) = parts(self.places[place])?;
            if other == low && is(slot) {
                return Some(slot);
            }
            place = self.next(place);
        }
    }

    /// A hash that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        if (self.length + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        self.length += 1;
        self.place(hash as u32, slot);
    }

    fn place(&mut self, low: u32, slot: u32) {
        let mut place = self.home(low);
        while self.places[place] != 0 {
            place = self.next(place);
        }
        self.places[place] = (u64::from(low) << 32) | (u64::from(slot) + 1);
    }

    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        if self.length == 0 {
            return;
        }
        let mut hole = self.home(hash as u32);
        while parts(self.places[hole]).is_some_and(|(_, other)| other != slot) {
            hole = self.next(hole);
        }
        if self.places[hole] == 0 {
            return;
        }
        self.length -= 1;
        // Whoever could stand in the hole moves there, so that no search ends too early.
        let mut place = hole;
        loop {
            place = self.next(place);
            let Some((low, _)) = parts(self.places[place]) else { break };
            let mask = self.places.len() - 1;
            let from_home = place.wrapping_sub(self.home(low)) & mask;
            let from_hole = place.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.places[hole] = self.places[place];
                hole = place;
            }
        }
        self.places[hole] = 0;
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(FIRST);
        let before = std::mem::replace(&mut self.places, vec![0; size].into());
        for (low, slot) in before.iter().filter_map(|place| parts(*place)) {
            self.place(low, slot);
        }
    }
}

fn parts(place: u64) -> Option<(u32, u32)> {
    // The casts take the halves apart.
    (place != 0).then(|| ((place >> 32) as u32, place as u32 - 1))
}

/// Numbers that look random, the same in every run.
#[cfg(test)]
pub(super) fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn beside_a_map_of_the_standard_library() {
        // Few different hashes, of which many begin at the same place.
        let hash = |number: u64| ((scatter(number) % 3) << 40) | (scatter(number) >> 7 & 0x3f);
        let (mut table, mut model) = (Table::default(), HashMap::new());
        let mut most = 0;
        for step in 0..200_000_u64 {
            let hash = hash(scatter(step) % 400);
            let known = model.get(&hash).copied();
            assert_eq!(table.find(hash, |slot| model.get(&hash) == Some(&slot)), known);
            match known {
                Some(slot) => {
                    table.remove(hash, slot);
                    model.remove(&hash);
                }
                None => {
                    table.insert(hash, step as u32);
                    model.insert(hash, step as u32);
                }
            }
            assert_eq!(table.len(), model.len());
            most = most.max(model.len());
        }
        assert!(most > 40, "{most}");
    }
}

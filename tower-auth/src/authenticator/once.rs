//! Tokens that were verified once, and by which key: most of them are never seen again, so no more of them is kept than
//! their bytes, in memory that the next one takes over as it is. With a token that is seen again everything but the
//! signature is done once more.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A place for as many bytes.
const BYTES_PER_PLACE: u64 = 1_024;
/// Buffers are multiples of this, so that most tokens fit where another one was.
const STEP: usize = 256;

/// Each token in the one place that it can have. Nobody waits for a place: one that is in use at that moment is taken for
/// one that knows nothing.
pub(super) struct Once {
    places: Box<[Place]>,
    /// Of the buffers in the places.
    bytes: AtomicU64,
    most: u64,
    /// Where room is made next.
    hand: AtomicUsize,
}

/// Read as one piece of memory.
#[derive(Default)]
#[repr(align(64))]
struct Place(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    hash: u64,
    /// The key that verified the token, by its id. `None` in a place that knows nothing.
    key: Option<NonZeroU64>,
    token: Vec<u8>,
}

impl Once {
    pub(super) fn new(most: u64) -> Self {
        // At most a mebibyte of places.
        let places = (most / BYTES_PER_PLACE).clamp(16, 1 << 14).next_power_of_two();
        Self {
            places: (0..places).map(|_| Place::default()).collect(),
            bytes: AtomicU64::new(0),
            most,
            hand: AtomicUsize::new(0),
        }
    }

    fn at(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    /// The key that verified exactly these bytes. As everywhere, nothing is compared before all of the hash is the same.
    pub(super) fn key(&self, hash: u64, token: &[u8]) -> Option<NonZeroU64> {
        let kept = self.places[self.at(hash)].0.try_lock().ok()?;
        kept.key.filter(|_| kept.hash == hash && kept.token == token)
    }

    /// Takes the place of whatever has it.
    pub(super) fn put(&self, hash: u64, token: &[u8], key: NonZeroU64) {
        let Ok(mut kept) = self.places[self.at(hash)].0.try_lock() else { return };
        let before = kept.token.capacity();
        if token.len() > before {
            let size = token.len().next_multiple_of(STEP);
            if size as u64 > self.most {
                return;
            }
            kept.token = Vec::with_capacity(size);
            self.bytes.fetch_add((kept.token.capacity() - before) as u64, Ordering::Relaxed);
            self.make_room();
        }
        kept.token.clear();
        kept.token.extend_from_slice(token);
        (kept.hash, kept.key) = (hash, Some(key));
    }

    /// The place that wants room is in use, and so keeps what it has.
    fn make_room(&self) {
        // One turn at most: others may be filling what is emptied here.
        for _ in 0..self.places.len() {
            if self.bytes.load(Ordering::Relaxed) <= self.most {
                break;
            }
            let next = self.hand.fetch_add(1, Ordering::Relaxed) & (self.places.len() - 1);
            if let Ok(mut kept) = self.places[next].0.try_lock() {
                let Kept { token, .. } = std::mem::take(&mut *kept);
                self.bytes.fetch_sub(token.capacity() as u64, Ordering::Relaxed);
            }
        }
    }

    /// Bytes of all buffers, counted.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        let held = self.places.iter().map(|place| place.0.lock().unwrap().token.capacity() as u64).sum();
        assert_eq!(held, self.bytes.load(Ordering::Relaxed));
        assert!(held <= self.most);
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: NonZeroU64 = NonZeroU64::MIN;

    #[test]
    fn every_byte_and_the_whole_hash_count() {
        let once = Once::new(1 << 20);
        once.put(7, b"header.payload.signature", KEY);
        assert_eq!(once.key(7, b"header.payload.signature"), Some(KEY));
        let token = b"header.payload.signature".to_vec();
        for position in 0..token.len() {
            let mut other = token.clone();
            other[position] ^= 1;
            assert_eq!(once.key(7, &other), None);
            assert_eq!(once.key(7, &token[..position]), None);
        }
        assert_eq!(once.key(7 | 1 << 63, &token), None);
        assert_eq!(once.key(7, b"header.payload.signaturee"), None);
        assert_eq!(Once::new(1 << 20).key(0, b""), None);
    }

    /// Also one that is shorter than what was there.
    #[test]
    fn the_latest_has_the_place() {
        let once = Once::new(1 << 20);
        let other = NonZeroU64::new(2).unwrap();
        for (one, two) in [("aaaa", "bb"), ("bb", "aaaa")] {
            once.put(7, one.as_bytes(), KEY);
            once.put(7, two.as_bytes(), other);
            assert_eq!((once.key(7, one.as_bytes()), once.key(7, two.as_bytes())), (None, Some(other)));
        }
    }

    #[test]
    fn nobody_waits() {
        let once = Once::new(1 << 20);
        once.put(7, b"a", KEY);
        let kept = once.places[once.at(7)].0.lock().unwrap();
        assert_eq!(once.key(7, b"a"), None);
        once.put(7, b"b", KEY);
        drop(kept);
        assert_eq!(once.key(7, b"a"), Some(KEY));
    }

    #[test]
    fn what_is_held_stays_within_bounds() {
        for most in [0_u64, 1, 255, 256, 3_000, 100_000] {
            let once = Once::new(most);
            for number in 0..3_000_u64 {
                let token = vec![number as u8; 1 + (number * 7_919 % 5_000) as usize];
                once.put(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8, &token, KEY);
            }
            let held = once.held();
            assert!(held > most / 2 || most < 3_000, "{held} of {most}");
        }
    }
}

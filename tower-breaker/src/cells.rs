//! Where calls are counted without a lock: one set of words per shard, and every call is one step of one word.

use std::sync::atomic::AtomicU64 as Hint;

use crate::policy::{ARMED, Counts, SLOTS, Slotting, Step, Word};
use crate::sync::{AtomicU64, Ordering};

const RING: usize = SLOTS as usize;

/// The kinds of which each shard keeps a ring of slots. A slow call is also a success or a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    // First, for it is seldom written, and what is before it in memory belongs to others.
    Slow = 0,
    Success = 1,
    Failure = 2,
}

/// After the rings: rejections in the newest slot, then what has left the slots of each kind.
const REJECTED: usize = 3 * RING;
const GONE: usize = REJECTED + 1;
const WORDS: usize = GONE + 4;
/// Words between two shards, more than two cache lines, that no two of them share one.
const STRIDE: usize = WORDS + 16;

/// All that was ever counted, of the kinds the metrics know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    pub(crate) rejections: u64,
}

impl Tally {
    /// What was counted since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            successes: self.successes.saturating_sub(before.successes),
            failures: self.failures.saturating_sub(before.failures),
            rejections: self.rejections.saturating_sub(before.rejections),
        }
    }

    pub(crate) fn and(self, more: Self) -> Self {
        Self {
            successes: self.successes + more.successes,
            failures: self.failures + more.failures,
            rejections: self.rejections + more.rejections,
        }
    }
}

/// What counting a call asks of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Nothing.
    Quietly,
    /// A look at the rates: a slot was begun, or the rates are near their limit.
    Look,
}

/// Where a caller counts: its shard, and the number of the slot that was the newest when it last looked. Any number
/// would do, for it is believed only where it is right: so it is none of the words that loom knows.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) shard: usize,
    newest: Hint,
}

impl Place {
    pub(crate) fn new(shard: usize) -> Self {
        Self { shard, newest: Hint::new(0) }
    }

    #[inline]
    pub(crate) fn epoch(&self, slotting: Slotting, now: u64) -> u64 {
        let index = self.newest.load(std::sync::atomic::Ordering::Relaxed);
        if slotting.holds(index, now) { slotting.epoch_of(index) } else { self.another(slotting, now) }
    }

    #[cold]
    #[inline(never)]
    fn another(&self, slotting: Slotting, now: u64) -> u64 {
        let index = slotting.index(now);
        self.newest.store(index, std::sync::atomic::Ordering::Relaxed);
        slotting.epoch_of(index)
    }
}

#[derive(Debug)]
pub(crate) struct Cells {
    words: Box<[AtomicU64]>,
    shards: usize,
}

impl Cells {
    pub(crate) fn new(shards: usize) -> Self {
        let words = (0..STRIDE * (shards - 1) + WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { words, shards }
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    #[inline]
    pub(crate) fn count(&self, shard: usize, kind: Kind, epoch: u64) -> Counted {
        let index = kind as usize * RING + (epoch % SLOTS) as usize;
        self.step(shard * STRIDE, index, kind as usize, epoch)
    }

    pub(crate) fn reject(&self, shard: usize, epoch: u64) -> Counted {
        self.step(shard * STRIDE, REJECTED, 3, epoch)
    }

    #[inline]
    fn step(&self, base: usize, index: usize, kind: usize, epoch: u64) -> Counted {
        let (word, gone) = (&self.words[base + index], &self.words[base + GONE + kind]);
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let step = Word(seen).step(epoch);
            let next = match step {
                Step::More { next, .. } | Step::Rotates { next, .. } => next,
                Step::Out => {
                    gone.fetch_add(1, Ordering::AcqRel);
                    return Counted::Quietly;
                }
            };
            // Release: who finds a rotated word finds what left it, and not the other way round.
            match word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => match step {
                    Step::Rotates { leaving, .. } => {
                        if leaving > 0 {
                            gone.fetch_add(leaving, Ordering::AcqRel);
                        }
                        return Counted::Look;
                    }
                    Step::More { armed: true, .. } => return Counted::Look,
                    _ => return Counted::Quietly,
                },
                Err(now) => seen = now,
            }
        }
    }

    /// The calls in the window that ends with this epoch.
    pub(crate) fn counts(&self, epoch: u64) -> Counts {
        let mut counts = Counts::default();
        for shard in 0..self.shards {
            for slot in 0..RING {
                let within = |kind: Kind| {
                    let word = Word(self.word(shard, kind as usize * RING + slot).load(Ordering::Acquire));
                    if word.within(epoch) { word.count() } else { 0 }
                };
                // A slow call is counted as a call first: in this order no sum holds more slow calls than calls.
                counts.slow += within(Kind::Slow);
                let failures = within(Kind::Failure);
                counts.failures += failures;
                counts.total += failures + within(Kind::Success);
            }
        }
        counts
    }

    /// The same, and from now on each success in these slots asks for a look.
    pub(crate) fn arm(&self, epoch: u64) -> Counts {
        self.each_success(epoch, |word| word.fetch_or(ARMED, Ordering::AcqRel));
        self.counts(epoch)
    }

    pub(crate) fn disarm(&self, epoch: u64) {
        self.each_success(epoch, |word| word.fetch_and(!ARMED, Ordering::AcqRel));
    }

    fn each_success(&self, epoch: u64, change: impl Fn(&AtomicU64) -> u64) {
        for shard in 0..self.shards {
            for slot in 0..RING {
                let word = self.word(shard, Kind::Success as usize * RING + slot);
                // The first call of a slot that is not in the window asks anyway.
                if Word(word.load(Ordering::Acquire)).within(epoch) {
                    change(word);
                }
            }
        }
    }

    /// All there ever was. A slot that rotates meanwhile is seen too low at worst, never twice: what has left is read
    /// first.
    pub(crate) fn tally(&self) -> Tally {
        let mut sums = [0; 4];
        for shard in 0..self.shards {
            for (kind, sum) in sums.iter_mut().enumerate() {
                *sum += self.word(shard, GONE + kind).load(Ordering::Acquire);
                let words = if kind == 3 { REJECTED..REJECTED + 1 } else { kind * RING..(kind + 1) * RING };
                for index in words {
                    *sum += Word(self.word(shard, index).load(Ordering::Acquire)).count();
                }
            }
        }
        let [_, successes, failures, rejections] = sums;
        Tally { successes, failures, rejections }
    }

    fn word(&self, shard: usize, index: usize) -> &AtomicU64 {
        &self.words[shard * STRIDE + index]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Its time was read before that of another thread, which has begun a newer slot since.
    #[test]
    fn a_call_that_is_too_late_for_its_slot_is_counted_all_the_same() {
        let cells = Cells::new(1);
        assert_eq!(cells.count(0, Kind::Success, 5 + SLOTS), Counted::Look);
        assert_eq!(cells.count(0, Kind::Success, 5), Counted::Quietly);
        assert_eq!(cells.counts(5 + SLOTS).total, 1);
        assert_eq!(cells.tally().successes, 2);
    }
}

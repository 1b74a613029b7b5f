use std::time::Duration;

/// How many slots a time window has. The models of loom have two, to be through before the end of the day.
pub(crate) const SLOTS: u64 = if cfg!(loom) { 2 } else { 10 };

/// How far the epochs of two generations are apart: a result of an old generation is older than the window, whatever
/// the skew between the clock readings of two threads (below a thousand slots).
const STRIDE: u64 = 1024;

/// How many calls of which kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) failures: u64,
    pub(crate) slow: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, failed: bool, slow: bool) {
        self.total += 1;
        self.failures += u64::from(failed);
        self.slow += u64::from(slow);
    }

    fn subtract(&mut self, other: Self) {
        self.total -= other.total;
        self.failures -= other.failures;
        self.slow -= other.slow;
    }
}

/// Which slot a moment belongs to. The newest slot is filling, so the window covers between nine tenths and the whole
/// of its length. Epochs only ever grow, through generations and other slot lengths too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slotting {
    pub(crate) slot: u64,
    /// 2^64 / slot, rounded up: a division on the hot path would cost as much as the rest of it.
    pub(crate) reciprocal: u64,
    pub(crate) offset: u64,
}

impl Slotting {
    pub(crate) fn new(window: Duration) -> Self {
        Self::of(window, STRIDE)
    }

    fn of(window: Duration, offset: u64) -> Self {
        // Two at least: the reciprocal of one does not fit.
        let slot = (nanos(window) / SLOTS).max(2);
        Self { slot, reciprocal: (u64::MAX / slot).saturating_add(1), offset }
    }

    #[inline]
    pub(crate) fn epoch(&self, now: u64) -> u64 {
        self.epoch_of(self.index(now))
    }

    /// The number of the slot that `now` is in.
    pub(crate) fn index(&self, now: u64) -> u64 {
        let product = u128::from(now) * u128::from(self.reciprocal);
        let index = (product >> 64) as u64;
        // The reciprocal is rounded up, so the quotient may be one too high, never more for times below 2^63.
        if index.saturating_mul(self.slot) > now { index - 1 } else { index }
    }

    /// Whether `now` is in the slot of this number. Nothing is computed from `now` but a difference: a processor that
    /// expects the answer to be yes need not wait for the clock.
    #[inline]
    pub(crate) fn holds(&self, index: u64, now: u64) -> bool {
        index.checked_mul(self.slot).is_some_and(|start| now.wrapping_sub(start) < self.slot)
    }

    #[inline]
    pub(crate) fn epoch_of(&self, index: u64) -> u64 {
        index.wrapping_add(self.offset) & EPOCH
    }

    /// The same slots, with all that was recorded so far out of the window.
    pub(crate) fn next(self) -> Self {
        Self { offset: self.offset.wrapping_add(STRIDE), ..self }
    }

    /// Other slots from `now` on.
    pub(crate) fn resized(self, window: Duration, now: u64) -> Self {
        let resized = Self::of(window, 0);
        let offset = self.epoch(now).wrapping_add(STRIDE).wrapping_sub(resized.epoch(now));
        Self { offset, ..resized }
    }
}

const COUNT_BITS: u32 = 27;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// Set where even a success has to look at the rates.
pub(crate) const ARMED: u64 = 1 << COUNT_BITS;
const EPOCH_SHIFT: u32 = COUNT_BITS + 1;
const EPOCH: u64 = u64::MAX >> EPOCH_SHIFT;

/// One slot of one kind of call: `epoch 36 | armed 1 | count 27`. A window of 10 s would have to stand still for a
/// thousand years for an old epoch to look like a new one, one of 10 ms for a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

/// What counting one more call does to a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// One more, in the same epoch.
    More { next: u64, armed: bool },
    /// The first one of a new epoch; so many calls of the old one leave.
    Rotates { next: u64, leaving: u64 },
    /// The call is older than the slot, or the slot is full (134 million): it is not in the window.
    Out,
}

impl Word {
    #[inline]
    pub(crate) fn step(self, epoch: u64) -> Step {
        match self.age(epoch) {
            0 if self.count() < COUNT => Step::More { next: self.0 + 1, armed: self.0 & ARMED != 0 },
            1.. => Step::Rotates { next: epoch << EPOCH_SHIFT | 1, leaving: self.count() },
            _ => Step::Out,
        }
    }

    /// Epochs from this word's to `epoch`; negative when the word is newer.
    fn age(self, epoch: u64) -> i64 {
        (epoch.wrapping_sub(self.0 >> EPOCH_SHIFT) << EPOCH_SHIFT) as i64 >> EPOCH_SHIFT
    }

    pub(crate) fn count(self) -> u64 {
        self.0 & COUNT
    }

    /// Whether the window that ends with `epoch` holds this slot. One that is newer is in: another thread's clock
    /// reading was later.
    pub(crate) fn within(self, epoch: u64) -> bool {
        self.age(epoch) < SLOTS as i64
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 1).min(u64::MAX >> 1)
}

/// The last `n` calls, exactly.
#[derive(Debug)]
pub(crate) struct CountWindow {
    ring: Box<[u8]>,
    next: usize,
    counts: Counts,
}

const FAILED: u8 = 1;
const SLOW: u8 = 2;

impl CountWindow {
    /// Boxed: few breakers have one, and there may be many breakers.
    pub(crate) fn boxed(length: u32) -> Box<Self> {
        let ring = vec![0; length as usize].into_boxed_slice();
        Box::new(Self { ring, next: 0, counts: Counts::default() })
    }

    pub(crate) fn add(&mut self, failed: bool, slow: bool) -> Counts {
        let kind = if failed { FAILED } else { 0 } | if slow { SLOW } else { 0 };
        let oldest = std::mem::replace(&mut self.ring[self.next], kind);
        let full = self.counts.total == self.ring.len() as u64;
        if full && !crate::defect::put_back(crate::defect::Defect::WindowNeverEvicts) {
            let mut evicted = Counts::default();
            evicted.add(oldest & FAILED != 0, oldest & SLOW != 0);
            self.counts.subtract(evicted);
        }
        self.counts.add(failed, slow);
        self.next = (self.next + 1) % self.ring.len();
        self.counts
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn clear(&mut self) {
        self.next = 0;
        self.counts = Counts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_whole_quotients_at_every_edge() {
        for window in [1, 7, 1_000, 9_999, 86_400_000_u64].map(Duration::from_millis) {
            let slotting = Slotting { offset: 0, ..Slotting::new(window) };
            for index in [0, 1, 2, 999, 1 << 20] {
                let edge: u64 = slotting.slot * index;
                assert_eq!(slotting.epoch(edge), index);
                assert_eq!(slotting.epoch(edge + slotting.slot - 1), index);
                assert_eq!(slotting.epoch(edge.saturating_sub(1)), index.saturating_sub(1));
                assert!(slotting.holds(index, edge) && slotting.holds(index, edge + slotting.slot - 1));
                assert!(!slotting.holds(index, edge + slotting.slot) && !slotting.holds(index + 1, edge));
                assert!(index == 0 || !slotting.holds(index, edge - 1));
            }
        }
        let longest = Slotting::new(Duration::MAX);
        assert_eq!(longest.epoch(u64::MAX >> 1), longest.epoch(0) + SLOTS);
    }

    #[test]
    fn words_rotate_count_fill_up_and_refuse_what_is_older() {
        let first = match Word(0).step(5) {
            Step::Rotates { next, leaving: 0 } => Word(next),
            other => panic!("{other:?}"),
        };
        assert_eq!(first.step(5), Step::More { next: first.0 + 1, armed: false });
        assert_eq!(Word(first.0 | ARMED).step(5), Step::More { next: (first.0 | ARMED) + 1, armed: true });
        assert_eq!(first.step(4), Step::Out);
        let Step::Rotates { leaving: 1, next } = first.step(15) else { panic!("it does not rotate") };
        assert!(!Word(next).within(15 + SLOTS) && Word(next).within(14 + SLOTS) && Word(next).within(15));
        let full = Word(5 << EPOCH_SHIFT | COUNT);
        assert_eq!((full.step(5), full.count()), (Step::Out, COUNT));
        // Around the end of the epochs.
        let last = Word(EPOCH << EPOCH_SHIFT | 1);
        assert!(matches!(last.step(0), Step::Rotates { leaving: 1, .. }) && last.within(0));
    }

    #[test]
    fn another_generation_or_slot_length_leaves_the_window_behind() {
        let second = Slotting::new(Duration::from_secs(10));
        let now = 3_600_000_000_000;
        let word = Word(second.epoch(now) << EPOCH_SHIFT | 9);
        assert!(word.within(second.epoch(now)));
        for later in [
            second.next(),
            second.resized(Duration::from_secs(1), now),
            second.resized(Duration::from_secs(600), now),
        ] {
            assert!(!word.within(later.epoch(now)) && !word.within(later.epoch(now + 1)));
            assert!(matches!(word.step(later.epoch(now)), Step::Rotates { .. }));
        }
    }
}

use std::time::{Duration, Instant};

const SLOTS: usize = 10;

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

/// The calls of the last so many seconds, in ten slots: the newest is filling, so the window covers between nine
/// tenths and the whole of its length.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    slots: [Counts; SLOTS],
    sum: Counts,
    slot_nanos: u64,
    origin: Instant,
    current: u64,
    /// Nanoseconds from the origin to the end of the current slot.
    edge: u64,
}

impl TimeWindow {
    pub(crate) fn new(length: Duration, now: Instant) -> Self {
        let slot_nanos = (nanos(length) / SLOTS as u64).max(1);
        Self {
            slots: [Counts::default(); SLOTS],
            sum: Counts::default(),
            slot_nanos,
            origin: now,
            current: 0,
            edge: slot_nanos,
        }
    }

    pub(crate) fn add(&mut self, now: Instant, failed: bool, slow: bool) -> Counts {
        self.advance(now);
        self.slots[(self.current % SLOTS as u64) as usize].add(failed, slow);
        self.sum.add(failed, slow);
        self.sum
    }

    pub(crate) fn counts(&mut self, now: Instant) -> Counts {
        self.advance(now);
        self.sum
    }

    /// A clock that goes backwards changes nothing: the sample lands in the newest slot.
    fn advance(&mut self, now: Instant) {
        let elapsed = nanos(now.saturating_duration_since(self.origin));
        if elapsed < self.edge {
            return;
        }
        let index = elapsed / self.slot_nanos;
        if index - self.current >= SLOTS as u64 {
            self.slots = [Counts::default(); SLOTS];
            self.sum = Counts::default();
        } else {
            for passed in self.current + 1..=index {
                let slot = &mut self.slots[(passed % SLOTS as u64) as usize];
                self.sum.subtract(std::mem::take(slot));
            }
        }
        self.current = index;
        self.edge = (index + 1).saturating_mul(self.slot_nanos);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
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
    pub(crate) fn new(length: u32) -> Self {
        Self { ring: vec![0; length as usize].into_boxed_slice(), next: 0, counts: Counts::default() }
    }

    pub(crate) fn add(&mut self, failed: bool, slow: bool) -> Counts {
        let kind = if failed { FAILED } else { 0 } | if slow { SLOW } else { 0 };
        let oldest = std::mem::replace(&mut self.ring[self.next], kind);
        if self.counts.total == self.ring.len() as u64 {
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

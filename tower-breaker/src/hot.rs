//! What lock-free callers of a [`Circuit`](crate::circuit::Circuit) read and, of the failures in a row, write.

use crate::policy::{Machine, Pass, Slotting};
use crate::sync::{AtomicU64, Ordering};

/// What lock-free callers read. Written within the lock only, all but `run`; a reader that finds the same control word
/// before and after has read what belongs to it.
pub(crate) struct Hot {
    control: AtomicU64,
    until: AtomicU64,
    slot: AtomicU64,
    reciprocal: AtomicU64,
    offset: AtomicU64,
    slow: AtomicU64,
    /// Failures in a row: `generation 32 | run 32`.
    run: AtomicU64,
    /// Nobody else's words in this cache line.
    _apart: [u64; 8],
}

/// No call takes that long.
pub(crate) const NEVER: u64 = u64::MAX;

/// The control word: `generation 61 | what may be done without asking 3`.
#[inline]
pub(crate) fn control(generation: u64, pass: Pass) -> u64 {
    generation << 3 | pass as u64
}

#[inline]
pub(crate) fn passes(control: u64, pass: Pass) -> bool {
    control & 7 == pass as u64
}

impl Hot {
    pub(crate) fn new() -> Self {
        let word = |value| AtomicU64::new(value);
        Self {
            control: word(control(0, Pass::Ask)),
            until: word(0),
            slot: word(0),
            reciprocal: word(0),
            offset: word(0),
            slow: word(0),
            run: word(0),
            _apart: [0; 8],
        }
    }

    /// The control word.
    #[inline]
    pub(crate) fn control(&self) -> u64 {
        self.control.load(Ordering::Acquire)
    }

    /// The end of the open period.
    #[inline]
    pub(crate) fn until(&self) -> u64 {
        self.until.load(Ordering::Acquire)
    }

    /// Duration from which on a call is slow; [`NEVER`] when nobody asks.
    #[inline]
    pub(crate) fn slow(&self) -> u64 {
        self.slow.load(Ordering::Acquire)
    }

    /// `generation 32 | failures in a row 32`.
    #[inline]
    pub(crate) fn run_word(&self) -> u64 {
        self.run.load(Ordering::Acquire)
    }

    /// The failures in a row of this generation.
    pub(crate) fn run(&self, generation: u64) -> u32 {
        let word = self.run.load(Ordering::Acquire);
        if word >> 32 == generation & u64::from(u32::MAX) { word as u32 } else { 0 }
    }

    pub(crate) fn prolong_run(&self, generation: u64) {
        let tag = generation << 32;
        let _ = self.run.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let run = if word >> 32 == tag >> 32 { word as u32 } else { 0 };
            Some(tag | u64::from(run.saturating_add(1)))
        });
    }

    pub(crate) fn end_run(&self, generation: u64) {
        let tag = generation << 32;
        let _ = self.run.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word >> 32 == tag >> 32 && word != tag).then_some(tag)
        });
    }

    /// While the settings are written, everybody has to ask.
    pub(crate) fn publish(&self, machine: &Machine) {
        let generation = machine.generation();
        let slotting = machine.slotting();
        self.control.store(control(generation, Pass::Ask), Ordering::Release);
        self.until.store(machine.until(), Ordering::Release);
        self.slot.store(slotting.slot, Ordering::Release);
        self.reciprocal.store(slotting.reciprocal, Ordering::Release);
        self.offset.store(slotting.offset, Ordering::Release);
        self.slow.store(machine.slow(), Ordering::Release);
        self.control.store(control(generation, machine.pass()), Ordering::Release);
    }

    #[inline]
    pub(crate) fn slotting(&self) -> Slotting {
        Slotting {
            slot: self.slot.load(Ordering::Acquire),
            reciprocal: self.reciprocal.load(Ordering::Acquire),
            offset: self.offset.load(Ordering::Acquire),
        }
    }
}

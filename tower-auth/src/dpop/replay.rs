//! Which proofs were used.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Remembers the ids of proofs.
pub trait ReplayStore: Send + Sync + 'static {
    /// Whether this id is seen for the first time; it must be remembered until then. `false` also when it cannot be
    /// remembered, for want of room or of a connection: a proof that may have been used is not accepted.
    fn first(&self, id: [u8; 32], now: SystemTime, until: SystemTime) -> bool;
}

/// A store in memory, of bounded size. When it is full of proofs that could still be used again, new ones are refused:
/// 100,000 entries take about 10 MB and are enough for 1,400 requests a second at the default age and leeway.
pub struct MemoryReplayStore {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ids: HashSet<[u8; 32], foldhash::quality::RandomState>,
    /// The same ids, the first to expire first.
    ends: BinaryHeap<Reverse<(SystemTime, [u8; 32])>>,
    /// When the last one that was forgotten expired. After a clock was put back, proofs up to here are good again by their
    /// time, and nobody knows any more which of them were used.
    forgotten: Option<SystemTime>,
}

impl State {
    fn forget(&mut self, now: SystemTime) {
        while let Some(Reverse((until, id))) = self.ends.peek() {
            if *until >= now {
                return;
            }
            self.ids.remove(id);
            self.forgotten = self.forgotten.max(Some(*until));
            self.ends.pop();
        }
    }
}

impl MemoryReplayStore {
    /// At most so many proofs, at least two.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(2), state: Mutex::default() }
    }
}

impl fmt::Debug for MemoryReplayStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReplayStore").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl ReplayStore for MemoryReplayStore {
    fn first(&self, id: [u8; 32], now: SystemTime, until: SystemTime) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(now);
        let unsure = state.forgotten.is_some_and(|forgotten| until <= forgotten);
        if unsure || state.ids.len() >= self.capacity || !state.ids.insert(id) {
            return false;
        }
        state.ends.push(Reverse((until, id)));
        true
    }
}

//! Which proofs were used.

use std::collections::HashSet;
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
/// 100,000 entries take about 10 MB and are enough for 1,400 requests a second at the default age.
pub struct MemoryReplayStore {
    capacity: usize,
    state: Mutex<State>,
}

/// Two generations: the older one is dropped once the last of its proofs has expired.
#[derive(Default)]
struct State {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    ids: HashSet<[u8; 32], foldhash::quality::RandomState>,
    until: Option<SystemTime>,
}

impl Generation {
    fn is_dead(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| until < now)
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
        let State { young, old } = &mut *state;
        if old.is_dead(now) {
            // Whatever was old is gone; the young become old, and new ones find an empty place.
            old.ids.clear();
            old.until = None;
            std::mem::swap(young, old);
        }
        if young.ids.contains(&id) || old.ids.contains(&id) {
            return false;
        }
        if young.ids.len() + old.ids.len() >= self.capacity {
            return false;
        }
        young.until = young.until.max(Some(until));
        young.ids.insert(id);
        true
    }
}

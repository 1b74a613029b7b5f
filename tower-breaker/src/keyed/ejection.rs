//! Whose refusals count: at most a share of the keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::shelf::Entry;
use crate::policy::{Shelf, State};

/// How often the ejected are looked through for such as have closed again, in milliseconds.
const SWEEP: u64 = 100;

struct Looked(Vec<Arc<Entry>>);

impl Drop for Looked {
    fn drop(&mut self) {
        for entry in &self.0 {
            entry.breaker.tell();
        }
    }
}

pub(crate) struct Ejection {
    policy: Shelf,
    ejected: Mutex<Vec<Arc<Entry>>>,
    swept: AtomicU64,
}

impl Ejection {
    pub(crate) fn new(policy: Shelf) -> Self {
        Self { policy, ejected: Mutex::new(Vec::new()), swept: AtomicU64::new(0) }
    }

    /// Whether the refusal of this entry's breaker counts.
    pub(crate) fn counts(&self, entry: &Arc<Entry>, known: usize, now: u64) -> bool {
        if entry.ejected.load(Ordering::Relaxed) {
            return true;
        }
        // Told of and dropped once the lock is free.
        let mut looked = Looked(Vec::new());
        let mut ejected = self.ejected.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.policy.ejects(ejected.len(), known) {
            if now.saturating_sub(self.swept.load(Ordering::Relaxed)) < SWEEP {
                return false;
            }
            self.swept.store(now, Ordering::Relaxed);
            looked.0 = std::mem::take(&mut *ejected);
            for entry in &looked.0 {
                let state = entry.breaker.glance().state;
                let shut = !matches!(state, State::Closed | State::Disabled | State::MetricsOnly);
                // Nobody else knows it: it was evicted.
                let kept = shut && Arc::strong_count(entry) > 1;
                entry.ejected.store(kept, Ordering::Relaxed);
                if kept {
                    ejected.push(Arc::clone(entry));
                }
            }
            if !self.policy.ejects(ejected.len(), known) {
                return false;
            }
        }
        // Another thread may have been here for the same entry.
        if !entry.ejected.swap(true, Ordering::Relaxed) {
            ejected.push(Arc::clone(entry));
        }
        true
    }
}

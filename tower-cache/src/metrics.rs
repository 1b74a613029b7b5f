//! Counters. Without the `metrics` feature they do nothing.

use crate::outcome::CacheOutcome;
use crate::store::{StoreErrorKind, StoreStatistics};

/// What was to be done with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Lookup,
    Commit,
    Purge,
}

/// What became of a response that may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FillResult {
    /// It was handed to the store, which took it.
    Stored,
    /// It ended too early, or was longer or shorter than it said.
    Abandoned,
    /// It is larger than `max_body`.
    TooLarge,
    /// The store failed, or is being left alone.
    Unstored,
}

#[cfg(feature = "metrics")]
pub(crate) use with::Metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::Metrics;

#[cfg(feature = "metrics")]
mod with {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use metrics::{Counter, Gauge, counter, gauge};

    use super::{CacheOutcome, FillResult, Operation, StoreErrorKind, StoreStatistics};

    /// Handles are made when the first request comes, on its thread, so that a recorder installed until then counts.
    #[derive(Default)]
    pub(crate) struct Metrics {
        handles: OnceLock<Handles>,
        evictions: AtomicU64,
    }

    struct Handles {
        requests: [Counter; CacheOutcome::KINDS],
        failures: [[Counter; 3]; 3],
        fills: [Counter; 4],
        bytes: Gauge,
        evictions: Counter,
    }

    impl Metrics {
        pub(crate) fn resolve(&self) {
            self.handles.get_or_init(Handles::new);
        }

        pub(crate) fn request(&self, outcome: CacheOutcome) {
            if let Some(handles) = self.handles.get() {
                handles.requests[outcome.index()].increment(1);
            }
        }

        pub(crate) fn failure(&self, operation: Operation, kind: StoreErrorKind) {
            if let Some(handles) = self.handles.get() {
                handles.failures[operation as usize][kind as usize].increment(1);
            }
        }

        pub(crate) fn fill(&self, result: FillResult) {
            if let Some(handles) = self.handles.get() {
                handles.fills[result as usize].increment(1);
            }
        }

        pub(crate) fn store(&self, statistics: StoreStatistics) {
            if let Some(handles) = self.handles.get() {
                handles.bytes.set(statistics.bytes as f64);
                let counted = self.evictions.fetch_max(statistics.evictions, Ordering::Relaxed);
                handles.evictions.increment(statistics.evictions.saturating_sub(counted));
            }
        }
    }

    impl Handles {
        fn new() -> Self {
            let failure = |operation: &'static str| {
                ["timeout", "unavailable", "corrupt"]
                    .map(|kind| counter!("tower_cache_store_failures_total", "operation" => operation, "kind" => kind))
            };
            Self {
                requests: CacheOutcome::LABELS
                    .map(|outcome| counter!("tower_cache_requests_total", "outcome" => outcome)),
                failures: ["lookup", "commit", "purge"].map(failure),
                fills: ["stored", "abandoned", "too_large", "unstored"]
                    .map(|outcome| counter!("tower_cache_fills_total", "outcome" => outcome)),
                bytes: gauge!("tower_cache_stored_bytes"),
                evictions: counter!("tower_cache_evictions_total"),
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod without {
    use super::{CacheOutcome, FillResult, Operation, StoreErrorKind, StoreStatistics};

    #[derive(Default)]
    pub(crate) struct Metrics {}

    impl Metrics {
        pub(crate) fn resolve(&self) {}
        pub(crate) fn request(&self, _: CacheOutcome) {}
        pub(crate) fn failure(&self, _: Operation, _: StoreErrorKind) {}
        pub(crate) fn fill(&self, _: FillResult) {}
        pub(crate) fn store(&self, _: StoreStatistics) {}
    }
}

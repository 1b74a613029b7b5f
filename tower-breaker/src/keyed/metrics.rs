//! Counters of families. Without the `metrics` feature they do nothing.

#[cfg(feature = "metrics")]
pub(crate) use with::Metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::Metrics;

#[cfg(feature = "metrics")]
mod with {
    use std::sync::OnceLock;

    use metrics::{Counter, Gauge, counter, gauge};

    use crate::policy::Leaves;

    /// Handles are made when the first call comes, on its thread, so that a recorder installed until then counts.
    #[derive(Default)]
    pub(crate) struct Metrics {
        handles: OnceLock<Handles>,
    }

    struct Handles {
        idle: Counter,
        displaced: Counter,
        overflow: Counter,
        panicked: Counter,
        keys: Gauge,
    }

    impl Metrics {
        pub(crate) fn resolve(&self, name: &str) {
            self.handles.get_or_init(|| {
                let name = name.to_owned();
                let left = |reason: &'static str| {
                    counter!("tower_breaker_key_evictions_total", "breaker" => name.clone(), "reason" => reason)
                };
                Handles {
                    idle: left("idle"),
                    displaced: left("displaced"),
                    overflow: counter!("tower_breaker_overflow_calls_total", "breaker" => name.clone()),
                    panicked: counter!("tower_breaker_panic_calls_total", "breaker" => name.clone()),
                    keys: gauge!("tower_breaker_keys", "breaker" => name.clone()),
                }
            });
        }

        pub(crate) fn left(&self, reason: Leaves, count: usize) {
            if let Some(handles) = self.handles.get() {
                match reason {
                    Leaves::Idle => &handles.idle,
                    Leaves::Displaced => &handles.displaced,
                }
                .increment(count as u64);
            }
        }

        pub(crate) fn keys(&self, known: usize) {
            if let Some(handles) = self.handles.get() {
                handles.keys.set(known as f64);
            }
        }

        pub(crate) fn overflow(&self) {
            if let Some(handles) = self.handles.get() {
                handles.overflow.increment(1);
            }
        }

        pub(crate) fn panicked(&self) {
            if let Some(handles) = self.handles.get() {
                handles.panicked.increment(1);
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod without {
    use crate::policy::Leaves;

    #[derive(Default)]
    pub(crate) struct Metrics {}

    impl Metrics {
        pub(crate) fn resolve(&self, _: &str) {}
        pub(crate) fn left(&self, _: Leaves, _: usize) {}
        pub(crate) fn keys(&self, _: usize) {}
        pub(crate) fn overflow(&self) {}
        pub(crate) fn panicked(&self) {}
    }
}

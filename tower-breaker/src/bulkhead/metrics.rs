//! Counters of bulkheads. Without the `metrics` feature they do nothing.

#[cfg(feature = "metrics")]
pub(crate) use with::Metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::Metrics;

#[cfg(feature = "metrics")]
mod with {
    use std::sync::OnceLock;

    use metrics::{Counter, Gauge, counter, gauge};

    /// Handles are made when the first call comes, on its thread, so that a recorder installed until then counts.
    #[derive(Default)]
    pub(crate) struct Metrics {
        handles: OnceLock<Handles>,
    }

    struct Handles {
        full: Counter,
        timeout: Counter,
        in_use: Gauge,
        waiting: Gauge,
    }

    impl Metrics {
        pub(crate) fn resolve(&self, name: &str) {
            self.handles.get_or_init(|| {
                let rejections = |reason: &'static str| {
                    counter!("tower_breaker_bulkhead_rejections_total", "bulkhead" => name.to_owned(), "reason" => reason)
                };
                Handles {
                    full: rejections("full"),
                    timeout: rejections("timeout"),
                    in_use: gauge!("tower_breaker_bulkhead_calls", "bulkhead" => name.to_owned(), "place" => "slot"),
                    waiting: gauge!("tower_breaker_bulkhead_calls", "bulkhead" => name.to_owned(), "place" => "queue"),
                }
            });
        }

        pub(crate) fn rejected(&self, waited: bool) {
            if let Some(handles) = self.handles.get() {
                if waited { &handles.timeout } else { &handles.full }.increment(1);
            }
        }

        pub(crate) fn in_use(&self, more: f64) {
            if let Some(handles) = self.handles.get() {
                handles.in_use.increment(more);
            }
        }

        pub(crate) fn waiting(&self, more: f64) {
            if let Some(handles) = self.handles.get() {
                handles.waiting.increment(more);
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod without {
    #[derive(Default)]
    pub(crate) struct Metrics {}

    impl Metrics {
        pub(crate) fn resolve(&self, _: &str) {}
        pub(crate) fn rejected(&self, _: bool) {}
        pub(crate) fn in_use(&self, _: f64) {}
        pub(crate) fn waiting(&self, _: f64) {}
    }
}

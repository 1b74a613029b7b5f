//! Counters. Without the `metrics` feature they do nothing.

#[cfg(feature = "metrics")]
pub(crate) use with::Metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::Metrics;

#[cfg(feature = "metrics")]
mod with {
    use std::sync::OnceLock;

    use metrics::{Counter, Gauge, counter, gauge};

    use crate::policy::{Outcome, State};

    const STATES: [State; 6] =
        [State::Closed, State::HalfOpen, State::Open, State::ForcedOpen, State::Disabled, State::MetricsOnly];

    /// Handles are made when the first call comes, on its thread, so that a recorder installed until then counts.
    #[derive(Default)]
    pub(crate) struct Metrics {
        handles: OnceLock<Handles>,
    }

    struct Handles {
        calls: [Counter; 3],
        rejections: Counter,
        transitions: [Counter; 6],
        state: Gauge,
    }

    impl Metrics {
        pub(crate) fn resolve(&self, name: &str) {
            self.handles.get_or_init(|| Handles::new(name));
        }

        pub(crate) fn call(&self, outcome: Outcome) {
            if let Some(handles) = self.handles.get() {
                handles.calls[match outcome {
                    Outcome::Success => 0,
                    Outcome::Failure => 1,
                    Outcome::Ignored => 2,
                }]
                .increment(1);
            }
        }

        pub(crate) fn rejected(&self) {
            if let Some(handles) = self.handles.get() {
                handles.rejections.increment(1);
            }
        }

        pub(crate) fn transition(&self, to: State) {
            if let Some(handles) = self.handles.get() {
                let index = STATES.iter().position(|state| *state == to).unwrap_or_default();
                handles.transitions[index].increment(1);
                handles.state.set(index as f64);
            }
        }
    }

    impl Handles {
        fn new(name: &str) -> Self {
            let name = name.to_owned();
            let calls = |outcome: &'static str| counter!("tower_breaker_calls_total", "breaker" => name.clone(), "outcome" => outcome);
            let transition = |to: State| counter!("tower_breaker_transitions_total", "breaker" => name.clone(), "to" => to.as_str());
            let handles = Self {
                calls: ["success", "failure", "ignored"].map(calls),
                transitions: STATES.map(transition),
                rejections: counter!("tower_breaker_rejections_total", "breaker" => name.clone()),
                state: gauge!("tower_breaker_state", "breaker" => name.clone()),
            };
            handles.state.set(0.0);
            handles
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod without {
    use crate::policy::{Outcome, State};

    #[derive(Default)]
    pub(crate) struct Metrics;

    impl Metrics {
        pub(crate) fn resolve(&self, _: &str) {}
        pub(crate) fn call(&self, _: Outcome) {}
        pub(crate) fn rejected(&self) {}
        pub(crate) fn transition(&self, _: State) {}
    }
}

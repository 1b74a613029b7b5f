//! Counters. Without the `metrics` feature they do nothing.

#[cfg(feature = "metrics")]
pub(crate) use with::Metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::Metrics;

#[cfg(feature = "metrics")]
mod with {
    use std::sync::{Arc, OnceLock};

    use metrics::{Counter, Gauge, counter, gauge};

    use crate::cells::Tally;
    use crate::policy::{Outcome, State};

    const STATES: [State; 6] =
        [State::Closed, State::HalfOpen, State::Open, State::ForcedOpen, State::Disabled, State::MetricsOnly];

    /// Handles are made when the first call comes, on its thread, so that a recorder installed until then counts.
    pub(crate) struct Metrics {
        name: Arc<str>,
        handles: OnceLock<Box<Handles>>,
    }

    struct Handles {
        calls: [Counter; 3],
        rejections: Counter,
        transitions: [Counter; 6],
        state: Gauge,
    }

    impl Metrics {
        pub(crate) fn new(name: &Arc<str>) -> Self {
            Self { name: Arc::clone(name), handles: OnceLock::new() }
        }

        #[inline]
        pub(crate) fn resolve(&self, state: impl FnOnce() -> State) {
            if self.handles.get().is_none() {
                let state = state();
                self.handles.get_or_init(|| {
                    let handles = Handles::new(&self.name);
                    handles.state.set(index(state) as f64);
                    Box::new(handles)
                });
            }
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

        pub(crate) fn gathered(&self, tally: Tally) {
            if let Some(handles) = self.handles.get() {
                handles.calls[0].increment(tally.successes);
                handles.calls[1].increment(tally.failures);
                handles.rejections.increment(tally.rejections);
            }
        }

        pub(crate) fn transition(&self, to: State) {
            if let Some(handles) = self.handles.get() {
                let index = index(to);
                handles.transitions[index].increment(1);
                handles.state.set(index as f64);
            }
        }
    }

    fn index(state: State) -> usize {
        STATES.iter().position(|other| *other == state).unwrap_or_default()
    }

    impl Handles {
        fn new(name: &str) -> Self {
            let name = name.to_owned();
            let calls = |outcome: &'static str| counter!("tower_breaker_calls_total", "breaker" => name.clone(), "outcome" => outcome);
            let transition = |to: State| counter!("tower_breaker_transitions_total", "breaker" => name.clone(), "to" => to.as_str());
            Self {
                calls: ["success", "failure", "ignored"].map(calls),
                transitions: STATES.map(transition),
                rejections: counter!("tower_breaker_rejections_total", "breaker" => name.clone()),
                state: gauge!("tower_breaker_state", "breaker" => name.clone()),
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod without {
    use crate::cells::Tally;
    use crate::policy::{Outcome, State};

    pub(crate) struct Metrics;

    impl Metrics {
        pub(crate) fn new(_: &std::sync::Arc<str>) -> Self {
            Self
        }

        pub(crate) fn resolve(&self, _: impl FnOnce() -> State) {}
        pub(crate) fn call(&self, _: Outcome) {}
        pub(crate) fn gathered(&self, _: Tally) {}
        pub(crate) fn transition(&self, _: State) {}
    }
}

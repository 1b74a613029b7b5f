//! Counters. Without the `metrics` feature they do nothing.

#[cfg(feature = "metrics")]
pub(crate) use with::Metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::Metrics;

#[cfg(feature = "metrics")]
mod with {
    use std::sync::OnceLock;

    use metrics::{Counter, Gauge, counter, gauge};

    use crate::cells::Tally;
    use crate::name::Name;
    use crate::policy::{Outcome, State};

    const STATES: [State; 6] =
        [State::Closed, State::HalfOpen, State::Open, State::ForcedOpen, State::Disabled, State::MetricsOnly];

    /// Handles are made when the first call comes, on its thread, so that a recorder installed until then counts.
    pub(crate) struct Metrics {
        name: Name,
        /// Many breakers share them: what they count adds up, but the state of one is not that of all.
        many: bool,
        handles: OnceLock<Box<Handles>>,
    }

    struct Handles {
        calls: [Counter; 3],
        rejections: Counter,
        transitions: [Counter; 6],
        would_open: Counter,
        state: Option<Gauge>,
    }

    impl Metrics {
        pub(crate) fn new(name: &Name, many: bool) -> Self {
            Self { name: name.clone(), many, handles: OnceLock::new() }
        }

        /// There is no gauge of the state, in which the order of transitions would show.
        pub(crate) fn many(&self) -> bool {
            self.many
        }

        #[inline]
        pub(crate) fn resolve(&self, state: impl FnOnce() -> State) {
            if self.handles.get().is_none() {
                // Made outside of the cell: a recorder may use the breaker too. Should two threads come first, both have
                // the same handles.
                let handles = Handles::new(&self.name, self.many);
                handles.stands(index(state()));
                let _ = self.handles.set(Box::new(handles));
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
                handles.stands(index);
            }
        }

        pub(crate) fn would_open(&self) {
            if let Some(handles) = self.handles.get() {
                handles.would_open.increment(1);
            }
        }
    }

    fn index(state: State) -> usize {
        STATES.iter().position(|other| *other == state).unwrap_or_default()
    }

    impl Handles {
        fn new(name: &str, many: bool) -> Self {
            let name = name.to_owned();
            let calls = |outcome: &'static str| counter!("tower_breaker_calls_total", "breaker" => name.clone(), "outcome" => outcome);
            let transition = |to: State| counter!("tower_breaker_transitions_total", "breaker" => name.clone(), "to" => to.as_str());
            Self {
                calls: ["success", "failure", "ignored"].map(calls),
                transitions: STATES.map(transition),
                rejections: counter!("tower_breaker_rejections_total", "breaker" => name.clone()),
                would_open: counter!("tower_breaker_would_open_total", "breaker" => name.clone()),
                state: (!many).then(|| gauge!("tower_breaker_state", "breaker" => name.clone())),
            }
        }

        fn stands(&self, index: usize) {
            if let Some(gauge) = &self.state {
                gauge.set(index as f64);
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
        pub(crate) fn new(_: &crate::name::Name, _: bool) -> Self {
            Self
        }

        pub(crate) fn many(&self) -> bool {
            true
        }

        pub(crate) fn resolve(&self, _: impl FnOnce() -> State) {}
        pub(crate) fn call(&self, _: Outcome) {}
        pub(crate) fn gathered(&self, _: Tally) {}
        pub(crate) fn transition(&self, _: State) {}
        pub(crate) fn would_open(&self) {}
    }
}

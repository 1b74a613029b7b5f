//! Who hears of what a [`Circuit`](crate::circuit::Circuit) does, and what is noted for it within the lock.

use crate::cells::Tally;
use crate::policy::{Outcome, State};

/// Hears what happens. What others have written (wakers, recorders, subscribers, handlers) may use the breaker, so none
/// of it runs within the lock: what has an order is noted there, and told when the lock is free.
pub(crate) trait Observer {
    /// Within the lock: the breaker has changed its state. Whether it is only counted, for which the order does not
    /// matter: then [`moved`](Self::moved) is called once the lock is free.
    fn changed(&self, from: State, to: State) -> bool;
    /// The breaker has changed to this state, and nobody else hears of it.
    fn moved(&self, to: State);
    /// Within the lock: it would have opened, were it not for metrics-only.
    fn crossed(&self);
    /// The lock is free: the moment to tell of changes.
    fn told(&self);
    /// A refused call might pass now, or one that would have passed is refused.
    fn freed(&self);
    /// What was counted without the lock since the last time.
    fn gathered(&self, tally: Tally);
    /// A call that was counted nowhere else: ignored, late, or a probe.
    fn finished(&self, outcome: Outcome);
}

const STATES: [State; 6] =
    [State::Closed, State::HalfOpen, State::Open, State::ForcedOpen, State::Disabled, State::MetricsOnly];

/// What needs no order among threads.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) gathered: Tally,
    pub(crate) finished: Option<Outcome>,
    /// How often into each of [`STATES`].
    moved: [u8; 6],
    pub(crate) freed: bool,
}

impl Notes {
    /// It has changed to this state, which is only counted.
    pub(crate) fn moved_to(&mut self, state: State) {
        let index = STATES.iter().position(|other| *other == state).unwrap_or_default();
        self.moved[index] = self.moved[index].saturating_add(1);
    }

    pub(crate) fn tell(self, observer: &impl Observer) {
        if self.gathered != Tally::default() {
            observer.gathered(self.gathered);
        }
        if let Some(outcome) = self.finished {
            observer.finished(outcome);
        }
        for (to, times) in STATES.into_iter().zip(self.moved) {
            (0..times).for_each(|_| observer.moved(to));
        }
        observer.told();
        if self.freed {
            observer.freed();
        }
    }
}

//! Where a call is counted, and who hears of what the breaker does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::cells::{Place, Tally};
use crate::circuit::{Circuit, Observer};
use crate::clock::{Reader, Stamp};
use crate::events::{Event, Events};
use crate::metrics::Metrics;
use crate::name::Name;
use crate::permit::UNANSWERED;
use crate::policy::{Admission, CancelPolicy, Outcome, State, Verdict};

/// What a permit holds. The count of who holds it is the only word that every call of the shard writes besides the
/// window's: with one count for all threads, that alone would be most of what a call costs. Aligned, so that the count
/// has a cache line of its own.
#[repr(align(64))]
pub(crate) struct Seat {
    pub(crate) circuit: Arc<Circuit<Shell>>,
    pub(crate) place: Place,
}

/// What stands around the machine: everybody who hears of it. Made when somebody asks, for a breaker may be one of many.
pub(crate) struct Shell {
    pub(crate) name: Name,
    pub(crate) reader: Reader,
    states: OnceLock<watch::Sender<State>>,
    /// Wakes those who wait for another answer: at every transition, whenever a probe slot comes back and when the last
    /// is taken.
    gate: OnceLock<watch::Sender<()>>,
    events: OnceLock<Arc<Events>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Shell {
    pub(crate) fn new(name: Name, reader: Reader, metrics: Arc<Metrics>) -> Self {
        let (states, gate, events) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { name, reader, states, gate, events, metrics }
    }

    pub(crate) fn states(&self, state: State) -> watch::Receiver<State> {
        self.states.get_or_init(|| watch::Sender::new(state)).subscribe()
    }

    pub(crate) fn gate(&self) -> watch::Receiver<()> {
        self.gate.get_or_init(|| watch::Sender::new(())).subscribe()
    }

    pub(crate) fn events(&self) -> &Arc<Events> {
        self.events.get_or_init(Arc::default)
    }

    /// Everybody but the handlers.
    fn tell(&self, event: Event) {
        match event {
            Event::Transition { from: _from, to } => {
                if let Some(states) = self.states.get() {
                    states.send_replace(to);
                }
                self.metrics.transition(to);
                #[cfg(feature = "tracing")]
                tracing::info!(breaker = &*self.name, from = %_from, %to, "circuit breaker changed");
            }
            Event::WouldOpen => {
                self.metrics.would_open();
                #[cfg(feature = "tracing")]
                tracing::info!(breaker = &*self.name, "circuit breaker would open");
            }
        }
    }
}

impl Observer for Shell {
    fn changed(&self, from: State, to: State) -> bool {
        // Of many breakers, few have anybody who listens: no queue is made for those that have not.
        let counted = self.metrics.many() && self.events.get().is_none() && self.states.get().is_none();
        if !counted {
            self.events().push(Event::Transition { from, to });
        }
        counted
    }

    fn moved(&self, to: State) {
        self.metrics.transition(to);
        #[cfg(feature = "tracing")]
        tracing::info!(breaker = &*self.name, %to, "circuit breaker changed");
    }

    fn crossed(&self) {
        self.events().push(Event::WouldOpen);
    }

    fn told(&self) {
        if let Some(events) = self.events.get() {
            events.deliver(|event| self.tell(event));
        }
    }

    fn freed(&self) {
        if let Some(gate) = self.gate.get() {
            gate.send_replace(());
        }
    }

    fn gathered(&self, tally: Tally) {
        self.metrics.gathered(tally);
    }

    fn finished(&self, outcome: Outcome) {
        self.metrics.call(outcome);
    }
}

impl Seat {
    pub(crate) fn new(circuit: &Arc<Circuit<Shell>>, shard: usize) -> Self {
        Self { circuit: Arc::clone(circuit), place: Place::new(shard) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.circuit.observer.name
    }

    #[inline]
    pub(crate) fn reader(&self) -> &Reader {
        &self.circuit.observer.reader
    }

    pub(crate) fn cancel_policy(&self) -> CancelPolicy {
        self.circuit.read(self.reader().now(), |machine, _| machine.config().cancel)
    }

    pub(crate) fn age(&self, started: Stamp) -> Duration {
        Duration::from_nanos(self.took(started, self.reader().now()))
    }

    fn took(&self, started: Stamp, now: u64) -> u64 {
        now.saturating_sub(self.reader().since(started))
    }

    /// A success where nothing else is to be done about it than to count it.
    #[inline]
    pub(crate) fn record(&self, admission: Admission, verdict: Verdict, started: Stamp, took: u64) {
        let now = self.reader().now();
        let took = || if took == UNANSWERED { self.took(started, now) } else { took };
        let success = verdict.outcome() == Outcome::Success;
        if !(success && self.circuit.succeed(&self.place, admission.generation, now, took)) {
            self.tell(admission, verdict, now, took());
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(&self, admission: Admission, verdict: Verdict, now: u64, took: u64) {
        self.circuit.tell(&self.place, admission, verdict, now, took);
    }

    /// What the call took so far, unless nobody will ask.
    pub(crate) fn answered(&self, admission: Admission, started: Stamp) -> u64 {
        if admission.probe.is_none() && !self.circuit.times() {
            return UNANSWERED;
        }
        let now = self.reader().now();
        self.circuit.answered(admission, now);
        self.took(started, now)
    }
}

/// Shards of a breaker that is not one of many: a power of two, no fewer than there are processors.
pub(crate) fn shards() -> usize {
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, usize::from).next_power_of_two().min(MAX_SHARDS)
    })
}

const MAX_SHARDS: usize = 16;

/// A number of this thread; neighbours have different shards.
#[inline]
pub(crate) fn thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

//! A door for the models of loom, which exists under `cfg(loom)` only: the shipped [`Circuit`], with time passed in.
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "not public")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cells::{Place, Tally};
use crate::circuit::{Circuit, Observer};
use crate::policy::{Admission, Outcome, State, Verdict};

/// Counts what it hears. Its words are not loom's: they are no part of what is modelled.
#[derive(Default)]
pub struct Heard {
    pub opened: AtomicU64,
    pub half_opened: AtomicU64,
    pub closed: AtomicU64,
    pub successes: AtomicU64,
    pub failures: AtomicU64,
    pub rejections: AtomicU64,
    pub others: AtomicU64,
}

struct Listener(Arc<Heard>);

impl Observer for Listener {
    fn changed(&self, from: State, to: State) -> bool {
        assert_ne!(from, to, "a transition to itself");
        let word = match to {
            State::Open => &self.0.opened,
            State::HalfOpen => &self.0.half_opened,
            _ => &self.0.closed,
        };
        word.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn moved(&self, _: State) {}

    fn crossed(&self) {}

    fn freed(&self) {}

    fn gathered(&self, tally: Tally) {
        self.0.successes.fetch_add(tally.successes, Ordering::Relaxed);
        self.0.failures.fetch_add(tally.failures, Ordering::Relaxed);
        self.0.rejections.fetch_add(tally.rejections, Ordering::Relaxed);
    }

    fn finished(&self, _: Outcome) {
        self.0.others.fetch_add(1, Ordering::Relaxed);
    }

    fn told(&self) {}
}

/// A breaker of two shards, with seconds for time.
pub struct Model {
    circuit: Circuit<Listener>,
    places: [Place; 2],
    pub heard: Arc<Heard>,
}

/// A permit that says nothing when it is dropped.
#[derive(Clone, Copy)]
pub struct Ticket(Admission);

impl Ticket {
    pub fn is_probe(self) -> bool {
        self.0.probe.is_some()
    }
}

fn nanos(seconds: u64) -> u64 {
    seconds * 1_000_000_000
}

impl Model {
    /// # Panics
    ///
    /// Never with settings that can be built.
    pub fn new(settings: &crate::BreakerBuilder) -> Self {
        let heard = Arc::new(Heard::default());
        let config = settings.config().unwrap_or_else(|error| panic!("{error}"));
        let circuit = Circuit::new(Arc::new(config), 7, 2, 0, Listener(Arc::clone(&heard)));
        Self { circuit, places: [0, 1].map(Place::new), heard }
    }

    pub fn admit(&self, shard: usize, at: u64) -> Option<Ticket> {
        self.circuit.admit(&self.places[shard], nanos(at)).ok().map(Ticket)
    }

    pub fn record(&self, shard: usize, ticket: Ticket, verdict: Verdict, at: u64) {
        self.circuit.record(&self.places[shard], ticket.0, verdict, nanos(at), 0);
    }

    pub fn force(&self, state: State, at: u64) {
        self.circuit.force(state, nanos(at));
    }

    /// State, generation, calls and failures in the window; the listener has heard all.
    pub fn look(&self, at: u64) -> (State, u64, u64, u64) {
        self.circuit.read(nanos(at), |machine, counts| {
            (machine.state(), machine.generation(), counts.total, counts.failures)
        })
    }
}

/// For models: the window's length in seconds is twice the slot's.
pub const SECOND: Duration = Duration::from_secs(1);

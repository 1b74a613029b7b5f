use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::builder::BreakerBuilder;
use crate::classify::{Classify, ErrorIsFailure};
use crate::error::{Error, RejectReason, Rejected};
use crate::metrics::Metrics;
use crate::permit::Permit;
use crate::policy::{Admission, CancelPolicy, Config, Machine, Recorded, Refusal, State, Verdict};

/// A circuit breaker: the handle everything that guards one upstream shares. Clones are cheap and are the same breaker.
///
/// ```
/// # async fn query() -> Result<u32, std::io::Error> { Ok(7) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_breaker::Breaker;
///
/// let breaker = Breaker::builder("database").build()?;
/// let rows = breaker.call(query()).await?;
/// # assert_eq!(rows, 7);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Breaker {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    cancel: CancelPolicy,
    machine: Mutex<Machine>,
    /// Twice the generation, plus one while every call passes: a closed breaker admits without the lock. Who reads it
    /// just before a transition holds the old generation, and so a result that no longer counts.
    passing: AtomicU64,
    states: watch::Sender<State>,
    /// Wakes those who wait in gate mode: at every transition and whenever a probe slot comes back.
    gate: watch::Sender<()>,
    metrics: Metrics,
}

/// What a breaker has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Where it stands.
    pub state: State,
    /// Calls in the window; finished probes while half open.
    pub calls: u64,
    /// Failures among them.
    pub failures: u64,
    /// Slow ones among them.
    pub slow: u64,
    /// Transitions so far.
    pub generation: u64,
    /// Time until a call may pass; `None` when one may pass now, or when the breaker was opened by hand.
    pub retry_after: Option<Duration>,
}

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Breaker {
    /// Starts the settings of a breaker. The name is the label of its metrics and part of its rejections: take it from
    /// a closed set (an upstream, an endpoint of the configuration), never from a request.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> BreakerBuilder {
        BreakerBuilder::new(name.into())
    }

    pub(crate) fn new(name: &str, config: Config) -> Self {
        // Keys differ in every state: randomness enough for jitter, without a dependency.
        let seed = RandomState::new().hash_one(name);
        let cancel = config.cancel;
        let machine = Machine::new(config, seed, now());
        Self {
            shared: Arc::new(Shared {
                name: Arc::from(name),
                cancel,
                passing: AtomicU64::new(passing(&machine)),
                machine: Mutex::new(machine),
                states: watch::Sender::new(State::Closed),
                gate: watch::Sender::new(()),
                metrics: Metrics::default(),
            }),
        }
    }

    /// The name given to the builder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where the breaker stands. An open period that is over still reads [`State::Open`] until a call comes and probes.
    #[must_use]
    pub fn state(&self) -> State {
        self.change(now(), |machine, now| {
            machine.settle(now);
            machine.state()
        })
    }

    /// State and counts of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.change(now(), |machine, now| {
            let refusal = machine.refusal(now);
            let counts = machine.counts(now);
            Snapshot {
                state: machine.state(),
                calls: counts.total,
                failures: counts.failures,
                slow: counts.slow,
                generation: machine.generation(),
                retry_after: refusal.and_then(wait_of),
            }
        })
    }

    /// The state as a value to watch; every transition is seen, unless another follows before the receiver looks.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.shared.states.subscribe()
    }

    /// Rejects every call until another of these methods is called.
    pub fn force_open(&self) {
        self.force(State::ForcedOpen);
    }

    /// Closes the breaker and clears its windows.
    pub fn force_close(&self) {
        self.force(State::Closed);
    }

    /// Lets every call pass and counts nothing, until another of these methods is called.
    pub fn disable(&self) {
        self.force(State::Disabled);
    }

    /// Lets every call pass and counts, without ever opening: to see what a breaker would be told before it acts.
    pub fn metrics_only(&self) {
        self.force(State::MetricsOnly);
    }

    /// Back to how the breaker was built: closed, nothing seen, the open period at its start.
    pub fn reset(&self) {
        self.force(State::Closed);
    }

    /// Asks for one call. The permit is told the outcome; when it is dropped untold, that is a cancelled call (or a
    /// failed one while panicking).
    ///
    /// # Errors
    ///
    /// [`Rejected`] when the call may not be made.
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        self.shared.metrics.resolve(&self.shared.name);
        let started = now();
        let control = self.shared.passing.load(Ordering::Acquire);
        let admission = if control & 1 == 1 {
            Admission { generation: control >> 1, probe: None }
        } else {
            match self.change(started, Machine::admit) {
                Ok(admission) => admission,
                Err(refusal) => return Err(self.rejected(refusal)),
            }
        };
        Ok(Permit::new(self.clone(), admission, started))
    }

    /// Guards a future that is no tower service, a database query for instance: `Ok` is a success, `Err` a failure.
    /// Admission is decided when the future is first polled.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] when the call may not be made; else the future's own error as [`Error::Inner`].
    pub async fn call<F, T, E>(&self, future: F) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.call_with(ErrorIsFailure, future).await
    }

    /// [`call`](Self::call) with a say in what is a failure.
    ///
    /// # Errors
    ///
    /// As those of [`call`](Self::call).
    pub async fn call_with<C, F, T, E>(&self, classify: C, future: F) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
        F: Future<Output = Result<T, E>>,
    {
        let permit = self.try_acquire().map_err(Error::Rejected)?;
        let result = future.await;
        permit.record(classify.classify(result.as_ref()));
        result.map_err(Error::Inner)
    }

    pub(crate) fn rejected(&self, refusal: Refusal) -> Rejected {
        self.shared.metrics.resolve(&self.shared.name);
        self.shared.metrics.rejected();
        let reason = match refusal {
            Refusal::Open { .. } => RejectReason::Open,
            Refusal::ProbesTaken { .. } => RejectReason::ProbesTaken,
            Refusal::Forced => RejectReason::ForcedOpen,
        };
        Rejected::new(self.shared.name.clone(), reason, wait_of(refusal))
    }

    /// Why a call would not pass now.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        if self.shared.passing.load(Ordering::Acquire) & 1 == 1 {
            return None;
        }
        self.change(now(), Machine::refusal)
    }

    /// Changes whenever a refused call might pass.
    pub(crate) fn gate(&self) -> watch::Receiver<()> {
        self.shared.gate.subscribe()
    }

    pub(crate) fn cancel_policy(&self) -> CancelPolicy {
        self.shared.cancel
    }

    pub(crate) fn answered(&self, admission: Admission) {
        if admission.probe.is_some() {
            self.change(now(), |machine, _| machine.answered(admission));
        }
    }

    pub(crate) fn record(&self, admission: Admission, verdict: Verdict, started: Instant) {
        let now = now();
        let elapsed = now.saturating_duration_since(started);
        let recorded = self.change(now, |machine, now| machine.record(now, admission, verdict, elapsed));
        if recorded != Recorded::Off {
            self.shared.metrics.call(verdict.outcome());
        }
        if admission.probe.is_some() {
            self.shared.gate.send_replace(());
        }
    }

    fn force(&self, state: State) {
        self.change(now(), |machine, now| machine.force(state, now));
    }

    /// Runs a step of the machine and tells everybody when it led to another state.
    fn change<T>(&self, now: Instant, step: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let mut machine = self.lock();
        let (before, generation) = (machine.state(), machine.generation());
        let result = step(&mut machine, now);
        if machine.generation() != generation {
            self.shared.passing.store(passing(&machine), Ordering::Release);
            let state = machine.state();
            if state != before {
                // Within the lock, so that nobody hears of two transitions in the wrong order.
                self.shared.states.send_replace(state);
                self.shared.metrics.transition(state);
                #[cfg(feature = "tracing")]
                tracing::info!(breaker = &*self.shared.name, from = %before, to = %state, "circuit breaker changed");
            }
            self.shared.gate.send_replace(());
        }
        result
    }

    /// No step of the machine runs foreign code, so a poisoned lock still holds a whole machine.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.shared.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.shared.name)
            .field("state", &*self.shared.states.borrow())
            .finish_non_exhaustive()
    }
}

fn passing(machine: &Machine) -> u64 {
    machine.generation() << 1 | u64::from(machine.passes_all())
}

pub(crate) fn wait_of(refusal: Refusal) -> Option<Duration> {
    match refusal {
        Refusal::Open { wait } | Refusal::ProbesTaken { wait } => Some(wait),
        Refusal::Forced => None,
    }
}

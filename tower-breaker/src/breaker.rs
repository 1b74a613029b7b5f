use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::builder::BreakerBuilder;
use crate::circuit::{Circuit, Glance, wait};
use crate::classify::{Classify, ErrorIsFailure};
pub(crate) use crate::clock::now;
use crate::clock::{Clock, Reader};
use crate::defect::{Defect, put_back};
use crate::error::{ConfigError, Error, RejectReason, Rejected};
use crate::events::{Event, Subscription};
use crate::metrics::Metrics;
use crate::name::Name;
use crate::permit::Permit;
use crate::policy::{Config, Refusal, State};
use crate::seat::{Seat, Shell, shards, thread};

/// The longest time that a timer is set for at once.
const LONGEST: Duration = Duration::from_secs(3600);

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
pub struct Breaker {
    family: Arc<Family>,
}

impl Clone for Breaker {
    fn clone(&self) -> Self {
        if put_back(Defect::ClonesApart) {
            let config = self.circuit().read(self.now(), |machine, _| machine.config().clone());
            return Self::new(self.shell().name.clone(), config, Clock::default());
        }
        Self { family: Arc::clone(&self.family) }
    }
}

/// One breaker with its seats, one per shard.
struct Family {
    /// Not by way of a seat: its count is another thread's to write.
    circuit: Arc<Circuit<Shell>>,
    seats: Box<[Arc<Seat>]>,
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
    /// Grows with every transition, and with every change of the settings but while half open.
    pub generation: u64,
    /// Time until a call may pass; `None` when one may pass now, or when the breaker was opened by hand.
    pub retry_after: Option<Duration>,
}

/// The settings of many breakers: they share them, and their metrics, under one name.
#[derive(Clone)]
pub(crate) struct Template {
    config: Arc<Config>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Template {
    /// `name` is the label of the metrics; whether there will be many of them.
    pub(crate) fn new(name: &Name, many: bool, config: Config, clock: Clock) -> Self {
        Self { config: Arc::new(config), clock, metrics: Arc::new(Metrics::new(name, many)) }
    }

    /// A breaker of its own with one shard, which is as small as it gets.
    pub(crate) fn single(&self, name: Name) -> Breaker {
        self.breaker(name, 1)
    }

    fn breaker(&self, name: Name, shards: usize) -> Breaker {
        // Keys differ in every state: randomness enough for jitter, without a dependency.
        let seed = RandomState::new().hash_one(&*name);
        let reader = Reader::new(self.clock);
        let shell = Shell::new(name, reader, Arc::clone(&self.metrics));
        let circuit = Arc::new(Circuit::new(Arc::clone(&self.config), seed, shards, reader.now(), shell));
        let seat = |shard| Arc::new(Seat::new(&circuit, shard));
        let seats = (0..circuit.shards()).map(seat).collect();
        Breaker { family: Arc::new(Family { circuit, seats }) }
    }
}

impl Breaker {
    /// Starts the settings of a breaker. The name is the label of its metrics and part of its rejections: take it from
    /// a closed set (an upstream, an endpoint of the configuration), never from a request.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> BreakerBuilder {
        BreakerBuilder::new(name.into())
    }

    pub(crate) fn new(name: Name, config: Config, clock: Clock) -> Self {
        Template::new(&name, false, config, clock).breaker(name, shards())
    }

    #[inline]
    fn circuit(&self) -> &Circuit<Shell> {
        &self.family.circuit
    }

    #[inline]
    fn shell(&self) -> &Shell {
        &self.circuit().observer
    }

    #[inline]
    fn now(&self) -> u64 {
        self.shell().reader.now()
    }

    #[inline]
    fn seat(&self) -> &Arc<Seat> {
        let seats = &self.family.seats;
        &seats[if seats.len() == 1 { 0 } else { thread() & (seats.len() - 1) }]
    }

    /// The name given to the builder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shell().name
    }

    /// Where the breaker stands. An open period that is over still reads [`State::Open`] until a call comes and probes.
    #[must_use]
    pub fn state(&self) -> State {
        self.circuit().read(self.now(), |machine, _| machine.state())
    }

    /// State and counts of this moment. The metrics are brought up to date on the way.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let now = self.now();
        self.circuit().read(now, |machine, counts| Snapshot {
            calls: counts.total,
            failures: counts.failures,
            slow: counts.slow,
            retry_after: machine.refusal(now).and_then(wait_of),
            state: machine.state(),
            generation: machine.generation(),
        })
    }

    /// The state as a value to watch; every transition is seen, unless another follows before the receiver looks. Where
    /// none may be missed, see [`on_event`](Self::on_event).
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.circuit().read(self.now(), |machine, _| self.shell().states(machine.state()))
    }

    /// Calls `handler` with everything this breaker does from now on, in order, on the thread on which it happens and
    /// without any lock: it may use the breaker, and should be quick. Should it panic, the call that led to the event
    /// and the other handlers go on. It stays until [`Subscription::remove`].
    pub fn on_event(&self, handler: impl Fn(Event) + Send + Sync + 'static) -> Subscription {
        self.shell().events().add(handler)
    }

    /// Moves with time alone: the returned future ends open periods (and leases, and probe phases) when their time has
    /// come, also while nobody calls, so that watchers and handlers hear of it. Optional: without it, an open period
    /// ends with the first call after it. Spawn it once per breaker; it ends when the last other handle is gone, and
    /// whatever changes the breaker by hand makes it start anew.
    pub fn timed_transitions(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut changes = self.gate();
        let circuit = Arc::downgrade(&self.family.circuit);
        async move {
            loop {
                let Some(next) = circuit.upgrade().map(|circuit| {
                    changes.mark_unchanged();
                    let now = circuit.observer.reader.now();
                    circuit.tick(now, true).map(|deadline| wait(deadline, now))
                }) else {
                    return;
                };
                let changed = changes.changed();
                let gone = match next {
                    // A deadline that is past was met by the tick, up to the rounding of timers.
                    Some(wait) => {
                        let wait = wait.clamp(Duration::from_millis(1), LONGEST);
                        tokio::time::timeout(wait, changed).await.is_ok_and(|changed| changed.is_err())
                    }
                    None => changed.await.is_err(),
                };
                if gone {
                    return;
                }
            }
        }
    }

    /// Other settings from now on, all of them: what the builder does not name gets its default. The state stays, the
    /// windows start anew, and results of calls that are under way are not counted any more, but for probes. An open
    /// period that has begun keeps its length. Name and clock stay what they were.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] as from [`BreakerBuilder::build`]; nothing is changed then.
    pub fn reconfigure(&self, settings: &BreakerBuilder) -> Result<(), ConfigError> {
        let config = settings.config()?;
        self.circuit().reconfigure(Arc::new(config), self.now());
        Ok(())
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
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        match self.acquire_at_once() {
            Some(permit) => Ok(permit),
            None => self.ask(),
        }
    }

    /// A permit, where every call passes. Inlined, for to move a permit costs more than to count the call.
    #[inline(always)]
    pub(crate) fn acquire_at_once(&self) -> Option<Permit> {
        let seat = self.seat();
        let circuit = &*seat.circuit;
        circuit.observer.metrics.resolve(|| self.state());
        let admission = circuit.admit_at_once()?;
        Some(Permit::new(Arc::clone(seat), admission, circuit.observer.reader.stamp()))
    }

    #[cold]
    #[inline(never)]
    fn ask(&self) -> Result<Permit, Rejected> {
        let (seat, stamp) = (self.seat(), self.shell().reader.stamp());
        match seat.circuit.admit(&seat.place, self.shell().reader.since(stamp)) {
            Ok(admission) => Ok(Permit::new(Arc::clone(seat), admission, stamp)),
            Err(refusal) => Err(rejection(&self.shell().name, refusal)),
        }
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

    /// Rejects a call whatever the state.
    pub(crate) fn refuse(&self) -> Rejected {
        let mut at = None;
        let refusal = self.circuit().refusal(|| *at.insert(self.now()));
        self.count_rejection(at.unwrap_or_else(|| self.now()));
        rejection(&self.shell().name, refusal.unwrap_or(Refusal::Open { wait: Duration::ZERO }))
    }

    /// The rejection that was decided outside.
    #[inline(always)]
    pub(crate) fn reject(&self, shut: Shut) -> Rejected {
        self.count_rejection(shut.at);
        Rejected::open(self.shell().name.clone(), shut.wait)
    }

    #[inline]
    fn count_rejection(&self, at: u64) {
        let seat = self.seat();
        self.shell().metrics.resolve(|| self.state());
        seat.circuit.refused(&seat.place, at);
    }

    /// Whether every call passes at this moment: the answer that costs next to nothing.
    #[inline]
    pub(crate) fn passes(&self) -> bool {
        self.circuit().passes()
    }

    /// Whether it is certain that the open period lasts.
    #[inline]
    pub(crate) fn shut(&self) -> Option<Shut> {
        let mut at = 0;
        let wait = self.circuit().shut(|| {
            at = self.now();
            at
        })?;
        Some(Shut { wait, at })
    }

    /// Why a call would not pass now.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.circuit().refusal(|| self.now())
    }

    /// How long until time alone changes something about calls that pass.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        if self.passes() {
            return None;
        }
        let now = self.now();
        self.circuit().tick(now, false).filter(|deadline| *deadline > now).map(|deadline| wait(deadline, now))
    }

    /// What a registry wants to know; nothing is told of it before [`tell`](Self::tell).
    pub(crate) fn glance(&self) -> Glance {
        self.circuit().glance(self.now())
    }

    pub(crate) fn tell(&self) {
        self.circuit().gather();
    }

    /// Changes whenever a refused call might pass, and whenever one that would have passed is refused.
    pub(crate) fn gate(&self) -> watch::Receiver<()> {
        self.shell().gate()
    }

    fn force(&self, state: State) {
        self.circuit().force(state, self.now());
    }
}

/// An open period that lasts `wait` nanoseconds longer, seen at that time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shut {
    wait: u64,
    at: u64,
}

fn rejection(name: &Name, refusal: Refusal) -> Rejected {
    let reason = match refusal {
        Refusal::Open { .. } => RejectReason::Open,
        Refusal::ProbesTaken { .. } => RejectReason::ProbesTaken,
        Refusal::Ramping { .. } => RejectReason::Ramping,
        Refusal::Forced => RejectReason::ForcedOpen,
    };
    Rejected::new(name.clone(), reason, wait_of(refusal))
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.shell().name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// How long a call has to wait before it may pass.
pub(crate) fn wait_of(refusal: Refusal) -> Option<Duration> {
    match refusal {
        Refusal::Open { wait } | Refusal::ProbesTaken { wait } | Refusal::Ramping { wait } => Some(wait),
        Refusal::Forced => None,
    }
}

//! The state of a breaker between threads. What most calls do takes no lock: one word says whether they may pass, and
//! their results go into [`Cells`]. Everything else is a step of the [`Machine`], behind its lock.

use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::cells::{Cells, Counted, Kind, Place, Tally};
use crate::defect::{Defect, put_back};
use crate::policy::{
    Admission, After, Config, Counts, Machine, Outcome, Pass, Refusal, Slotting, State, Verdict,
};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

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
    /// A refused call might pass now.
    fn freed(&self);
    /// What was counted without the lock since the last time.
    fn gathered(&self, tally: Tally);
    /// A call that was counted nowhere else: ignored, late, or a probe.
    fn finished(&self, outcome: Outcome);
}

pub(crate) struct Circuit<O: Observer> {
    hot: Hot,
    cells: Cells,
    machine: Mutex<Guarded>,
    pub(crate) observer: O,
}

struct Guarded {
    machine: Machine,
    /// What the observer has heard of.
    reported: Tally,
    /// Successes ask for a look.
    armed: bool,
    /// What is to be told once the lock is free.
    notes: Notes,
}

const STATES: [State; 6] =
    [State::Closed, State::HalfOpen, State::Open, State::ForcedOpen, State::Disabled, State::MetricsOnly];

/// What needs no order among threads.
#[derive(Default)]
struct Notes {
    gathered: Tally,
    finished: Option<Outcome>,
    /// How often into each of [`STATES`].
    moved: [u8; 6],
    freed: bool,
}

impl Notes {
    fn tell(self, observer: &impl Observer) {
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

/// What lock-free callers read. Written within the lock only, all but `run`; a reader that finds the same control word
/// before and after has read what belongs to it.
struct Hot {
    control: AtomicU64,
    until: AtomicU64,
    slot: AtomicU64,
    reciprocal: AtomicU64,
    offset: AtomicU64,
    slow: AtomicU64,
    /// Failures in a row: `generation 32 | run 32`.
    run: AtomicU64,
    /// Nobody else's words in this cache line.
    _apart: [u64; 8],
}

/// No call takes that long.
const NEVER: u64 = u64::MAX;

/// The control word: `generation 61 | what may be done without asking 3`.
fn control(generation: u64, pass: Pass) -> u64 {
    generation << 3 | pass as u64
}

fn passes(control: u64, pass: Pass) -> bool {
    control & 7 == pass as u64
}

impl<O: Observer> Circuit<O> {
    pub(crate) fn new(config: Arc<Config>, seed: u64, shards: usize, now: u64, observer: O) -> Self {
        let machine = Machine::new(config, seed, now);
        let word = |value| AtomicU64::new(value);
        let circuit = Self {
            hot: Hot {
                control: word(control(0, Pass::Ask)),
                until: word(0),
                slot: word(0),
                reciprocal: word(0),
                offset: word(0),
                slow: word(0),
                run: word(0),
                _apart: [0; 8],
            },
            cells: Cells::new(shards),
            machine: Mutex::new(Guarded {
                machine,
                reported: Tally::default(),
                armed: false,
                notes: Notes::default(),
            }),
            observer,
        };
        circuit.publish(&circuit.lock().machine);
        circuit
    }

    pub(crate) fn shards(&self) -> usize {
        self.cells.shards()
    }

    /// One call, where every call passes.
    #[inline]
    pub(crate) fn admit_at_once(&self) -> Option<Admission> {
        let seen = self.hot.control.load(Ordering::Acquire);
        let passes = passes(seen, Pass::Count) || passes(seen, Pass::Tell);
        passes.then_some(Admission { generation: seen >> 3, probe: None })
    }

    /// Asks for one call.
    pub(crate) fn admit(&self, place: &Place, now: u64) -> Result<Admission, Refusal> {
        if let Some(admission) = self.admit_at_once() {
            return Ok(admission);
        }
        if let Some(wait) = self.shut(|| now) {
            self.refused(place, now);
            return Err(Refusal::Open { wait: Duration::from_nanos(wait) });
        }
        let result = self.step(now, |guarded, now| guarded.machine.admit(now));
        if result.is_err() {
            self.refused(place, now);
        }
        result
    }

    /// Whether every call passes at this moment.
    #[inline]
    pub(crate) fn passes(&self) -> bool {
        let seen = self.hot.control.load(Ordering::Acquire);
        passes(seen, Pass::Count) || passes(seen, Pass::Tell)
    }

    /// Why a call would not pass; nothing is taken or counted.
    pub(crate) fn refusal(&self, now: impl FnOnce() -> u64) -> Option<Refusal> {
        let seen = self.hot.control.load(Ordering::Acquire);
        if passes(seen, Pass::Count) || passes(seen, Pass::Tell) {
            return None;
        }
        let now = now();
        match self.shut(|| now) {
            Some(wait) => Some(Refusal::Open { wait: Duration::from_nanos(wait) }),
            None => self.step(now, |guarded, now| guarded.machine.refusal(now)),
        }
    }

    /// How long the open period lasts, in nanoseconds, where it is certain without the lock that it does.
    #[inline]
    pub(crate) fn shut(&self, now: impl FnOnce() -> u64) -> Option<u64> {
        let seen = self.hot.control.load(Ordering::Acquire);
        if !passes(seen, Pass::Reject) {
            return None;
        }
        let now = now();
        let until = self.hot.until.load(Ordering::Acquire);
        (now < until && self.hot.control.load(Ordering::Acquire) == seen).then(|| until - now)
    }

    /// Counts a rejection.
    #[inline]
    pub(crate) fn refused(&self, place: &Place, now: u64) {
        if self.cells.reject(place.shard, place.epoch(self.slotting(), now)) == Counted::Look {
            self.gather();
        }
    }

    /// The outcome of a call that was admitted with `admission` and took `elapsed`.
    #[cfg(loom)]
    pub(crate) fn record(
        &self,
        place: &Place,
        admission: Admission,
        verdict: Verdict,
        now: u64,
        elapsed: u64,
    ) {
        let success = verdict.outcome() == Outcome::Success;
        if !(success && self.succeed(place, admission.generation, now, || elapsed)) {
            self.tell(place, admission, verdict, now, elapsed);
        }
    }

    /// The outcome of a call, whatever it is.
    pub(crate) fn tell(&self, place: &Place, admission: Admission, verdict: Verdict, now: u64, elapsed: u64) {
        self.step(now, |guarded, now| {
            guarded.notes.freed = admission.probe.is_some();
            self.finish(guarded, place.shard, admission, verdict, now, elapsed);
        });
    }

    /// The path of a success without the lock; false when the machine has to be told.
    #[inline]
    pub(crate) fn succeed(
        &self,
        place: &Place,
        generation: u64,
        now: u64,
        elapsed: impl FnOnce() -> u64,
    ) -> bool {
        let seen = self.hot.control.load(Ordering::Acquire);
        if seen != control(generation, Pass::Count) {
            return false;
        }
        let (slotting, slow) = (self.slotting(), self.hot.slow.load(Ordering::Acquire));
        let run = self.hot.run.load(Ordering::Acquire);
        // From here on the settings read are those of this generation, and should it end before the call is counted,
        // then its epoch is too old for the windows of the next.
        if self.hot.control.load(Ordering::Acquire) != seen || slow != NEVER && elapsed() >= slow {
            return false;
        }
        if run as u32 != 0 {
            self.end_run(generation);
        }
        if self.cells.count(place.shard, Kind::Success, place.epoch(slotting, now)) == Counted::Look {
            self.look_after_success(generation, now);
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn look_after_success(&self, generation: u64, now: u64) {
        self.step(now, |guarded, now| {
            if guarded.machine.generation() == generation && guarded.machine.counting() {
                self.look(guarded, now, After { bad: false, hint: None });
            }
            self.report(guarded);
        });
    }

    /// Counts a result within the lock.
    fn finish(
        &self,
        guarded: &mut Guarded,
        shard: usize,
        admission: Admission,
        verdict: Verdict,
        now: u64,
        elapsed: u64,
    ) {
        let (outcome, machine) = (verdict.outcome(), &mut guarded.machine);
        machine.settle(now);
        let current = admission.generation == machine.generation() || put_back(Defect::StaleResults);
        if !current || !machine.counting() || outcome == Outcome::Ignored {
            if current && machine.probing().is_some() {
                let slow = elapsed >= machine.slow();
                machine.probed(now, admission, verdict, slow);
            } else if current && machine.state() == State::Disabled {
                return;
            }
            guarded.notes.finished = Some(outcome);
            return;
        }
        let (failed, slow) = (outcome == Outcome::Failure, elapsed >= machine.slow());
        let epoch = machine.slotting().epoch(now);
        let kind = if failed { Kind::Failure } else { Kind::Success };
        let mut counted = self.cells.count(shard, kind, epoch);
        if slow {
            self.cells.count(shard, Kind::Slow, epoch);
        }
        machine.add(failed, slow);
        let generation = machine.generation();
        if failed {
            self.prolong_run(generation);
        } else {
            self.end_run(generation);
            // The first success of a slot need not come without the lock.
            if machine.pass() != Pass::Count {
                counted = Counted::Look;
            }
        }
        if failed || slow || counted == Counted::Look {
            self.look(guarded, now, After { bad: failed || slow, hint: verdict.retry_after() });
        }
        if counted == Counted::Look {
            self.report(guarded);
        }
    }

    /// Looks at the rates, and sees to it that successes ask for a look while one of them may change the answer.
    fn look(&self, guarded: &mut Guarded, now: u64, after: After) {
        let epoch = guarded.machine.slotting().epoch(now);
        let generation = guarded.machine.generation();
        let mut look = guarded.machine.look(now, self.cells.counts(epoch), self.run(generation), after);
        if look.watch && guarded.machine.generation() == generation {
            // A success that came before its word was armed is in these sums; one that comes later asks.
            let crossed = look.crossed;
            look = guarded.machine.look(now, self.cells.arm(epoch), self.run(generation), after);
            look.crossed |= crossed;
        }
        if guarded.armed && !look.watch {
            self.cells.disarm(epoch);
        }
        guarded.armed = look.watch;
        if look.crossed {
            self.observer.crossed();
        }
    }

    /// The failures in a row of this generation.
    fn run(&self, generation: u64) -> u32 {
        let word = self.hot.run.load(Ordering::Acquire);
        if word >> 32 == generation & u64::from(u32::MAX) { word as u32 } else { 0 }
    }

    fn prolong_run(&self, generation: u64) {
        let tag = generation << 32;
        let _ = self.hot.run.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let run = if word >> 32 == tag >> 32 { word as u32 } else { 0 };
            Some(tag | u64::from(run.saturating_add(1)))
        });
    }

    fn end_run(&self, generation: u64) {
        let tag = generation << 32;
        let _ = self.hot.run.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word >> 32 == tag >> 32 && word != tag).then_some(tag)
        });
    }

    /// Whether it matters how long a call takes. Other settings make whatever is under way stale.
    pub(crate) fn times(&self) -> bool {
        self.hot.slow.load(Ordering::Acquire) != NEVER
    }

    pub(crate) fn answered(&self, admission: Admission, now: u64) {
        if admission.probe.is_some() {
            self.step(now, |guarded, _| guarded.machine.answered(admission));
        }
    }

    /// What time alone changes; with `expire`, the end of an open period too. Returns when to come again.
    pub(crate) fn tick(&self, now: u64, expire: bool) -> Option<u64> {
        self.step(now, |guarded, now| {
            guarded.machine.settle(now);
            if expire {
                guarded.machine.expire(now);
            }
            guarded.machine.deadline()
        })
    }

    pub(crate) fn force(&self, state: State, now: u64) {
        self.step(now, |guarded, _| guarded.machine.force(state));
    }

    pub(crate) fn reconfigure(&self, config: Arc<Config>, now: u64) {
        self.step(now, |guarded, now| guarded.machine.reconfigure(config, now));
    }

    /// Reads the machine and the counts of its window, once time has done its work.
    pub(crate) fn read<T>(&self, now: u64, read: impl FnOnce(&mut Machine, Counts) -> T) -> T {
        self.step(now, |guarded, now| {
            guarded.machine.settle(now);
            self.report(guarded);
            let counts = self.counts(&guarded.machine, now);
            read(&mut guarded.machine, counts)
        })
    }

    /// State, failures in the window and whether a call would be refused, for one who holds a lock of its own and must
    /// not run what others have written: what time has changed is told by the next one who comes, or by
    /// [`gather`](Self::gather).
    pub(crate) fn quietly(&self, now: u64) -> (State, u64, bool) {
        let (_guarded, seen) = self.quiet_step(now, |guarded, now| {
            let machine = &mut guarded.machine;
            let refuses = machine.refusal(now).is_some();
            (machine.state(), self.counts(machine, now).failures, refuses)
        });
        seen
    }

    fn counts(&self, machine: &Machine, now: u64) -> Counts {
        match (machine.probing(), machine.config().time_window, machine.count_window()) {
            (Some(probes), ..) => probes,
            (None, None, Some(window)) => window,
            _ => self.cells.counts(machine.slotting().epoch(now)),
        }
    }

    /// Tells the observer what was counted without the lock.
    #[cold]
    #[inline(never)]
    pub(crate) fn gather(&self) {
        let mut guarded = self.lock();
        self.report(&mut guarded);
        self.free(guarded);
    }

    /// Notes what was counted without the lock.
    fn report(&self, guarded: &mut Guarded) {
        let (tally, before) = (self.cells.tally(), guarded.reported);
        // A slot that is rotating may hide some of what was reported already; it comes back.
        let new = tally.since(before);
        guarded.reported = before.and(new);
        guarded.notes.gathered = guarded.notes.gathered.and(new);
    }

    /// A step of the machine. Whatever it changes is published before the lock is given back, and told after.
    fn step<T>(&self, now: u64, step: impl FnOnce(&mut Guarded, u64) -> T) -> T {
        let (guarded, result) = self.quiet_step(now, step);
        self.free(guarded);
        result
    }

    fn quiet_step<T>(
        &self,
        now: u64,
        step: impl FnOnce(&mut Guarded, u64) -> T,
    ) -> (MutexGuard<'_, Guarded>, T) {
        let mut guarded = self.lock();
        let (before, generation, pass) =
            (guarded.machine.state(), guarded.machine.generation(), guarded.machine.pass());
        let result = step(&mut guarded, now);
        if guarded.machine.generation() != generation || guarded.machine.pass() != pass {
            guarded.armed &= guarded.machine.generation() == generation;
            self.publish(&guarded.machine);
            let state = guarded.machine.state();
            if state != before {
                self.report(&mut guarded);
                if self.observer.changed(before, state) {
                    let index = STATES.iter().position(|other| *other == state).unwrap_or_default();
                    guarded.notes.moved[index] = guarded.notes.moved[index].saturating_add(1);
                }
            }
            guarded.notes.freed = true;
        }
        (guarded, result)
    }

    /// Gives the lock back, and then tells.
    fn free(&self, mut guarded: MutexGuard<'_, Guarded>) {
        let notes = mem::take(&mut guarded.notes);
        drop(guarded);
        notes.tell(&self.observer);
    }

    /// While the settings are written, everybody has to ask.
    fn publish(&self, machine: &Machine) {
        let generation = machine.generation();
        let slotting = machine.slotting();
        self.hot.control.store(control(generation, Pass::Ask), Ordering::Release);
        self.hot.until.store(machine.until(), Ordering::Release);
        self.hot.slot.store(slotting.slot, Ordering::Release);
        self.hot.reciprocal.store(slotting.reciprocal, Ordering::Release);
        self.hot.offset.store(slotting.offset, Ordering::Release);
        self.hot.slow.store(machine.slow(), Ordering::Release);
        self.hot.control.store(control(generation, machine.pass()), Ordering::Release);
    }

    #[inline]
    fn slotting(&self) -> Slotting {
        Slotting {
            slot: self.hot.slot.load(Ordering::Acquire),
            reciprocal: self.hot.reciprocal.load(Ordering::Acquire),
            offset: self.hot.offset.load(Ordering::Acquire),
        }
    }

    /// Nothing panics within the lock; should it, what is left behind is a whole machine.
    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: Observer> Drop for Circuit<O> {
    fn drop(&mut self) {
        self.gather();
    }
}

/// The wait until `deadline`, which may be past.
pub(crate) fn wait(deadline: u64, now: u64) -> Duration {
    Duration::from_nanos(deadline.saturating_sub(now))
}

//! The state of a breaker between threads. What most calls do takes no lock: one word says whether they may pass, and
//! their results go into [`Cells`]. Everything else is a step of the [`Machine`], behind its lock.

use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::cells::{Cells, Counted, Kind, Place, Tally};
use crate::defect::{Defect, put_back};
use crate::hot::{Hot, NEVER, control, passes};
use crate::observer::Notes;
pub(crate) use crate::observer::Observer;
use crate::policy::{Admission, After, Config, Counts, Machine, Outcome, Pass, Refusal, State, Verdict};
use crate::sync::{Mutex, MutexGuard};

pub(crate) struct Circuit<O: Observer> {
    hot: Hot,
    cells: Cells,
    machine: Mutex<Guarded>,
    pub(crate) observer: O,
}

/// What a registry of breakers has to know of one.
pub(crate) struct Glance {
    pub(crate) state: State,
    /// A call would be refused.
    pub(crate) refuses: bool,
    /// There are failures or slow calls that some rule still looks at.
    pub(crate) remembers: bool,
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

impl<O: Observer> Circuit<O> {
    pub(crate) fn new(config: Arc<Config>, seed: u64, shards: usize, now: u64, observer: O) -> Self {
        let machine = Machine::new(config, seed, now);
        let circuit = Self {
            hot: Hot::new(),
            cells: Cells::new(shards),
            machine: Mutex::new(Guarded {
                machine,
                reported: Tally::default(),
                armed: false,
                notes: Notes::default(),
            }),
            observer,
        };
        circuit.hot.publish(&circuit.lock().machine);
        circuit
    }

    pub(crate) fn shards(&self) -> usize {
        self.cells.shards()
    }

    /// One call, where every call passes.
    #[inline]
    pub(crate) fn admit_at_once(&self) -> Option<Admission> {
        let seen = self.hot.control();
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
        let result = self.step(now, |guarded, now| {
            let result = guarded.machine.admit(now);
            // With the last slot: who waits for an inner service, and would be refused from now on, need not wait.
            let probe = result.is_ok_and(|admission| admission.probe.is_some());
            guarded.notes.freed |= probe && guarded.machine.refusal(now).is_some();
            result
        });
        if result.is_err() {
            self.refused(place, now);
        }
        result
    }

    /// Whether every call passes at this moment.
    #[inline]
    pub(crate) fn passes(&self) -> bool {
        let seen = self.hot.control();
        passes(seen, Pass::Count) || passes(seen, Pass::Tell)
    }

    /// Why a call would not pass; nothing is taken or counted.
    pub(crate) fn refusal(&self, now: impl FnOnce() -> u64) -> Option<Refusal> {
        let seen = self.hot.control();
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
        let seen = self.hot.control();
        if !passes(seen, Pass::Reject) {
            return None;
        }
        let now = now();
        let until = self.hot.until();
        (now < until && self.hot.control() == seen).then(|| until - now)
    }

    /// Counts a rejection.
    #[inline]
    pub(crate) fn refused(&self, place: &Place, now: u64) {
        if self.cells.reject(place.shard, place.epoch(self.hot.slotting(), now)) == Counted::Look {
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
        let seen = self.hot.control();
        if seen != control(generation, Pass::Count) {
            return false;
        }
        let (slotting, slow) = (self.hot.slotting(), self.hot.slow());
        let run = self.hot.run_word();
        // From here on the settings read are those of this generation, and should it end before the call is counted,
        // then its epoch is too old for the windows of the next.
        if self.hot.control() != seen || slow != NEVER && elapsed() >= slow {
            return false;
        }
        if run as u32 != 0 {
            self.hot.end_run(generation);
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
            self.hot.prolong_run(generation);
        } else {
            self.hot.end_run(generation);
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
        let mut look = guarded.machine.look(now, self.cells.counts(epoch), self.hot.run(generation), after);
        if look.watch && guarded.machine.generation() == generation {
            // A success that came before its word was armed is in these sums; one that comes later asks.
            let crossed = look.crossed;
            look = guarded.machine.look(now, self.cells.arm(epoch), self.hot.run(generation), after);
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

    /// Whether it matters how long a call takes. Other settings make whatever is under way stale.
    pub(crate) fn times(&self) -> bool {
        self.hot.slow() != NEVER
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
        self.step(now, |guarded, now| {
            guarded.machine.reconfigure(config, now);
            // Half open it keeps its generation, and may have more or fewer probes.
            guarded.notes.freed = true;
        });
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

    /// For one who holds a lock of its own and must not run what others have written: what time has changed is told by
    /// the next one who comes, or by [`gather`](Self::gather).
    pub(crate) fn glance(&self, now: u64) -> Glance {
        let (_guarded, seen) = self.quiet_step(now, |guarded, now| {
            let machine = &mut guarded.machine;
            let refuses = machine.refusal(now).is_some();
            let (epoch, run) = (machine.slotting().epoch(now), self.hot.run(machine.generation()));
            let bad = |counts: Counts| counts.failures + counts.slow > 0;
            let remembers = machine.config().time_window.is_some() && bad(self.cells.counts(epoch))
                || machine.count_window().is_some_and(bad)
                || machine.config().consecutive.is_some() && run > 0;
            Glance { state: machine.state(), refuses, remembers }
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
            self.hot.publish(&guarded.machine);
            let state = guarded.machine.state();
            if state != before {
                self.report(&mut guarded);
                if self.observer.changed(before, state) {
                    guarded.notes.moved_to(state);
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

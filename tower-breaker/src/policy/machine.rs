use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::config::{Config, Rate};
use super::outcome::{Outcome, State, Verdict};
use super::probing::Probing;
use super::ramp::Ramp;
use super::window::{CountWindow, Counts, Slotting, nanos};
use crate::defect::{Defect, put_back};

/// The slots in which calls are gathered for the metrics when no time window asks for others.
const GATHERING: Duration = Duration::from_secs(10);

/// The right to one call. Its result counts only while the breaker is in the state that admitted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) generation: u64,
    /// Its number in the probe phase, from one.
    pub(crate) probe: Option<NonZeroU64>,
}

/// Why a call may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Open { wait: Duration },
    ProbesTaken { wait: Duration },
    Ramping { wait: Duration },
    Forced,
}

#[derive(Debug)]
enum Phase {
    Closed(Option<Ramp>),
    Open {
        until: u64,
    },
    /// Boxed: it is short, and there may be many breakers.
    HalfOpen(Box<Probing>),
    ForcedOpen,
    Disabled,
    MetricsOnly {
        over: bool,
    },
}

/// What lock-free callers may do without asking the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Pass {
    /// Nothing: ask.
    Ask = 0,
    /// Be admitted; record successes in the slots.
    Count = 1,
    /// Be admitted; every result is told to the machine.
    Tell = 2,
    /// Be rejected until the deadline.
    Reject = 3,
}

/// The call after which the rates are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After {
    /// It failed or was slow.
    pub(crate) bad: bool,
    pub(crate) hint: Option<Duration>,
}

/// What a look at the rates has led to, besides a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// In metrics-only, the rates have crossed the threshold.
    pub(crate) crossed: bool,
    /// A success may change the answer.
    pub(crate) watch: bool,
}

/// The breaker as a value that receives `now`, in nanoseconds since some origin.
#[derive(Debug)]
pub(crate) struct Machine {
    config: Arc<Config>,
    phase: Phase,
    generation: u64,
    slotting: Slotting,
    count: Option<Box<CountWindow>>,
    reopenings: u32,
    random: u64,
}

impl Machine {
    pub(crate) fn new(config: Arc<Config>, seed: u64, now: u64) -> Self {
        let slotting = Slotting::new(config.time_window.unwrap_or(GATHERING));
        let count = config.count_window.map(CountWindow::boxed);
        let phase = Phase::Closed(None);
        let initial = config.initial;
        let mut machine = Self { config, phase, generation: 0, slotting, count, reopenings: 0, random: seed };
        match initial {
            State::Closed => {}
            State::Open => machine.open(now, None),
            State::HalfOpen => machine.phase = Phase::HalfOpen(Box::default()),
            State::ForcedOpen => machine.phase = Phase::ForcedOpen,
            State::Disabled => machine.phase = Phase::Disabled,
            State::MetricsOnly => machine.phase = Phase::MetricsOnly { over: false },
        }
        machine
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::Disabled => State::Disabled,
            Phase::MetricsOnly { .. } => State::MetricsOnly,
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn slotting(&self) -> Slotting {
        self.slotting
    }

    pub(crate) fn pass(&self) -> Pass {
        match self.phase {
            Phase::Closed(None) | Phase::MetricsOnly { .. } if self.count.is_none() => Pass::Count,
            Phase::Closed(None) | Phase::MetricsOnly { .. } | Phase::Disabled => Pass::Tell,
            Phase::Open { .. } => Pass::Reject,
            Phase::Closed(Some(_)) | Phase::HalfOpen(_) | Phase::ForcedOpen => Pass::Ask,
        }
    }

    /// The end of the open period.
    pub(crate) fn until(&self) -> u64 {
        if let Phase::Open { until } = self.phase { until } else { 0 }
    }

    /// Duration from which on a call is slow.
    pub(crate) fn slow(&self) -> u64 {
        self.config.slow.map_or(u64::MAX, |(threshold, _)| nanos(threshold))
    }

    /// Whether results of the current generation go into the windows.
    pub(crate) fn counting(&self) -> bool {
        matches!(self.phase, Phase::Closed(_) | Phase::MetricsOnly { .. })
    }

    pub(crate) fn probing(&self) -> Option<Counts> {
        if let Phase::HalfOpen(probing) = &self.phase { Some(probing.done) } else { None }
    }

    pub(crate) fn count_window(&self) -> Option<Counts> {
        self.count.as_ref().map(|window| window.counts())
    }

    /// Why a call would be refused now; nothing is taken.
    pub(crate) fn refusal(&mut self, now: u64) -> Option<Refusal> {
        self.settle(now);
        match &self.phase {
            // Whether a ramp lets a call pass is known when it comes.
            Phase::Closed(_) | Phase::Disabled | Phase::MetricsOnly { .. } => None,
            Phase::ForcedOpen => Some(Refusal::Forced),
            Phase::Open { until } => {
                let wait = Duration::from_nanos(until.saturating_sub(now));
                (!wait.is_zero()).then_some(Refusal::Open { wait })
            }
            Phase::HalfOpen(probing) => {
                let wait = probing.wait(self.config.probes, now)?;
                Some(Refusal::ProbesTaken { wait })
            }
        }
    }

    pub(crate) fn admit(&mut self, now: u64) -> Result<Admission, Refusal> {
        if let Some(refusal) = self.refusal(now) {
            return Err(refusal);
        }
        self.expire(now);
        let mut probe = None;
        match &mut self.phase {
            Phase::HalfOpen(probing) => {
                let limit = now.saturating_add(nanos(self.config.half_open_limit));
                probe = probing.start(now.saturating_add(nanos(self.config.lease)), limit);
            }
            Phase::Closed(Some(ramp)) => {
                if let Err(wait) = ramp.admit(now) {
                    return Err(Refusal::Ramping { wait });
                }
            }
            _ => {}
        }
        Ok(Admission { generation: self.generation, probe })
    }

    /// Ends an open period that is over.
    pub(crate) fn expire(&mut self, now: u64) {
        if matches!(self.phase, Phase::Open { until } if now >= until) {
            self.enter(Phase::HalfOpen(Box::default()));
        }
    }

    /// When time alone will change something.
    pub(crate) fn deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Open { until } => Some(*until),
            Phase::HalfOpen(probing) => probing.deadline(),
            Phase::Closed(ramp) => ramp.as_ref().map(Ramp::end),
            _ => None,
        }
    }

    /// The upstream has answered well; what is missing is the rest of the body, which may take any time.
    pub(crate) fn answered(&mut self, admission: Admission) {
        if admission.generation == self.generation
            && let (Phase::HalfOpen(probing), Some(id)) = (&mut self.phase, admission.probe)
        {
            probing.answered(id);
        }
    }

    /// The outcome of a probe; whether it still was one.
    pub(crate) fn probed(&mut self, now: u64, admission: Admission, verdict: Verdict, slow: bool) -> bool {
        let Phase::HalfOpen(probing) = &mut self.phase else { return false };
        let known = admission.probe.is_some_and(|id| probing.end(id));
        if (known || put_back(Defect::StaleResults)) && verdict.outcome() != Outcome::Ignored {
            probing.add(verdict.outcome() == Outcome::Failure, slow, verdict.retry_after());
        }
        self.judge(now);
        known
    }

    /// Moves to a state by hand: windows are cleared, growth starts anew, and whatever is under way is stale.
    pub(crate) fn force(&mut self, state: State) {
        if state == self.state() && state != State::Closed {
            return;
        }
        self.clear();
        self.reopenings = 0;
        self.enter(match state {
            State::Open | State::HalfOpen | State::ForcedOpen => Phase::ForcedOpen,
            State::Closed => Phase::Closed(None),
            State::Disabled => Phase::Disabled,
            State::MetricsOnly => Phase::MetricsOnly { over: false },
        });
    }

    /// Other settings from now on. The state stays; windows start anew, and probes under way stay probes.
    pub(crate) fn reconfigure(&mut self, config: Arc<Config>, now: u64) {
        self.config = config;
        self.count = self.config.count_window.map(CountWindow::boxed);
        self.slotting = self.slotting.resized(self.config.time_window.unwrap_or(GATHERING), now);
        // The limit may already be reached by the probes that are done.
        self.judge(now);
        if let Phase::MetricsOnly { over } = &mut self.phase {
            *over = false;
        }
        if !matches!(self.phase, Phase::HalfOpen(_)) {
            self.generation += 1;
        }
    }

    /// What time alone changes: leases run out, a probe phase without a verdict ends, and so does a ramp.
    pub(crate) fn settle(&mut self, now: u64) {
        match &mut self.phase {
            Phase::Closed(ramp) if ramp.as_ref().is_some_and(|ramp| now >= ramp.end()) => *ramp = None,
            Phase::HalfOpen(probing) if !put_back(Defect::HalfOpenForEver) => {
                let changed = probing.settle(now);
                let over = probing.limit().is_some_and(|limit| now >= limit);
                if changed {
                    self.judge(now);
                }
                if over && matches!(self.phase, Phase::HalfOpen(_)) {
                    match self.config.after_limit {
                        State::Closed => self.close(now),
                        _ => self.reopen(now),
                    }
                }
            }
            _ => {}
        }
    }

    /// Counts a call in the exact window; slots and runs are not kept here.
    pub(crate) fn add(&mut self, failed: bool, slow: bool) {
        if let Some(window) = &mut self.count {
            window.add(failed, slow);
        }
    }

    /// Looks at the rates after a call, and opens when a rule says so. `time` is what the slots hold, `run` the
    /// failures in a row.
    pub(crate) fn look(&mut self, now: u64, time: Counts, run: u32, after: After) -> Look {
        let config = &self.config;
        let mut over = config.consecutive.is_some_and(|limit| run >= limit);
        let mut watch = false;
        if config.time_window.is_some() {
            over |= time.total >= config.min_calls && exceeds(config, time, time.total);
            // Below the minimum, the success that reaches it may find the rate too high.
            watch = time.total < config.min_calls && exceeds(config, time, config.min_calls);
        }
        if let (Some(window), Some(length)) = (&self.count, config.count_window) {
            let counts = window.counts();
            // A window shorter than the minimum could never trip.
            over |= counts.total >= config.min_calls.min(u64::from(length))
                && exceeds(config, counts, counts.total);
        }
        let mut look = Look { crossed: false, watch };
        match &mut self.phase {
            Phase::Closed(_) if over && (after.bad || config.open_on_success) => {
                self.open(now, after.hint);
                look.watch = false;
            }
            Phase::MetricsOnly { over: was } => {
                look.crossed = over && !*was;
                // Each success may be the one with which the rate falls below the threshold again.
                look.watch |= over;
                *was = over;
            }
            _ => {}
        }
        look
    }

    /// Closes when all probes are done, reopens as soon as the rest cannot help any more.
    fn judge(&mut self, now: u64) {
        let Phase::HalfOpen(probing) = &self.phase else { return };
        let probes = u64::from(self.config.probes);
        if exceeds(&self.config, probing.done, probes.max(probing.done.total)) {
            self.reopen(now);
        } else if probing.done.total >= probes {
            self.close(now);
        }
    }

    fn close(&mut self, now: u64) {
        self.clear();
        self.reopenings = 0;
        self.enter(Phase::Closed(self.config.ramp.map(|length| Ramp::new(now, nanos(length)))));
    }

    fn reopen(&mut self, now: u64) {
        let Phase::HalfOpen(probing) = &self.phase else { return };
        let hint = probing.hint;
        self.reopenings = self.reopenings.saturating_add(1);
        self.open(now, hint);
    }

    fn open(&mut self, now: u64, hint: Option<Duration>) {
        let random = self.random();
        let length = self.config.open.length(self.reopenings, hint, random);
        self.clear();
        self.enter(Phase::Open { until: now.saturating_add(nanos(length)) });
    }

    fn enter(&mut self, phase: Phase) {
        self.generation += 1;
        self.phase = phase;
    }

    fn clear(&mut self) {
        self.slotting = self.slotting.next();
        if let Some(window) = &mut self.count {
            window.clear();
        }
    }

    /// SplitMix64 (Steele, Lea and Flood 2014): jitter needs no more.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn exceeds(config: &Config, counts: Counts, whole: u64) -> bool {
    let slow = |(_, rate): (Duration, Rate)| rate.reached(counts.slow, whole);
    config.failure_rate.reached(counts.failures, whole) || config.slow.is_some_and(slow)
}

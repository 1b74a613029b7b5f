use std::time::{Duration, Instant};

use super::config::{Config, Rate};
use super::outcome::{Outcome, State, Verdict};
use super::window::{CountWindow, Counts, TimeWindow};

/// Stands for "never" where a deadline would overflow.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The right to one call. Its result counts only while the breaker is in the state that admitted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) generation: u64,
    pub(crate) probe: Option<u64>,
}

/// Why a call may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Open { wait: Duration },
    ProbesTaken { wait: Duration },
    Forced,
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    Counted,
    /// From before a transition, or from a probe whose lease is over.
    Stale,
    /// The breaker is switched off.
    Off,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen(Probing),
    ForcedOpen,
    Disabled,
    MetricsOnly,
}

#[derive(Debug)]
struct Probing {
    ends: Instant,
    leases: Vec<Lease>,
    done: Counts,
    next: u64,
    hint: Option<Duration>,
}

#[derive(Debug)]
struct Lease {
    id: u64,
    expires: Instant,
    /// The upstream has answered well and only the rest of the body is missing.
    answered: bool,
}

/// The breaker as a value that receives `now`.
#[derive(Debug)]
pub(crate) struct Machine {
    config: Config,
    phase: Phase,
    generation: u64,
    time: Option<TimeWindow>,
    count: Option<CountWindow>,
    run: u32,
    reopenings: u32,
    random: u64,
}

impl Machine {
    pub(crate) fn new(config: Config, seed: u64, now: Instant) -> Self {
        let time = config.time_window.map(|length| TimeWindow::new(length, now));
        let count = config.count_window.map(CountWindow::new);
        Self { config, phase: Phase::Closed, generation: 0, time, count, run: 0, reopenings: 0, random: seed }
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::Disabled => State::Disabled,
            Phase::MetricsOnly => State::MetricsOnly,
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether every call passes, whatever the time.
    pub(crate) fn passes_all(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Disabled | Phase::MetricsOnly)
    }

    /// The calls seen by the window (the count window when there is no time window; the probes while half open).
    pub(crate) fn counts(&mut self, now: Instant) -> Counts {
        match (&self.phase, &mut self.time, &self.count) {
            (Phase::HalfOpen(probing), ..) => probing.done,
            (_, Some(window), _) => window.counts(now),
            (_, None, Some(window)) => window.counts(),
            (_, None, None) => Counts::default(),
        }
    }

    /// Why a call would be refused now; nothing is taken.
    pub(crate) fn refusal(&mut self, now: Instant) -> Option<Refusal> {
        self.settle(now);
        match &self.phase {
            Phase::Closed | Phase::Disabled | Phase::MetricsOnly => None,
            Phase::ForcedOpen => Some(Refusal::Forced),
            Phase::Open { until } => {
                let wait = until.saturating_duration_since(now);
                (!wait.is_zero()).then_some(Refusal::Open { wait })
            }
            Phase::HalfOpen(probing) => {
                let taken = probing.done.total + probing.leases.len() as u64;
                let next = probing.leases.iter().map(|lease| lease.expires).min().unwrap_or(probing.ends);
                let wait = next.min(probing.ends).saturating_duration_since(now);
                (taken >= u64::from(self.config.probes)).then_some(Refusal::ProbesTaken { wait })
            }
        }
    }

    pub(crate) fn admit(&mut self, now: Instant) -> Result<Admission, Refusal> {
        if let Some(refusal) = self.refusal(now) {
            return Err(refusal);
        }
        if matches!(self.phase, Phase::Open { .. }) {
            let ends = later(now, self.config.half_open_limit);
            let leases = Vec::with_capacity(self.config.probes as usize);
            self.enter(Phase::HalfOpen(Probing {
                ends,
                leases,
                done: Counts::default(),
                next: 0,
                hint: None,
            }));
        }
        let mut probe = None;
        if let Phase::HalfOpen(probing) = &mut self.phase {
            let id = probing.next;
            probing.next += 1;
            probing.leases.push(Lease { id, expires: later(now, self.config.lease), answered: false });
            probe = Some(id);
        }
        Ok(Admission { generation: self.generation, probe })
    }

    /// The upstream has answered well; what is missing is the rest of the body, which may take any time.
    pub(crate) fn answered(&mut self, admission: Admission) {
        if admission.generation != self.generation {
            return;
        }
        if let Phase::HalfOpen(probing) = &mut self.phase
            && let Some(lease) = probing.leases.iter_mut().find(|lease| Some(lease.id) == admission.probe)
        {
            lease.answered = true;
        }
    }

    pub(crate) fn record(
        &mut self,
        now: Instant,
        admission: Admission,
        verdict: Verdict,
        elapsed: Duration,
    ) -> Recorded {
        self.settle(now);
        if admission.generation != self.generation {
            return Recorded::Stale;
        }
        let ignored = verdict.outcome() == Outcome::Ignored;
        let failed = verdict.outcome() == Outcome::Failure;
        let slow = self.config.slow.is_some_and(|(threshold, _)| elapsed >= threshold);
        if self.passes_all() && !matches!(self.phase, Phase::Disabled) {
            let trips = !ignored && self.count(now, failed, slow);
            if trips && matches!(self.phase, Phase::Closed) {
                self.open(now, verdict.retry_after());
            }
            return Recorded::Counted;
        }
        match &mut self.phase {
            Phase::HalfOpen(probing) => {
                let Some(position) =
                    probing.leases.iter().position(|lease| Some(lease.id) == admission.probe)
                else {
                    return Recorded::Stale;
                };
                probing.leases.swap_remove(position);
                if !ignored {
                    probing.done.add(failed, slow);
                    probing.hint = verdict.retry_after().or(probing.hint);
                }
                self.judge(now);
            }
            Phase::Disabled => return Recorded::Off,
            _ => {}
        }
        Recorded::Counted
    }

    /// Moves to a state by hand: windows are cleared, growth starts anew, and whatever is under way is stale.
    pub(crate) fn force(&mut self, state: State, now: Instant) {
        if state == self.state() && state != State::Closed {
            return;
        }
        self.clear(now);
        self.reopenings = 0;
        self.enter(match state {
            State::Open | State::HalfOpen | State::ForcedOpen => Phase::ForcedOpen,
            State::Closed => Phase::Closed,
            State::Disabled => Phase::Disabled,
            State::MetricsOnly => Phase::MetricsOnly,
        });
    }

    /// What time alone changes: leases run out, and a probe phase without a verdict ends.
    pub(crate) fn settle(&mut self, now: Instant) {
        let Phase::HalfOpen(probing) = &mut self.phase else { return };
        let done = &mut probing.done;
        let before = done.total;
        probing.leases.retain(|lease| {
            let runs = now < lease.expires;
            if !runs {
                done.add(!lease.answered, false);
            }
            runs
        });
        let (over, changed) = (now >= probing.ends, done.total != before);
        if changed {
            self.judge(now);
        }
        if over && matches!(self.phase, Phase::HalfOpen(_)) {
            self.reopen(now);
        }
    }

    /// Counts a call outside a probe phase; whether a rule says to open.
    fn count(&mut self, now: Instant, failed: bool, slow: bool) -> bool {
        self.run = if failed { self.run.saturating_add(1) } else { 0 };
        let mut trips = self.config.consecutive.is_some_and(|limit| self.run >= limit);
        if let Some(window) = &mut self.time {
            let counts = window.add(now, failed, slow);
            trips |= counts.total >= self.config.min_calls && over(&self.config, counts, counts.total);
        }
        if let Some(window) = &mut self.count {
            let counts = window.add(failed, slow);
            // A window shorter than the minimum could never trip.
            let length = u64::from(self.config.count_window.unwrap_or(u32::MAX));
            let minimum = self.config.min_calls.min(length);
            trips |= counts.total >= minimum && over(&self.config, counts, counts.total);
        }
        trips
    }

    /// Closes when all probes are done, reopens as soon as the rest cannot help any more.
    fn judge(&mut self, now: Instant) {
        let Phase::HalfOpen(probing) = &self.phase else { return };
        let probes = u64::from(self.config.probes);
        if over(&self.config, probing.done, probes) {
            self.reopen(now);
        } else if probing.done.total >= probes {
            self.clear(now);
            self.reopenings = 0;
            self.enter(Phase::Closed);
        }
    }

    fn reopen(&mut self, now: Instant) {
        let Phase::HalfOpen(probing) = &self.phase else { return };
        let hint = probing.hint;
        self.reopenings = self.reopenings.saturating_add(1);
        self.open(now, hint);
    }

    fn open(&mut self, now: Instant, hint: Option<Duration>) {
        let random = self.random();
        let until = later(now, self.config.open.length(self.reopenings, hint, random));
        self.clear(now);
        self.enter(Phase::Open { until });
    }

    fn enter(&mut self, phase: Phase) {
        self.generation += 1;
        self.phase = phase;
    }

    fn clear(&mut self, now: Instant) {
        self.time = self.config.time_window.map(|length| TimeWindow::new(length, now));
        if let Some(window) = &mut self.count {
            window.clear();
        }
        self.run = 0;
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

fn over(config: &Config, counts: Counts, whole: u64) -> bool {
    let slow = |(_, rate): (Duration, Rate)| rate.reached(counts.slow, whole);
    config.failure_rate.reached(counts.failures, whole) || config.slow.is_some_and(slow)
}

fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).or_else(|| now.checked_add(FAR)).unwrap_or(now)
}

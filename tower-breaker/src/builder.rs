use std::borrow::Cow;
use std::time::Duration;

use crate::breaker::Breaker;
use crate::breaker::Template;
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::name::Name;
use crate::policy::{CancelPolicy, Config, OpenPeriod, Rate, State, positive, within};

/// Settings of a [`Breaker`]; made by [`Breaker::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BreakerBuilder {
    name: Cow<'static, str>,
    time_window: Option<Duration>,
    count_window: Option<u32>,
    consecutive: Option<u32>,
    failure_rate: f64,
    slow: Option<(Duration, f64)>,
    min_calls: u32,
    open: OpenPeriod,
    probes: u32,
    lease: Duration,
    half_open_limit: Duration,
    after_limit: State,
    ramp: Option<Duration>,
    open_on_success: bool,
    initial: State,
    clock: Clock,
    cancel: Option<CancelPolicy>,
}

/// Longer rings are better served by a time window: one byte per call is kept.
const MAX_COUNT_WINDOW: u32 = 1 << 20;
const MAX_PROBES: u32 = 1024;

impl BreakerBuilder {
    pub(crate) fn new(name: Cow<'static, str>) -> Self {
        Self {
            name,
            time_window: None,
            count_window: None,
            consecutive: None,
            failure_rate: 0.5,
            slow: None,
            min_calls: 20,
            open: OpenPeriod::exponential(Duration::from_secs(5), Duration::from_secs(60)),
            probes: 3,
            lease: Duration::from_secs(10),
            half_open_limit: Duration::from_secs(60),
            after_limit: State::Open,
            ramp: None,
            open_on_success: true,
            initial: State::Closed,
            clock: Clock::default(),
            cancel: None,
        }
    }

    /// Looks at the calls of the last `length`, in ten slots, at constant cost per call. Several windows and
    /// [`consecutive_failures`](Self::consecutive_failures) may be given: any of them opens the breaker. Default, when
    /// none is given: a time window of 10 s, long enough to see a rate and short enough to forget an old incident.
    /// [`slow_calls`](Self::slow_calls) needs a window, and has this one beside failures in a row alone.
    pub fn time_window(mut self, length: Duration) -> Self {
        self.time_window = Some(length);
        self
    }

    /// Looks at the last `calls` calls, exactly (at most 1,048,576). Default: no such window.
    pub fn count_window(mut self, calls: u32) -> Self {
        self.count_window = Some(calls);
        self
    }

    /// Opens after that many failures in a row, whatever [`min_calls`](Self::min_calls) says. Default: no such rule.
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive = Some(failures);
        self
    }

    /// Share of failures in a window that opens the breaker, above 0 and at most 1; a rate equal to it does. In the
    /// probe phase it is the share of probes. Default 0.5.
    pub fn failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = rate;
        self
    }

    /// Also opens when the share `rate` of calls took `threshold` or longer, successful or not: over HTTP until the head
    /// of the answer, so that no client that reads slowly makes the upstream look slow; elsewhere until the outcome, or
    /// [`Permit::answered`](crate::Permit::answered). Default: time is not looked at, since only the programmer knows what
    /// is slow.
    pub fn slow_calls(mut self, threshold: Duration, rate: f64) -> Self {
        self.slow = Some((threshold, rate));
        self
    }

    /// Calls a window must hold before its rates mean anything; a count window that is shorter counts as full instead.
    /// Default 20: one failure of a quiet night opens nothing.
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// How long the breaker stays open; a plain `Duration` is a fixed period. Default
    /// [`OpenPeriod::exponential`] from 5 s to 60 s.
    pub fn open_for(mut self, period: impl Into<OpenPeriod>) -> Self {
        self.open = period.into();
        self
    }

    /// Calls that may pass while half open (1 to 1024); their outcomes decide. Default 3: one lucky answer does not let
    /// everybody back in.
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// How long a probe may hold its slot. One that hangs longer counts as failed, unless its response has begun well
    /// and only the rest of the body is missing. Default 10 s.
    pub fn probe_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long the probe phase may last without a verdict (all probes cancelled or ignored, say) before the breaker
    /// opens again for a period. Default 60 s.
    pub fn half_open_limit(mut self, limit: Duration) -> Self {
        self.half_open_limit = limit;
        self
    }

    /// What follows a probe phase without a verdict: [`State::Open`] for a period, or [`State::Closed`]. Default open:
    /// nobody has shown that the upstream is well.
    pub fn after_half_open_limit(mut self, state: State) -> Self {
        self.after_limit = state;
        self
    }

    /// After the probes, admits a growing share of calls, from a tenth to all of them at the end of `length`; the others
    /// are rejected with [`RejectReason::Ramping`](crate::RejectReason::Ramping). For upstreams that start cold.
    /// Default: all at once.
    pub fn ramp_up(mut self, length: Duration) -> Self {
        self.ramp = Some(length);
        self
    }

    /// Whether a success may open the breaker: the one with which a window reaches [`min_calls`](Self::min_calls)
    /// while its rate is at the threshold, or after which older calls have left. Default `true`, as Resilience4j
    /// does; with `false` only failures and slow calls open it, as Polly does.
    pub fn open_on_success(mut self, opens: bool) -> Self {
        self.open_on_success = opens;
        self
    }

    /// The state to start in; [`State::Open`] lasts for one open period. Default [`State::Closed`].
    pub fn initial_state(mut self, state: State) -> Self {
        self.initial = state;
        self
    }

    /// What tells the time. Default [`Clock::Tokio`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// What a call means that was dropped before it had an outcome. Default
    /// [`CancelPolicy::FailureIfOlderThan`] the threshold of [`slow_calls`](Self::slow_calls), or one second.
    pub fn on_cancel(mut self, policy: CancelPolicy) -> Self {
        self.cancel = Some(policy);
        self
    }

    /// Makes the breaker, closed unless told otherwise.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the method whose value cannot work: a rate that is NaN or not in 0–100 %, a window, period
    /// or number that is zero or beyond its limit.
    pub fn build(self) -> Result<Breaker, ConfigError> {
        let config = self.config()?;
        Ok(Breaker::new(self.name(), config, self.clock))
    }

    /// For many breakers with the same settings.
    pub(crate) fn template(&self) -> Result<Template, ConfigError> {
        Ok(Template::new(&self.name(), true, self.config()?, self.clock))
    }

    pub(crate) fn name(&self) -> Name {
        Name::from(&self.name)
    }

    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        if self.name.is_empty() {
            return Err(ConfigError::new("name", "it is empty"));
        }
        let mut time_window = self.time_window.map(|length| positive("time_window", length)).transpose()?;
        if time_window.is_some_and(|length| length < Duration::from_millis(1)) {
            return Err(ConfigError::new("time_window", "it must be at least a millisecond"));
        }
        let count_window =
            self.count_window.map(|calls| within("count_window", calls, MAX_COUNT_WINDOW)).transpose()?;
        let consecutive =
            self.consecutive.map(|run| within("consecutive_failures", run, u32::MAX)).transpose()?;
        if time_window.is_none() && count_window.is_none() && (consecutive.is_none() || self.slow.is_some()) {
            time_window = Some(Duration::from_secs(10));
        }
        let slow = match self.slow {
            Some((threshold, rate)) => {
                Some((positive("slow_calls", threshold)?, Rate::new("slow_calls", rate)?))
            }
            None => None,
        };
        self.open.check()?;
        if !matches!(self.after_limit, State::Open | State::Closed) {
            return Err(ConfigError::new("after_half_open_limit", "it is neither open nor closed"));
        }
        let patience = slow.map_or(Duration::from_secs(1), |(threshold, _)| threshold);
        Ok(Config {
            time_window,
            count_window,
            consecutive,
            failure_rate: Rate::new("failure_rate", self.failure_rate)?,
            slow,
            min_calls: u64::from(within("min_calls", self.min_calls, u32::MAX)?),
            open: self.open,
            probes: within("probes", self.probes, MAX_PROBES)?,
            lease: positive("probe_lease", self.lease)?,
            half_open_limit: positive("half_open_limit", self.half_open_limit)?,
            cancel: self.cancel.unwrap_or(CancelPolicy::FailureIfOlderThan(patience)),
            ramp: self.ramp.map(|length| positive("ramp_up", length)).transpose()?,
            open_on_success: self.open_on_success,
            after_limit: self.after_limit,
            initial: self.initial,
        })
    }
}

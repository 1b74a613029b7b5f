use std::fmt;
use std::time::Duration;

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls pass and are counted.
    Closed,
    /// A few probes pass; their outcomes decide.
    HalfOpen,
    /// Calls are rejected until the open period is over.
    Open,
    /// Calls are rejected until somebody says otherwise.
    ForcedOpen,
    /// Calls pass and nothing is counted.
    Disabled,
    /// Calls pass and are counted; the breaker never opens.
    MetricsOnly,
}

impl State {
    /// The name used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a finished call says about the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing: the call is not counted, and a probe gives its slot back.
    Ignored,
}

/// An [`Outcome`], with what the upstream said about when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    outcome: Outcome,
    retry_after: Option<Duration>,
}

impl Verdict {
    /// The call succeeded.
    pub const SUCCESS: Self = Self { outcome: Outcome::Success, retry_after: None };
    /// The call failed.
    pub const FAILURE: Self = Self { outcome: Outcome::Failure, retry_after: None };
    /// The call says nothing.
    pub const IGNORED: Self = Self { outcome: Outcome::Ignored, retry_after: None };

    /// The upstream asks to be left alone that long. It matters when this call opens the breaker and the open period
    /// listens to hints: see [`OpenPeriod::retry_after_up_to`](crate::OpenPeriod::retry_after_up_to).
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The outcome.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// How long the upstream asks to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, retry_after: None }
    }
}

use std::time::Duration;

use super::outcome::State;
use super::period::OpenPeriod;
use crate::error::ConfigError;

/// What a call means that was dropped before it had an outcome: a client went away, or a timeout outside the breaker
/// fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelPolicy {
    /// It is not counted.
    Ignore,
    /// It counts as a failure.
    Failure,
    /// It counts as a failure when it had already taken at least this long, and not otherwise: impatient clients do
    /// no harm, and an upstream that hangs is found although only a timeout outside sees it.
    FailureIfOlderThan(Duration),
}

/// A part of a million, so that a rate equal to its threshold is seen exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(u64);

impl Rate {
    pub(crate) fn new(field: &'static str, rate: f64) -> Result<Self, ConfigError> {
        if rate.is_nan() || rate <= 0.0 || rate > 1.0 {
            return Err(ConfigError::new(field, format!("{rate} is not above 0 and at most 1 (100 %)")));
        }
        // In 1..=1_000_000 by the check above.
        Ok(Self(((rate * 1e6).round() as u64).max(1)))
    }

    pub(crate) fn exceeded(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 1_000_000 > u128::from(whole) * u128::from(self.0)
    }

    pub(crate) fn reached(self, part: u64, whole: u64) -> bool {
        part > 0 && u128::from(part) * 1_000_000 >= u128::from(whole) * u128::from(self.0)
    }
}

/// A duration in which something can happen.
pub(crate) fn positive(field: &'static str, value: Duration) -> Result<Duration, ConfigError> {
    if value.is_zero() { Err(ConfigError::new(field, "it must be longer than zero")) } else { Ok(value) }
}

/// A number from one to `limit`.
pub(crate) fn within(field: &'static str, value: u32, limit: u32) -> Result<u32, ConfigError> {
    if (1..=limit).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::new(field, format!("{value} is not in 1..={limit}")))
    }
}

/// Checked settings of a breaker.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) time_window: Option<Duration>,
    pub(crate) count_window: Option<u32>,
    pub(crate) consecutive: Option<u32>,
    pub(crate) failure_rate: Rate,
    pub(crate) slow: Option<(Duration, Rate)>,
    pub(crate) min_calls: u64,
    pub(crate) open: OpenPeriod,
    pub(crate) probes: u32,
    pub(crate) lease: Duration,
    pub(crate) half_open_limit: Duration,
    pub(crate) cancel: CancelPolicy,
    pub(crate) ramp: Option<Duration>,
    /// Whether a success may open too, when with it the minimum is reached.
    pub(crate) open_on_success: bool,
    /// Open or closed: where a probe phase without a verdict leads.
    pub(crate) after_limit: State,
    pub(crate) initial: State,
}

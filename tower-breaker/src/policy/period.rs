use std::time::Duration;

use crate::error::ConfigError;

/// How long a breaker stays open.
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::OpenPeriod;
///
/// // 1 s, 2 s, 4 s … 30 s, or what the upstream's Retry-After says, up to a minute.
/// let period = OpenPeriod::exponential(Duration::from_secs(1), Duration::from_secs(30))
///     .retry_after_up_to(Duration::from_secs(60));
/// # let _ = period;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenPeriod {
    base: Duration,
    max: Duration,
    jitter: bool,
    hint_cap: Option<Duration>,
}

impl OpenPeriod {
    /// Always the same period, without jitter.
    #[must_use]
    pub const fn fixed(period: Duration) -> Self {
        Self { base: period, max: period, jitter: false, hint_cap: None }
    }

    /// `base` at first, twice as long after each probe phase that failed, at most `max`; back to `base` once the
    /// breaker has closed. With jitter.
    #[must_use]
    pub const fn exponential(base: Duration, max: Duration) -> Self {
        Self { base, max, jitter: true, hint_cap: None }
    }

    /// Whether each period is drawn between one half and the whole of itself, so that many clients of one upstream do
    /// not probe it at the same moment. Default: yes for [`exponential`](Self::exponential), no for
    /// [`fixed`](Self::fixed).
    #[must_use]
    pub const fn jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    /// Lets the upstream's own `Retry-After` set the period, up to `cap`. Default: hints are not followed, since a
    /// wrong one would shut a healthy upstream out.
    #[must_use]
    pub const fn retry_after_up_to(mut self, cap: Duration) -> Self {
        self.hint_cap = Some(cap);
        self
    }

    /// No period is longer, whatever the upstream says.
    pub(crate) fn longest(&self) -> Duration {
        self.max.max(self.hint_cap.unwrap_or_default())
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.base.is_zero() {
            return Err(ConfigError::new("open_for", "the period must be longer than zero"));
        }
        if self.max < self.base {
            return Err(ConfigError::new("open_for", "the longest period is shorter than the first"));
        }
        if self.hint_cap.is_some_and(|cap| cap.is_zero()) {
            return Err(ConfigError::new("open_for", "the cap of hints must be longer than zero"));
        }
        Ok(())
    }

    /// The period after `reopenings` failed probe phases; `random` is uniform.
    pub(crate) fn length(&self, reopenings: u32, hint: Option<Duration>, random: u64) -> Duration {
        if let (Some(cap), Some(hint)) = (self.hint_cap, hint.filter(|hint| !hint.is_zero())) {
            return hint.min(cap);
        }
        let factor = 1_u32.checked_shl(reopenings).unwrap_or(u32::MAX);
        let whole = self.base.saturating_mul(factor).min(self.max);
        if !self.jitter {
            return whole;
        }
        let half = whole / 2;
        let share = u32::try_from(random >> 32).unwrap_or(u32::MAX);
        // half × share / 2^32, in two steps so that no product overflows.
        whole - half.mul_f64(f64::from(share) / f64::from(u32::MAX)).min(half)
    }
}

impl From<Duration> for OpenPeriod {
    fn from(period: Duration) -> Self {
        Self::fixed(period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_limit_and_never_overflows() {
        let period = OpenPeriod::exponential(Duration::from_secs(1), Duration::MAX).jitter(false);
        assert_eq!(period.length(0, None, 0), Duration::from_secs(1));
        assert_eq!(period.length(5, None, 0), Duration::from_secs(32));
        assert!(period.length(u32::MAX, None, 0) > Duration::from_secs(1 << 30));
        assert_eq!(OpenPeriod::fixed(Duration::MAX).length(40, None, 7), Duration::MAX);
        let jittered = OpenPeriod::fixed(Duration::MAX).jitter(true);
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(jittered.length(0, None, random) >= Duration::MAX / 2 - Duration::from_secs(1));
        }
    }

    #[test]
    fn hints_are_followed_only_when_asked_and_capped() {
        let second = Duration::from_secs(1);
        assert_eq!(OpenPeriod::fixed(second).length(0, Some(second * 9), 0), second);
        let listens = OpenPeriod::fixed(second).retry_after_up_to(second * 5);
        assert_eq!(listens.length(0, Some(second * 3), 0), second * 3);
        assert_eq!(listens.length(0, Some(second * 9), 0), second * 5);
        assert_eq!(listens.length(0, Some(Duration::ZERO), 0), second);
    }
}

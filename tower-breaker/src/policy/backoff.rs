use std::time::Duration;

/// Exponential growth with full jitter: each wait is drawn between zero and a bound that doubles, so that clients that
/// failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// The wait before retry number `retry` (1 for the first one); `random` is uniform.
    pub(crate) fn wait(self, retry: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.base.saturating_mul(factor).min(self.max);
        let share = u32::try_from(random >> 32).unwrap_or(u32::MAX);
        // A float product may round up beyond the bound, and beyond what a duration holds for the longest ones.
        let seconds = bound.as_secs_f64() * f64::from(share) / f64::from(u32::MAX);
        Duration::try_from_secs_f64(seconds).unwrap_or(bound).min(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_bound_doubles_up_to_the_longest_wait() {
        let backoff = Backoff { base: SECOND, max: SECOND * 5 };
        let longest = |retry| backoff.wait(retry, u64::MAX);
        assert_eq!([1, 2, 3, 4, 40, u32::MAX].map(longest), [1, 2, 4, 5, 5, 5].map(|n| SECOND * n));
        assert_eq!(backoff.wait(3, 0), Duration::ZERO);
    }

    #[test]
    fn waits_are_spread_over_the_whole_range_and_never_overflow() {
        let backoff = Backoff { base: SECOND, max: SECOND };
        assert_eq!(backoff.wait(1, u64::from(u32::MAX / 5) << 32).as_millis(), 200);
        let endless = Backoff { base: Duration::MAX, max: Duration::MAX };
        for random in [0, 1, u64::MAX / 3, u64::MAX - 1, u64::MAX] {
            assert!(endless.wait(u32::MAX, random) <= Duration::MAX);
        }
    }
}

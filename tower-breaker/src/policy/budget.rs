use std::time::{Duration, Instant};

/// How many retries may be under way: a share of the calls, and a few more so that a quiet client may retry at all.
///
/// The bucket is filled by calls and by time, emptied by retries, and never holds more than [`WINDOW`] earns: what was
/// saved up long ago says nothing about the load of now.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    /// Thousandths of a retry.
    tokens: u64,
    ceiling: u64,
    per_call: u64,
    per_second: u64,
    seen: Instant,
}

/// How long tokens may be saved up.
const WINDOW: Duration = Duration::from_secs(10);

const RETRY: u64 = 1000;

/// Nanoseconds.
const SECOND: u128 = 1_000_000_000;

impl Budget {
    /// `percent` of the calls, and `per_second` retries besides.
    pub(crate) fn new(percent: u32, per_second: u32, now: Instant) -> Self {
        let per_second = u64::from(per_second) * RETRY;
        let reserve = per_second.saturating_mul(WINDOW.as_secs());
        Self {
            tokens: per_second,
            ceiling: reserve.max(100 * RETRY),
            per_call: u64::from(percent) * RETRY / 100,
            per_second,
            seen: now,
        }
    }

    /// A call was made.
    pub(crate) fn deposit(&mut self, now: Instant) {
        self.refill(now);
        self.tokens = (self.tokens + self.per_call).min(self.ceiling);
    }

    /// Takes one retry out, if there is one.
    pub(crate) fn withdraw(&mut self, now: Instant) -> bool {
        self.refill(now);
        let enough = self.tokens >= RETRY;
        if enough {
            self.tokens -= RETRY;
        }
        enough
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.seen).min(WINDOW);
        let per_second = u128::from(self.per_second);
        let earned = per_second * passed.as_nanos() / SECOND;
        // What of the time has not earned anything yet is kept for the next look.
        let spent = (earned * SECOND).div_ceil(per_second.max(1));
        let left = passed.saturating_sub(Duration::from_nanos(u64::try_from(spent).unwrap_or(u64::MAX)));
        let seen = self.seen.max(now);
        self.seen = seen.checked_sub(left).unwrap_or(seen);
        self.tokens = self.tokens.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX)).min(self.ceiling);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any moment to start from")]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_calls() {
        let now = Instant::now();
        let mut budget = Budget::new(20, 0, now);
        assert!(!budget.withdraw(now));
        (0..10).for_each(|_| budget.deposit(now));
        assert!(budget.withdraw(now));
        assert!(budget.withdraw(now));
        assert!(!budget.withdraw(now));
    }

    #[test]
    fn a_quiet_client_earns_by_time_in_however_small_steps() {
        let start = Instant::now();
        let mut budget = Budget::new(0, 1, start);
        assert!(budget.withdraw(start));
        assert!(!budget.withdraw(start));
        for micros in 1..=100_000 {
            let _ = budget.withdraw(start + Duration::from_micros(micros));
        }
        assert!(!budget.withdraw(start + Duration::from_millis(900)));
        assert!(budget.withdraw(start + Duration::from_millis(1001)));
    }

    /// However often it is asked, what was earned is by the time that passed and not by the number of questions.
    #[test]
    fn no_part_of_the_time_is_lost_between_questions() {
        for (micros, per_second) in [(1_999, 1), (999, 3), (100_001, 7), (1, 1_000)] {
            let start = Instant::now();
            let mut budget = Budget::new(0, per_second, start);
            (0..per_second).for_each(|_| assert!(budget.withdraw(start)));
            let questions = (4_000_000 / micros).min(50_000);
            let passed = |question: u64| start + Duration::from_micros(micros * question);
            let granted =
                (1..=questions).filter(|question| budget.withdraw(passed(*question))).count() as u64;
            let earned = u64::from(per_second) * micros * questions / 1_000_000;
            assert!((earned.saturating_sub(1)..=earned).contains(&granted), "{granted} of {earned}");
        }
    }

    #[test]
    fn what_was_saved_up_is_no_more_than_a_window_earns() {
        let start = Instant::now();
        let later = start + Duration::from_secs(3_600);
        let mut budget = Budget::new(20, 20, start);
        assert_eq!((0..1_000).filter(|_| budget.withdraw(later)).count(), 200);
        // Calls in plenty save up no more.
        (0..100_000).for_each(|_| budget.deposit(later));
        assert_eq!((0..1_000).filter(|_| budget.withdraw(later)).count(), 200);
        let mut budget = Budget::new(20, 0, start);
        (0..100_000).for_each(|_| budget.deposit(later));
        assert_eq!((0..1_000).filter(|_| budget.withdraw(later)).count(), 100);
    }
}

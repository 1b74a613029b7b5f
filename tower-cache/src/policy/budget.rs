//! What a request may spend on waiting for its store.

use std::time::{Duration, Instant};

/// The time spent so far. All waits for the store are paid from one purse; what happens between them costs nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    spent: Duration,
    since: Option<Instant>,
    waited: bool,
}

impl Budget {
    /// A wait begins; until when it may last, where `all` is what there is in all.
    pub(crate) fn begin(&mut self, now: Instant, all: Duration) -> Instant {
        (self.since, self.waited) = (Some(now), true);
        now + all.saturating_sub(self.spent)
    }

    /// It is over.
    pub(crate) fn end(&mut self, now: Instant) {
        self.end_with(|| now);
    }

    /// It is over, if one has begun; what time it is counts only then.
    pub(crate) fn end_with(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(since) = self.since.take() {
            self.spent = self.spent.saturating_add(now().saturating_duration_since(since));
        }
    }

    /// Whether the store has had to be waited for.
    pub(crate) fn has_waited(&self) -> bool {
        self.waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_paid_from_one_purse_and_what_lies_between_is_free() {
        #[expect(clippy::disallowed_methods, reason = "only differences count")]
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let all = Duration::from_millis(50);
        let mut budget = Budget::default();
        assert!(!budget.has_waited());
        assert_eq!(budget.begin(at(0), all), at(50));
        budget.end(at(30));
        budget.end(at(40));
        assert_eq!(budget.begin(at(1000), all), at(1020), "20 of 50 are left");
        budget.end(at(1015));
        assert_eq!(budget.begin(at(2000), all), at(2005));
        budget.end(at(2010));
        assert_eq!(budget.begin(at(3000), all), at(3000), "nothing is left");
        assert!(budget.has_waited());
    }
}

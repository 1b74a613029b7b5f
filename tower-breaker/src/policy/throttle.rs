use std::time::{Duration, Instant};

const SLOTS: usize = 10;

/// Checked settings of a throttle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThrottleConfig {
    pub(crate) window: Duration,
    pub(crate) ratio: f64,
    pub(crate) padding: u32,
}

/// Requests and accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) accepts: u64,
}

/// Client-side throttling (Site Reliability Engineering, chapter 21): the requests of a window beside those that the
/// upstream accepted. The window is ten slots, the newest of which is filling.
#[derive(Debug)]
pub(crate) struct ThrottlePolicy {
    config: ThrottleConfig,
    slots: [Tally; SLOTS],
    sum: Tally,
    slot: Duration,
    origin: Instant,
    current: u64,
}

/// Where a request was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u64);

impl ThrottlePolicy {
    pub(crate) fn new(config: ThrottleConfig, now: Instant) -> Self {
        let slot = (config.window / SLOTS as u32).max(Duration::from_nanos(1));
        Self {
            config,
            slots: [Tally::default(); SLOTS],
            sum: Tally::default(),
            slot,
            origin: now,
            current: 0,
        }
    }

    /// Counts a request and decides it; `random` is asked only when it matters, and uniform. `None` is a rejection.
    pub(crate) fn admit(&mut self, now: Instant, random: impl FnOnce() -> u64) -> Option<Slot> {
        let share = self.rejected_share(now);
        let slot = self.slot_mut();
        slot.requests += 1;
        self.sum.requests += 1;
        if share > 0.0 {
            let drawn = u32::try_from(random() >> 32).unwrap_or(u32::MAX);
            // In 0..1, so that a share of 1 would reject everything.
            if f64::from(drawn) / (f64::from(u32::MAX) + 1.0) < share {
                return None;
            }
        }
        Some(Slot(self.current))
    }

    /// The upstream accepted a request.
    pub(crate) fn accepted(&mut self, now: Instant) {
        self.advance(now);
        let slot = self.slot_mut();
        slot.accepts += 1;
        self.sum.accepts += 1;
    }

    /// A request says nothing: it is as if it had not been made.
    pub(crate) fn forget(&mut self, now: Instant, counted: Slot) {
        self.advance(now);
        if self.current.saturating_sub(counted.0) >= SLOTS as u64 {
            return;
        }
        let slot = &mut self.slots[(counted.0 % SLOTS as u64) as usize];
        if slot.requests > 0 {
            slot.requests -= 1;
            self.sum.requests -= 1;
        }
    }

    /// The share of requests that is rejected now: `max(0, (requests − K × accepts) / (requests + padding))`.
    pub(crate) fn rejected_share(&mut self, now: Instant) -> f64 {
        self.advance(now);
        let Tally { requests, accepts } = self.sum;
        let excess = requests as f64 - self.config.ratio * accepts as f64;
        (excess / (requests as f64 + f64::from(self.config.padding))).max(0.0)
    }

    pub(crate) fn tally(&mut self, now: Instant) -> Tally {
        self.advance(now);
        self.sum
    }

    fn slot_mut(&mut self) -> &mut Tally {
        &mut self.slots[(self.current % SLOTS as u64) as usize]
    }

    /// A clock that goes backwards changes nothing.
    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.origin);
        let index = u64::try_from(elapsed.as_nanos() / self.slot.as_nanos()).unwrap_or(u64::MAX);
        if index <= self.current {
            return;
        }
        if index - self.current >= SLOTS as u64 {
            self.slots = [Tally::default(); SLOTS];
        } else {
            for passed in self.current + 1..=index {
                self.slots[(passed % SLOTS as u64) as usize] = Tally::default();
            }
        }
        self.current = index;
        self.sum = self.slots.iter().fold(Tally::default(), |sum, slot| Tally {
            requests: sum.requests + slot.requests,
            accepts: sum.accepts + slot.accepts,
        });
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any moment to start from")]
mod tests {
    use super::*;

    const CONFIG: ThrottleConfig = ThrottleConfig { window: Duration::from_secs(10), ratio: 2.0, padding: 1 };

    fn never() -> u64 {
        panic!("nothing to draw for")
    }

    #[test]
    fn nothing_is_rejected_while_half_of_the_requests_are_accepted() {
        let now = Instant::now();
        let mut policy = ThrottlePolicy::new(CONFIG, now);
        for _ in 0..100 {
            policy.accepted(now);
            for _ in 0..2 {
                assert!(policy.admit(now, never).is_some());
            }
        }
        assert_eq!(policy.rejected_share(now), 0.0);
        assert!(policy.admit(now, never).is_some());
        assert_eq!(policy.rejected_share(now), 1.0 / 202.0);
    }

    #[test]
    fn the_share_is_that_of_the_book() {
        let now = Instant::now();
        let mut policy = ThrottlePolicy::new(CONFIG, now);
        for _ in 0..100 {
            policy.admit(now, || u64::MAX).unwrap();
        }
        (0..10).for_each(|_| policy.accepted(now));
        assert_eq!(policy.rejected_share(now), 80.0 / 101.0);
        let at = |share: f64| (share * 2f64.powi(32)) as u64;
        assert!(policy.admit(now, || at(0.78) << 32).is_none());
        assert!(policy.admit(now, || at(0.80) << 32).is_some());
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten_and_the_clock_may_go_back() {
        let start = Instant::now() + Duration::from_secs(60);
        let mut policy = ThrottlePolicy::new(CONFIG, start);
        for second in 0..10 {
            policy.admit(start + Duration::from_secs(second), || u64::MAX).unwrap();
        }
        let tally =
            |policy: &mut ThrottlePolicy, second| policy.tally(start + Duration::from_secs(second)).requests;
        assert_eq!(tally(&mut policy, 9), 10);
        assert_eq!(tally(&mut policy, 12), 7);
        assert_eq!(policy.tally(start - Duration::from_secs(30)).requests, 7);
        assert_eq!(tally(&mut policy, 1000), 0);
    }

    #[test]
    fn a_request_that_says_nothing_is_taken_back_once_and_only_from_its_window() {
        let now = Instant::now();
        let mut policy = ThrottlePolicy::new(CONFIG, now);
        let slot = policy.admit(now, never).unwrap();
        policy.forget(now, slot);
        policy.forget(now, slot);
        assert_eq!(policy.tally(now), Tally::default());
        let slot = policy.admit(now, never).unwrap();
        let later = now + Duration::from_secs(10);
        policy.admit(later, || u64::MAX).unwrap();
        policy.forget(later, slot);
        assert_eq!(policy.tally(later).requests, 1);
    }
}

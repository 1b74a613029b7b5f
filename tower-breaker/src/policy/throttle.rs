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

    /// Decides a request; `random` is asked only when it matters, and uniform. A rejected one is counted at once, any
    /// other when it has [`ended`](Self::ended): until then the upstream had no chance to accept it.
    pub(crate) fn admits(&mut self, now: Instant, random: impl FnOnce() -> u64) -> bool {
        let share = self.rejected_share(now);
        if share > 0.0 {
            let drawn = u32::try_from(random() >> 32).unwrap_or(u32::MAX);
            // In 0..1, so that a share of 1 would reject everything.
            if f64::from(drawn) / (f64::from(u32::MAX) + 1.0) < share {
                self.count(false);
                return false;
            }
        }
        true
    }

    /// The upstream has accepted a request, or has not.
    pub(crate) fn ended(&mut self, now: Instant, accepted: bool) {
        self.advance(now);
        self.count(accepted);
    }

    fn count(&mut self, accepted: bool) {
        let slot = &mut self.slots[(self.current % SLOTS as u64) as usize];
        for tally in [slot, &mut self.sum] {
            tally.requests += 1;
            tally.accepts += u64::from(accepted);
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
            for accepted in [true, false] {
                assert!(policy.admits(now, never));
                policy.ended(now, accepted);
            }
        }
        assert_eq!(policy.rejected_share(now), 0.0);
        policy.ended(now, false);
        assert_eq!(policy.rejected_share(now), 1.0 / 202.0);
    }

    #[test]
    fn the_share_is_that_of_the_book() {
        let now = Instant::now();
        let mut policy = ThrottlePolicy::new(CONFIG, now);
        (0..100).for_each(|number| policy.ended(now, number < 10));
        assert_eq!(policy.rejected_share(now), 80.0 / 101.0);
        let at = |share: f64| (share * 2f64.powi(32)) as u64;
        assert!(!policy.admits(now, || at(0.78) << 32));
        assert!(policy.admits(now, || at(0.80) << 32));
        assert_eq!(policy.tally(now), Tally { requests: 101, accepts: 10 });
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten_and_the_clock_may_go_back() {
        let start = Instant::now() + Duration::from_secs(60);
        let mut policy = ThrottlePolicy::new(CONFIG, start);
        for second in 0..10 {
            policy.ended(start + Duration::from_secs(second), false);
        }
        let tally =
            |policy: &mut ThrottlePolicy, second| policy.tally(start + Duration::from_secs(second)).requests;
        assert_eq!(tally(&mut policy, 9), 10);
        assert_eq!(tally(&mut policy, 12), 7);
        assert_eq!(policy.tally(start - Duration::from_secs(30)).requests, 7);
        assert_eq!(tally(&mut policy, 1000), 0);
    }
}

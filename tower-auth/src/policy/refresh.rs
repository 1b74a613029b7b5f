//! When a remote key set is fetched: a value that receives `now`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Most unknown ids that are remembered; more are still held back by the bucket.
const MAX_UNKNOWN: usize = 1_024;
/// Longest time for which an id is taken as absent.
const MAX_ABSENT: Duration = Duration::from_secs(3_600);
/// Longest pause after failed fetches.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// So long after a failed fetch the next one is not waited for where there is a set that may still serve: an issuer that
/// hangs must not hold up everybody once in each pause. Longer than the longest pause and a fetch after it.
const LATELY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    /// A set is never used longer than this while the issuer answers; the issuer may say less.
    pub(crate) refresh_every: Duration,
    /// How much longer the last good set serves while the issuer does not answer.
    pub(crate) stale_for: Duration,
    /// Fetches for unknown ids: so many at once, …
    pub(crate) burst: u32,
    /// … and one more after each of these.
    pub(crate) refill: Duration,
}

/// What to do for one lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Use what is there.
    Use,
    /// Use what is there, and start a fetch.
    UseAndFetch,
    /// Start or join a fetch and wait for it.
    FetchAndWait,
    /// Nothing can be used; ask again after this.
    Unavailable(Duration),
}

/// A set of keys in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) age: Duration,
    /// At this age the next fetch begins, …
    pub(crate) ahead: Duration,
    /// … and at this one it is waited for.
    pub(crate) life: Duration,
}

impl Held {
    /// Whether the set answers a known id without asking [`Refresh`] at all.
    pub(crate) fn is_young(&self) -> bool {
        self.age < self.ahead
    }

    /// What [`Refresh::decide`] would say about a known id, as far as that can be said without its lock: by `calm`, which
    /// it published last, and by whether a fetch runs.
    pub(crate) fn glance(
        &self,
        now: Instant,
        calm: Option<&Calm>,
        stale_for: Duration,
        fetching: bool,
    ) -> Glance {
        let dead = self.age >= self.life.saturating_add(stale_for);
        let until = |until: fn(&Calm) -> Instant| !dead && calm.is_some_and(|calm| now < until(calm));
        if self.is_young() || until(|calm| calm.pause_until) {
            return Glance::Use;
        }
        match (self.age < self.life || until(|calm| calm.failing_until), fetching) {
            (true, true) => Glance::Use,
            (true, false) => Glance::UseAndStart,
            (false, _) => Glance::Ask,
        }
    }
}

/// What failed fetches mean for those who have a set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calm {
    /// Before this nothing is fetched.
    pub(crate) pause_until: Instant,
    /// Before this nobody waits for a fetch as long as the set may be used.
    pub(crate) failing_until: Instant,
}

/// What to do for a known id at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Glance {
    /// Use what is there.
    Use,
    /// Use what is there; it is time that somebody starts a fetch.
    UseAndStart,
    /// Only [`Refresh::decide`] can say.
    Ask,
}

/// What happened so far.
#[derive(Debug)]
pub(crate) struct Refresh {
    schedule: Schedule,
    failures: u32,
    not_before: Option<Instant>,
    failed_at: Option<Instant>,
    bucket: u32,
    refilled: Option<Instant>,
    unknown: HashMap<String, Instant>,
}

impl Refresh {
    pub(crate) fn new(schedule: Schedule) -> Self {
        let bucket = schedule.burst;
        Self {
            schedule,
            failures: 0,
            not_before: None,
            failed_at: None,
            bucket,
            refilled: None,
            unknown: HashMap::new(),
        }
    }

    /// `held`: the set there is, `None` before the first. `kid`: the wanted id when the set does not have it.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        held: Option<Held>,
        kid: Option<&str>,
        waited: bool,
    ) -> Act {
        let pause = self.not_before.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let may_fetch = pause.is_zero() && !waited;
        let retry = pause.max(Duration::from_secs(1));
        let Some(held) = held else {
            return if may_fetch { Act::FetchAndWait } else { Act::Unavailable(retry) };
        };
        if held.age >= held.life {
            let dead = held.age >= held.life.saturating_add(self.schedule.stale_for);
            let failing = self.failed_at.is_some_and(|at| now.saturating_duration_since(at) < LATELY);
            if may_fetch && (dead || !failing) {
                return Act::FetchAndWait;
            }
            if dead {
                return Act::Unavailable(retry);
            }
        }
        if let Some(kid) = kid {
            return self.decide_unknown(now, kid, waited, pause);
        }
        if may_fetch && !held.is_young() { Act::UseAndFetch } else { Act::Use }
    }

    fn decide_unknown(&mut self, now: Instant, kid: &str, waited: bool, pause: Duration) -> Act {
        // While the issuer does not answer, nobody can say that there is no such key.
        if self.failures > 0 {
            return if waited || !pause.is_zero() || !self.take(now) {
                Act::Unavailable(pause.max(Duration::from_secs(1)))
            } else {
                Act::FetchAndWait
            };
        }
        if waited {
            self.remember(now, kid);
            return Act::Use;
        }
        if self.is_known_absent(now, kid) || !self.take(now) {
            return Act::Use;
        }
        Act::FetchAndWait
    }

    /// Whether a fetch has shown a moment ago that there is no such key.
    pub(crate) fn is_known_absent(&self, now: Instant, kid: &str) -> bool {
        self.unknown.get(kid).is_some_and(|until| now < *until)
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = *self.refilled.get_or_insert(now);
        let periods =
            now.saturating_duration_since(since).as_nanos() / self.schedule.refill.as_nanos().max(1);
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if periods > 0 {
            self.bucket = self.bucket.saturating_add(periods).min(self.schedule.burst);
            self.refilled = Some(self.schedule.refill.checked_mul(periods).map_or(now, |gone| since + gone));
        }
        let took = self.bucket > 0;
        self.bucket = self.bucket.saturating_sub(1);
        took
    }

    fn remember(&mut self, now: Instant, kid: &str) {
        if self.unknown.len() >= MAX_UNKNOWN {
            self.unknown.retain(|_, until| now < *until);
        }
        if self.unknown.len() < MAX_UNKNOWN {
            // As long as the bucket needs for one more, but not for ever.
            self.unknown.insert(kid.to_owned(), now + self.schedule.refill.min(MAX_ABSENT));
        }
    }

    /// For [`Held::glance`].
    pub(crate) fn calm(&self) -> Option<Calm> {
        let failed_at = self.failed_at?;
        let pause_until = self.not_before.unwrap_or(failed_at);
        Some(Calm { pause_until, failing_until: failed_at + LATELY })
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        (self.not_before, self.failed_at) = (None, None);
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        let backoff = Duration::from_secs(1 << self.failures.min(5)).min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + backoff.min(self.schedule.refresh_every));
        self.failed_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn held(age: u32) -> Option<Held> {
        Some(Held { age: age * S, ahead: 75 * S, life: 100 * S })
    }

    fn warm() -> (Refresh, Instant) {
        let schedule = Schedule { refresh_every: 100 * S, stale_for: 1_000 * S, burst: 2, refill: 30 * S };
        (Refresh::new(schedule), Instant::now_for_test())
    }

    trait NowForTest {
        fn now_for_test() -> Instant;
    }

    impl NowForTest for Instant {
        #[allow(clippy::disallowed_methods, reason = "an arbitrary start")]
        fn now_for_test() -> Self {
            Self::now()
        }
    }

    #[test]
    fn ages() {
        let (mut refresh, now) = warm();
        assert_eq!(refresh.decide(now, None, None, false), Act::FetchAndWait);
        assert_eq!(refresh.decide(now, held(74), None, false), Act::Use);
        assert_eq!(refresh.decide(now, held(75), None, false), Act::UseAndFetch);
        assert_eq!(refresh.decide(now, held(100), None, false), Act::FetchAndWait);
        refresh.failed(now);
        assert_eq!(refresh.decide(now, held(100), None, false), Act::Use);
        assert_eq!(refresh.decide(now, held(1_099), None, false), Act::Use);
        // After the pause the next fetch is not waited for, unless the last one is long ago.
        assert_eq!(refresh.decide(now + S, held(100), None, false), Act::UseAndFetch);
        assert_eq!(refresh.decide(now + S, held(1_100), None, false), Act::FetchAndWait);
        assert_eq!(refresh.decide(now + 59 * S, held(1_099), None, false), Act::UseAndFetch);
        assert_eq!(refresh.decide(now + 60 * S, held(1_099), None, false), Act::FetchAndWait);
        assert_eq!(refresh.decide(now, held(1_100), None, false), Act::Unavailable(S));
        assert_eq!(refresh.decide(now, held(100), Some("new"), false), Act::Unavailable(S));
    }

    #[test]
    fn a_glance_says_what_would_be_decided() {
        let (mut refresh, now) = warm();
        let mut seen = [0; 3];
        for failed in [None, Some(1), Some(40), Some(400)] {
            if let Some(ago) = failed {
                refresh.failed(now - ago * S);
            }
            for age in [0, 74, 75, 99, 100, 130, 500, 1_099, 1_100, 2_000] {
                let calm = refresh.calm();
                let glance = |fetching| held(age).unwrap().glance(now, calm.as_ref(), 1_000 * S, fetching);
                let decided = refresh.decide(now, held(age), None, false);
                match glance(false) {
                    Glance::Use => assert_eq!((decided, glance(true)), (Act::Use, Glance::Use), "{age}"),
                    Glance::UseAndStart => {
                        assert_eq!((decided, glance(true)), (Act::UseAndFetch, Glance::Use), "{age}");
                    }
                    Glance::Ask => {
                        assert!(!matches!(decided, Act::Use | Act::UseAndFetch), "{age}");
                        assert_eq!(glance(true), Glance::Ask);
                    }
                }
                seen[glance(false) as usize] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count > 3), "{seen:?}");
    }

    #[test]
    fn random_ids_cost_three_fetches_in_a_minute() {
        let (mut refresh, now) = warm();
        let mut fetches = 0;
        for i in 0..100_000_u32 {
            let at = now + Duration::from_micros(u64::from(i) * 599);
            if refresh.decide(at, held(1), Some(&i.to_string()), false) == Act::FetchAndWait {
                fetches += 1;
                assert_eq!(refresh.decide(at, held(1), Some(&i.to_string()), true), Act::Use);
            }
        }
        assert_eq!(fetches, 3);
        assert!(refresh.unknown.len() <= MAX_UNKNOWN);
    }
}

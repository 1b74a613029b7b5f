use std::time::Duration;

/// The smallest share, so that a ramp admits from its first moment on.
const LEAST: f64 = 0.1;

/// After the probes: a growing share of calls, from a tenth to all, evenly spread.
#[derive(Debug)]
pub(crate) struct Ramp {
    start: u64,
    length: u64,
    /// Parts of a call that are owed.
    credit: f64,
}

impl Ramp {
    pub(crate) fn new(start: u64, length: u64) -> Self {
        // The first call passes: whoever closed the breaker is not rejected with the next one.
        Self { start, length, credit: 1.0 - LEAST }
    }

    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Whether this call passes, else how long until all do.
    pub(crate) fn admit(&mut self, now: u64) -> Result<(), Duration> {
        let share = now.saturating_sub(self.start) as f64 / self.length as f64;
        self.credit += share.clamp(LEAST, 1.0);
        if self.credit >= 1.0 - 1e-9 {
            self.credit -= 1.0;
            return Ok(());
        }
        Err(Duration::from_nanos(self.end().saturating_sub(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_from_a_tenth_to_all() {
        let mut ramp = Ramp::new(1_000, 1_000);
        let mut share = |now| (0..1_000).filter(|_| ramp.admit(now).is_ok()).count();
        assert_eq!([0, 1_000, 1_050, 1_250, 1_500, 2_000].map(&mut share), [100, 100, 100, 250, 500, 1_000]);
        assert_eq!(Ramp::new(5, 10).end(), 15);
        assert_eq!(ramp.admit(1_900), Ok(()));
    }
}

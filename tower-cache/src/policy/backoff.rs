//! When a store that fails is asked again.

use std::time::Duration;

/// How often in a row a store has failed, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Failures in a row that switch a store off.
    pub(crate) threshold: u32,
    /// How long it is left alone first.
    pub(crate) first: Duration,
    /// The longest it is left alone.
    pub(crate) longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { threshold: 3, first: Duration::from_millis(100), longest: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// How long to leave the store alone after this many failures in a row.
    pub(crate) fn pause(&self, failures: u32) -> Option<Duration> {
        let beyond = failures.checked_sub(self.threshold)?;
        Some(self.first.saturating_mul(1 << beyond.min(16)).min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let backoff = Backoff::default();
        let pauses: Vec<_> =
            (0..12).map(|failures| backoff.pause(failures).map(|pause| pause.as_millis())).collect();
        let expected = [None, None, None, Some(100), Some(200), Some(400), Some(800), Some(1600), Some(3200)];
        assert_eq!(pauses[..9], expected);
        assert_eq!(pauses[9..], [Some(5000); 3]);
        assert_eq!(backoff.pause(u32::MAX), Some(Duration::from_secs(5)));
    }
}

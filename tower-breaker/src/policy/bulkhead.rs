use std::time::Duration;

use crate::error::ConfigError;

/// Checked settings of a bulkhead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) limit: usize,
    pub(crate) queue: usize,
    pub(crate) max_wait: Duration,
    pub(crate) retry_after: Duration,
}

/// Larger numbers are mistakes, and within what a semaphore holds on every platform.
const MOST: usize = 1 << 24;

impl Limits {
    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        let out_of = |value: usize, from: usize| format!("{value} is not in {from}..={MOST}");
        if !(1..=MOST).contains(&self.limit) {
            return Err(ConfigError::new("limit", out_of(self.limit, 1)));
        }
        if self.queue > MOST {
            return Err(ConfigError::new("queue", out_of(self.queue, 0)));
        }
        if self.queue > 0 && self.max_wait.is_zero() {
            return Err(ConfigError::new("max_wait", "a queue nobody may wait in"));
        }
        if self.retry_after.is_zero() {
            return Err(ConfigError::new("retry_after", "it must be longer than zero"));
        }
        Ok(self)
    }

    /// The length of the queue once another call waits in it; `None` when it has no room.
    pub(crate) fn queued(&self, waiting: usize) -> Option<usize> {
        (waiting < self.queue).then(|| waiting + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Limits =
        Limits { limit: 1, queue: 2, max_wait: Duration::from_secs(1), retry_after: Duration::from_secs(1) };

    #[test]
    fn what_cannot_work_names_its_field() {
        assert!(FINE.check().is_ok());
        assert!(Limits { queue: 0, max_wait: Duration::ZERO, ..FINE }.check().is_ok());
        for (limits, field) in [
            (Limits { limit: 0, ..FINE }, "limit"),
            (Limits { limit: usize::MAX, ..FINE }, "limit"),
            (Limits { queue: usize::MAX, ..FINE }, "queue"),
            (Limits { max_wait: Duration::ZERO, ..FINE }, "max_wait"),
            (Limits { retry_after: Duration::ZERO, ..FINE }, "retry_after"),
        ] {
            assert_eq!(limits.check().unwrap_err().field(), field);
        }
    }

    #[test]
    fn the_queue_ends() {
        assert_eq!(FINE.queued(0), Some(1));
        assert_eq!(FINE.queued(1), Some(2));
        assert_eq!(FINE.queued(2), None);
    }
}

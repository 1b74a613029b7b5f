//! Where a breaker reads the time.

use std::time::Instant;

use crate::defect::{Defect, put_back};

/// What a breaker reads the time from, twice per call. See [`BreakerBuilder::clock`](crate::BreakerBuilder::clock).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Clock {
    /// [`tokio::time::Instant`], which follows tokio's paused time; about 21 ns a reading. The default, and the clock
    /// that works everywhere, also without a runtime.
    #[default]
    Tokio,
    /// The processor's time stamp counter, by the crate `quanta`: less than half of that. The first one of a process
    /// takes some milliseconds to compare the counter with the system's clock; where the processor has no steady
    /// counter it is the system's clock. A breaker that is built while tokio's time is paused reads
    /// [`Tokio`](Self::Tokio)'s clock instead, so that tests need not know; one that was built before the pause does
    /// not follow it.
    #[cfg(feature = "fast-clock")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fast-clock")))]
    Fast,
}

#[inline]
pub(crate) fn now() -> Instant {
    if put_back(Defect::SystemClock) {
        return Instant::now();
    }
    tokio::time::Instant::now().into_std()
}

/// A reading of the clock as it comes: most calls never ask how long they took.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stamp {
    Tokio(Instant),
    #[cfg(feature = "fast-clock")]
    Fast(u64),
}

/// Reads nanoseconds since the breaker was made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reader {
    Tokio {
        origin: Instant,
    },
    #[cfg(feature = "fast-clock")]
    Fast {
        origin: u64,
        clock: &'static quanta::Clock,
    },
}

impl Reader {
    pub(crate) fn new(clock: Clock) -> Self {
        match clock {
            Clock::Tokio => Self::Tokio { origin: now() },
            #[cfg(feature = "fast-clock")]
            Clock::Fast if paused() => Self::Tokio { origin: now() },
            #[cfg(feature = "fast-clock")]
            Clock::Fast => Self::Fast { origin: fast().raw(), clock: fast() },
        }
    }

    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        match self {
            Self::Tokio { .. } => Stamp::Tokio(now()),
            #[cfg(feature = "fast-clock")]
            Self::Fast { clock, .. } => Stamp::Fast(clock.raw()),
        }
    }

    /// A clock that goes backwards stands still at the origin.
    #[inline]
    pub(crate) fn since(&self, stamp: Stamp) -> u64 {
        match (self, stamp) {
            (Self::Tokio { origin }, Stamp::Tokio(now)) => {
                let since = now.saturating_duration_since(*origin);
                // 2^64 ns are 584 years.
                since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(since.subsec_nanos()))
            }
            #[cfg(feature = "fast-clock")]
            (Self::Fast { origin, clock }, Stamp::Fast(now)) => clock.delta_as_nanos(*origin, now),
            // Each reader keeps to its own clock.
            #[cfg(feature = "fast-clock")]
            _ => 0,
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::Tokio { .. } => self.since(Stamp::Tokio(now())),
            #[cfg(feature = "fast-clock")]
            Self::Fast { origin, clock } => clock.delta_as_nanos(*origin, clock.raw()),
        }
    }
}

#[cfg(feature = "fast-clock")]
fn fast() -> &'static quanta::Clock {
    static FAST: std::sync::OnceLock<quanta::Clock> = std::sync::OnceLock::new();
    FAST.get_or_init(quanta::Clock::new)
}

/// Whether tokio's time stands still while the system's goes on.
#[cfg(feature = "fast-clock")]
fn paused() -> bool {
    let (runtime, system) = (now(), Instant::now());
    while Instant::now() == system {
        std::hint::spin_loop();
    }
    now() == runtime
}

use std::fmt;
use std::time::Instant;

use crate::breaker::{Breaker, now};
use crate::policy::{Admission, CancelPolicy, Verdict};

/// The right to one call, from [`Breaker::try_acquire`].
///
/// Dropped without an outcome it counts as a cancelled call, by the breaker's
/// [`CancelPolicy`], and as a failure while the thread unwinds from a panic. A probe's slot is free again either way.
#[must_use = "a permit that is dropped at once is a cancelled call"]
pub struct Permit {
    breaker: Breaker,
    admission: Admission,
    started: Instant,
    told: bool,
}

impl Permit {
    pub(crate) fn new(breaker: Breaker, admission: Admission, started: Instant) -> Self {
        Self { breaker, admission, started, told: false }
    }

    /// The call succeeded.
    pub fn success(self) {
        self.record(Verdict::SUCCESS);
    }

    /// The call failed.
    pub fn failure(self) {
        self.record(Verdict::FAILURE);
    }

    /// The call says nothing about the upstream.
    pub fn ignore(self) {
        self.record(Verdict::IGNORED);
    }

    /// The outcome of the call.
    pub fn record(mut self, verdict: impl Into<Verdict>) {
        self.told = true;
        self.breaker.record(self.admission, verdict.into(), self.started);
    }

    /// The response has begun well; a probe that only waits for the rest of a long body is no longer one that hangs.
    pub fn answered(&self) {
        self.breaker.answered(self.admission);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let failed = std::thread::panicking()
            || match self.breaker.cancel_policy() {
                CancelPolicy::Ignore => false,
                CancelPolicy::Failure => true,
                CancelPolicy::FailureIfOlderThan(age) => now().saturating_duration_since(self.started) >= age,
            };
        let verdict = if failed { Verdict::FAILURE } else { Verdict::IGNORED };
        self.breaker.record(self.admission, verdict, self.started);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("breaker", &self.breaker)
            .field("probe", &self.admission.probe.is_some())
            .finish_non_exhaustive()
    }
}

use std::fmt;
use std::sync::Arc;

use crate::clock::Stamp;
use crate::policy::{Admission, CancelPolicy, Verdict};
use crate::seat::Seat;

/// The right to one call, from [`Breaker::try_acquire`](crate::Breaker::try_acquire).
///
/// Dropped without an outcome it counts as a cancelled call, by the breaker's
/// [`CancelPolicy`], and as a failure while the thread unwinds from a panic. A probe's slot is free again either way.
#[must_use = "a permit that is dropped at once is a cancelled call"]
pub struct Permit {
    seat: Arc<Seat>,
    admission: Admission,
    started: Stamp,
    /// What the call took until its answer had begun, where anybody asks; else [`UNANSWERED`].
    took: u64,
    told: bool,
    /// Within a poll of the guarded work; stays set when that panics.
    polling: bool,
}

/// A call that takes five hundred years is over.
pub(crate) const UNANSWERED: u64 = u64::MAX;

impl Permit {
    #[inline]
    pub(crate) fn new(seat: Arc<Seat>, admission: Admission, started: Stamp) -> Self {
        Self { seat, admission, started, took: UNANSWERED, told: false, polling: false }
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
    #[inline]
    pub fn record(mut self, verdict: impl Into<Verdict>) {
        self.tell(verdict.into());
    }

    /// [`record`](Self::record) for permits inside of something that has a `Drop` of its own.
    #[inline]
    pub(crate) fn tell(&mut self, verdict: Verdict) {
        if !self.told {
            self.told = true;
            self.seat.record(self.admission, verdict, self.started, self.took);
        }
    }

    pub(crate) fn cancel_policy(&self) -> CancelPolicy {
        self.seat.cancel_policy()
    }

    /// Dropping it from now on says nothing, unless it is a panic that drops it.
    pub(crate) fn forget(&mut self) {
        let verdict = if self.panicked() { Verdict::FAILURE } else { Verdict::IGNORED };
        self.tell(verdict);
    }

    /// Polls the guarded work. A panic in there is a failure even when a runtime catches it and drops the future later.
    pub(crate) fn watch<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        self.polling = true;
        let result = poll();
        self.polling = false;
        result
    }

    fn panicked(&self) -> bool {
        self.polling || std::thread::panicking()
    }

    /// The answer has begun well. What [`slow_calls`](crate::BreakerBuilder::slow_calls) looks at is the time until
    /// now: who takes the rest of it at leisure makes the upstream no slower. And a probe that only waits for the rest
    /// of a long body is no longer one that hangs. Told again, it changes nothing.
    pub fn answered(&mut self) {
        if self.took == UNANSWERED {
            self.took = self.seat.answered(self.admission, self.started);
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.told || crate::defect::put_back(crate::defect::Defect::CancelledUnrecorded) {
            return;
        }
        self.cancelled();
    }
}

impl Permit {
    #[cold]
    fn cancelled(&mut self) {
        let failed = self.panicked()
            || match self.seat.cancel_policy() {
                CancelPolicy::Ignore => false,
                CancelPolicy::Failure => true,
                CancelPolicy::FailureIfOlderThan(age) => self.seat.age(self.started) >= age,
            };
        let verdict = if failed { Verdict::FAILURE } else { Verdict::IGNORED };
        self.tell(verdict);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("breaker", &self.seat.name())
            .field("probe", &self.admission.probe.is_some())
            .finish_non_exhaustive()
    }
}

//! Defects of other breakers, put back one at a time to show that the checks find them. Outside of unit tests there
//! are none.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only unit tests put defects back"))]
pub(crate) enum Defect {
    /// A full count window keeps what it has seen.
    WindowNeverEvicts,
    /// Nothing ends a probe phase but the outcomes of its probes.
    HalfOpenForEver,
    /// Results count whatever has happened since their admission.
    StaleResults,
    /// A dropped call tells nobody.
    CancelledUnrecorded,
    /// A clone of the handle is a breaker of its own.
    ClonesApart,
    /// The system's clock instead of the runtime's.
    SystemClock,
}

#[cfg(not(test))]
pub(crate) const fn put_back(_: Defect) -> bool {
    false
}

#[cfg(test)]
std::thread_local! {
    static PUT_BACK: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn put_back(defect: Defect) -> bool {
    PUT_BACK.get() == Some(defect)
}

/// Runs a check with a defect in place on this thread.
#[cfg(test)]
pub(crate) fn with<T>(defect: Option<Defect>, check: impl FnOnce() -> T) -> T {
    PUT_BACK.set(defect);
    let result = check();
    PUT_BACK.set(None);
    result
}

//! What a result says about the upstream.

use crate::policy::Verdict;

/// Judges the result of a call; for [`Breaker::call_with`](crate::Breaker::call_with).
///
/// Implemented for closures.
pub trait Classify<T, E> {
    /// What this result says.
    fn classify(&self, result: Result<&T, &E>) -> Verdict;
}

impl<T, E, F, V> Classify<T, E> for F
where
    F: Fn(Result<&T, &E>) -> V,
    V: Into<Verdict>,
{
    fn classify(&self, result: Result<&T, &E>) -> Verdict {
        self(result).into()
    }
}

/// `Ok` is a success and `Err` a failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorIsFailure;

impl<T, E> Classify<T, E> for ErrorIsFailure {
    fn classify(&self, result: Result<&T, &E>) -> Verdict {
        if result.is_ok() { Verdict::SUCCESS } else { Verdict::FAILURE }
    }
}

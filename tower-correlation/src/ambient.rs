//! The correlation of the code that runs, for code that has no request at hand.
//!
//! A mirror, not the truth: that is the request's extension. It is swapped in for each poll of a future or body and out
//! again after it, so it costs no reference count, works on any executor, and never leaks into another task.

use std::cell::Cell;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::context::Correlation;

thread_local! {
    // Never dropped, so that no access asks whether it was: nobody is entered any more when a thread ends, so it is empty.
    static CURRENT: Cell<ManuallyDrop<Option<Correlation>>> = const { Cell::new(ManuallyDrop::new(None)) };
}

/// Puts another one in the place of the current one.
#[inline]
fn replace(other: Option<Correlation>) -> Option<Correlation> {
    CURRENT.with(|cell| ManuallyDrop::into_inner(cell.replace(ManuallyDrop::new(other))))
}

/// The correlation of the request that this task works on, if any.
#[must_use]
pub fn current() -> Option<Correlation> {
    let current = replace(None);
    let copy = current.clone();
    replace(current);
    copy
}

/// While this lives, the slot's correlation is the current one; then it is back in the slot, even after a panic.
#[must_use]
pub(crate) struct Entered<'a>(&'a mut Option<Correlation>);

impl<'a> Entered<'a> {
    #[inline]
    pub(crate) fn new(slot: &'a mut Option<Correlation>) -> Self {
        let mut entered = Self(slot);
        entered.swap();
        entered
    }

    #[inline]
    fn swap(&mut self) {
        let before = replace(self.0.take());
        // Nothing is left there to drop, which the compiler does not always see.
        mem::forget(mem::replace(self.0, before));
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.swap();
    }
}

/// Runs `work`, which awaits nothing, as part of `correlation`.
pub fn scope_sync<T>(correlation: &Correlation, work: impl FnOnce() -> T) -> T {
    let mut slot = Some(correlation.clone());
    let _current = Entered::new(&mut slot);
    work()
}

/// Runs `future` as part of `correlation`, on whichever thread it is polled and dropped.
pub fn scope<F: Future>(correlation: Correlation, future: F) -> Scoped<F> {
    Scoped { inner: Some(future), slot: Some(correlation) }
}

pin_project! {
    /// A future that runs as part of a [`Correlation`]: see [`scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        #[pin]
        inner: Option<F>,
        slot: Option<Correlation>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // What the future does when it is cancelled belongs to the request too.
            let _current = Entered::new(this.slot);
            this.inner.set(None);
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Invariant: only `drop` takes it out.
        let inner = this.inner.as_pin_mut().expect("polled after drop");
        let _current = Entered::new(this.slot);
        inner.poll(cx)
    }
}

/// Takes the current correlation along wherever a future is run.
pub trait InCurrentCorrelation: Future + Sized {
    /// The future, run as part of the correlation that is current now; without one, under a correlation of its own.
    fn in_current_correlation(self) -> Scoped<Self> {
        scope(current().unwrap_or_else(Correlation::generate), self)
    }
}

impl<F: Future> InCurrentCorrelation for F {}

#[cfg(feature = "tokio")]
mod spawning {
    use std::future::Future;

    use tokio::task::JoinHandle;

    use super::{current, scope, scope_sync};

    /// [`tokio::spawn`] that takes the current correlation along; tokio itself does not.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::spawn`].
    pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match current() {
            Some(correlation) => tokio::spawn(scope(correlation, future)),
            None => tokio::spawn(future),
        }
    }

    /// [`tokio::task::spawn_blocking`] that takes the current correlation along.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::task::spawn_blocking`].
    pub fn spawn_blocking<T, F>(work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match current() {
            Some(correlation) => tokio::task::spawn_blocking(move || scope_sync(&correlation, work)),
            None => tokio::task::spawn_blocking(work),
        }
    }
}

#[cfg(feature = "tokio")]
pub use spawning::{spawn, spawn_blocking};

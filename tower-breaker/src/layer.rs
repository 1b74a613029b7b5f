//! The typed form: any service behind a breaker, with the breaker's own error.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::breaker::Breaker;
use crate::classify::{Classify, ErrorIsFailure};
use crate::error::{Error, Rejected};
use crate::gate::{Gate, Mode};
pub use crate::http::{HttpBreakerService, HttpResponseFuture};
use crate::permit::Permit;

/// Puts a [`Breaker`] before any service; for clients. Rejections are [`Error::Rejected`].
#[derive(Clone)]
pub struct BreakerLayer<C = ErrorIsFailure> {
    breaker: Breaker,
    classify: C,
    mode: Mode,
}

impl BreakerLayer {
    /// Errors are failures, everything else is a success; see [`classify`](BreakerLayer::classify).
    #[must_use]
    pub fn new(breaker: Breaker) -> Self {
        Self { breaker, classify: ErrorIsFailure, mode: Mode::default() }
    }
}

impl<C> BreakerLayer<C> {
    /// Judges results: a [`Classify`] or a closure over `Result<&Response, &Error>` that returns an
    /// [`Outcome`](crate::Outcome) or [`Verdict`](crate::Verdict).
    #[must_use]
    pub fn classify<D>(self, classify: D) -> BreakerLayer<D> {
        BreakerLayer { breaker: self.breaker, classify, mode: self.mode }
    }

    /// What an open breaker does to readiness. Default: [`Mode::Reject`].
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }
}

impl<C> fmt::Debug for BreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer")
            .field("breaker", &self.breaker)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl<S, C: Clone> Layer<S> for BreakerLayer<C> {
    type Service = BreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let gate = Gate::new(self.breaker.clone(), self.mode);
        BreakerService { inner, classify: self.classify.clone(), gate, release: None }
    }
}

/// What [`BreakerLayer`] builds.
#[derive(Clone)]
pub struct BreakerService<S, C = ErrorIsFailure> {
    inner: S,
    classify: C,
    gate: Gate,
    release: Option<fn(&mut S)>,
}

impl<S: Clone, C> BreakerService<S, C> {
    /// Gives the inner service's readiness back whenever a call is rejected, by putting a fresh clone in its place.
    ///
    /// Default: it is kept for the next call, as readiness may be costly. Where it holds a permit (of tower's
    /// `ConcurrencyLimit`), rejected clones would keep from the probe what it needs: put such a limit outside of the
    /// breaker, or call this.
    #[must_use]
    pub fn release_on_reject(self) -> Self {
        Self { release: Some(refresh), ..self }
    }
}

impl<S, C> BreakerService<S, C> {
    /// A call that may not pass at once.
    #[inline]
    fn refuse_or_ask<R>(&mut self, request: R) -> ResponseFuture<S::Future, C>
    where
        S: Service<R>,
        C: Clone,
    {
        if let Some(rejected) = self.gate.refuse_at_once() {
            self.released();
            return ResponseFuture { kind: Kind::Rejected { rejected } };
        }
        match self.gate.admit() {
            Ok(permit) => {
                ResponseFuture::start(&mut self.inner, request, Some(permit), self.classify.clone())
            }
            Err(rejected) => {
                self.released();
                ResponseFuture { kind: Kind::Rejected { rejected } }
            }
        }
    }
}

impl<S, C> BreakerService<S, C> {
    /// A call was rejected; also one before which the inner service was not ready, for it may wait in a queue.
    fn released(&mut self) {
        if let Some(release) = self.release {
            release(&mut self.inner);
            self.gate.released();
        }
    }
}

/// The clone is not ready, and the one that was is dropped.
pub(crate) fn refresh<S: Clone>(inner: &mut S) {
    let fresh = inner.clone();
    *inner = fresh;
}

impl<S: fmt::Debug, C> fmt::Debug for BreakerService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerService")
            .field("inner", &self.inner)
            .field("breaker", self.gate.breaker())
            .finish_non_exhaustive()
    }
}

impl<S, C, R> Service<R> for BreakerService<S, C>
where
    S: Service<R>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.gate.poll_ready(&mut self.inner, cx).map_err(Error::Inner)
    }

    // A function of its own, so that the future is written where it is to be and read back as it was written. Taken apart
    // and put together again in registers, what two kinds of it have in one place costs more than the counting.
    #[inline(never)]
    fn call(&mut self, request: R) -> Self::Future {
        if let Some(permit) = self.gate.admit_at_once() {
            return ResponseFuture::start(&mut self.inner, request, Some(permit), self.classify.clone());
        }
        self.refuse_or_ask(request)
    }
}

pin_project! {
    /// The future of [`BreakerService`]. Dropped before its end, it is a cancelled call.
    pub struct ResponseFuture<F, C> {
        #[pin]
        kind: Kind<F, C>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, C> {
        Guarded { #[pin] inner: F, permit: Option<Permit>, classify: C },
        Rejected { rejected: Rejected },
    }
}

/// How a call begins that was let through; without a permit, nobody hears of its outcome.
pub(crate) trait Start<S, R, C> {
    fn start(inner: &mut S, request: R, permit: Option<Permit>, classify: C) -> Self;
}

impl<S: Service<R>, R, C> Start<S, R, C> for ResponseFuture<S::Future, C> {
    fn start(inner: &mut S, request: R, permit: Option<Permit>, classify: C) -> Self {
        Self { kind: Kind::Guarded { inner: inner.call(request), permit, classify } }
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Guarded { .. } => "ResponseFuture(guarded)",
            Kind::Rejected { .. } => "ResponseFuture(rejected)",
        })
    }
}

impl<F, C, T, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Guarded { inner, permit, classify } => {
                let result = match permit.as_mut() {
                    Some(permit) => {
                        let result = ready!(permit.watch(|| inner.poll(cx)));
                        // Told where it is: moving it out would cost as much as counting the call.
                        let verdict = permit.watch(|| classify.classify(result.as_ref()));
                        permit.tell(verdict);
                        result
                    }
                    None => ready!(inner.poll(cx)),
                };
                Poll::Ready(result.map_err(Error::Inner))
            }
            // Word by word, where `take` would move the whole and wait for what has just been written.
            KindProj::Rejected { rejected } => Poll::Ready(Err(Error::Rejected(rejected.clone()))),
        }
    }
}

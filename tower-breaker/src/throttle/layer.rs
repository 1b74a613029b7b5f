//! The typed form: any service behind a throttle.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Pass, Throttle};
use crate::classify::{Classify, ErrorIsFailure};
use crate::error::{Error, Rejected};

/// Puts a [`Throttle`] before any service; for clients. Rejections are [`Error::Rejected`].
#[derive(Debug, Clone)]
pub struct ThrottleLayer<C = ErrorIsFailure> {
    throttle: Throttle,
    classify: C,
}

impl ThrottleLayer {
    /// Errors were not accepted, everything else was; see [`classify`](ThrottleLayer::classify).
    #[must_use]
    pub fn new(throttle: Throttle) -> Self {
        Self { throttle, classify: ErrorIsFailure }
    }
}

impl<C> ThrottleLayer<C> {
    /// Judges results as a breaker's layer does: a success was accepted, a failure was not.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> ThrottleLayer<D> {
        ThrottleLayer { throttle: self.throttle, classify }
    }
}

impl<S, C: Clone> Layer<S> for ThrottleLayer<C> {
    type Service = ThrottleService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        ThrottleService {
            inner,
            classify: self.classify.clone(),
            admission: Admission::new(self.throttle.clone()),
        }
    }
}

/// Readiness of the inner service, which may hold a permit: kept when a call is rejected, and not asked for twice.
#[derive(Debug)]
pub(super) struct Admission {
    throttle: Throttle,
    ready: bool,
}

impl Admission {
    pub(super) fn new(throttle: Throttle) -> Self {
        Self { throttle, ready: false }
    }

    pub(super) fn poll_ready<S, R>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>>
    where
        S: Service<R>,
    {
        if !self.ready {
            ready!(inner.poll_ready(cx))?;
            self.ready = true;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn admit(&mut self) -> Result<Pass, Rejected> {
        let pass = self.throttle.try_acquire()?;
        self.ready = false;
        Ok(pass)
    }
}

impl Clone for Admission {
    /// A clone is not ready.
    fn clone(&self) -> Self {
        Self::new(self.throttle.clone())
    }
}

/// What [`ThrottleLayer`] builds.
#[derive(Debug, Clone)]
pub struct ThrottleService<S, C = ErrorIsFailure> {
    inner: S,
    classify: C,
    admission: Admission,
}

impl<S, C, R> Service<R> for ThrottleService<S, C>
where
    S: Service<R>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ThrottleFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.admission.poll_ready(&mut self.inner, cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let state = match self.admission.admit() {
            Ok(pass) => State::Passed {
                inner: self.inner.call(request),
                pass: Some(pass),
                classify: self.classify.clone(),
            },
            Err(rejected) => State::Rejected { rejected: Some(rejected) },
        };
        ThrottleFuture { state }
    }
}

pin_project! {
    /// The future of [`ThrottleService`]. Dropped before its end, the request counts nothing.
    pub struct ThrottleFuture<F, C> {
        #[pin]
        state: State<F, C>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, C> {
        Passed { #[pin] inner: F, pass: Option<Pass>, classify: C },
        Rejected { rejected: Option<Rejected> },
    }
}

impl<F, C> fmt::Debug for ThrottleFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Passed { .. } => "ThrottleFuture(passed)",
            State::Rejected { .. } => "ThrottleFuture(rejected)",
        })
    }
}

impl<F, C, T, E> Future for ThrottleFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passed { inner, pass, classify } => {
                let result = ready!(inner.poll(cx));
                if let Some(pass) = pass.take() {
                    pass.record(classify.classify(result.as_ref()).outcome());
                }
                Poll::Ready(result.map_err(Error::Inner))
            }
            StateProj::Rejected { rejected } => match rejected.take() {
                Some(rejected) => Poll::Ready(Err(Error::Rejected(rejected))),
                None => Poll::Pending,
            },
        }
    }
}

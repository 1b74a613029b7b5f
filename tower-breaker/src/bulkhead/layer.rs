//! The typed form of the bulkhead.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Bulkhead, BulkheadPermit};
use crate::error::{Error, Rejected};

/// Puts a [`Bulkhead`] before any service; for clients. Rejections are [`Error::Rejected`].
///
/// It takes its slot in `call`, so readiness is the inner service's own and never waits for a slot. A call that queues
/// keeps the instance that was polled ready, and with it whatever that readiness holds.
#[derive(Debug, Clone)]
pub struct BulkheadLayer {
    bulkhead: Bulkhead,
}

impl BulkheadLayer {
    /// All services made by this layer and its clones share the bulkhead.
    #[must_use]
    pub fn new(bulkhead: Bulkhead) -> Self {
        Self { bulkhead }
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = BulkheadService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BulkheadService { inner, bulkhead: self.bulkhead.clone() }
    }
}

/// What [`BulkheadLayer`] builds. A slot is held until the inner future ends or is dropped.
#[derive(Debug, Clone)]
pub struct BulkheadService<S> {
    inner: S,
    bulkhead: Bulkhead,
}

impl<S, R> Service<R> for BulkheadService<S>
where
    S: Service<R> + Clone,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S, R, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        ResponseFuture { entry: Entry::new(&self.bulkhead, &mut self.inner, request) }
    }
}

pin_project! {
    /// The future of [`BulkheadService`].
    pub struct ResponseFuture<S, R, F> {
        #[pin]
        entry: Entry<S, R, F>,
    }
}

impl<S, R, F> fmt::Debug for ResponseFuture<S, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseFuture({})", self.entry.name())
    }
}

impl<S, R, T, E> Future for ResponseFuture<S, R, S::Future>
where
    S: Service<R, Response = T, Error = E>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(self.project().entry.poll_entry(cx)) {
            // The slot ends with the future here.
            Ok((result, _permit)) => result.map_err(Error::Inner),
            Err((rejected, _)) => Err(Error::Rejected(rejected)),
        })
    }
}

/// Boxed, for it exists only while the bulkhead is full.
type Wait = Pin<Box<dyn Future<Output = Result<BulkheadPermit, Rejected>> + Send>>;

pin_project! {
    /// A call on its way through the bulkhead: what both forms share.
    #[project = EntryProj]
    pub(crate) enum Entry<S, R, F> {
        Waiting { wait: Wait, service: S, request: Option<R> },
        Inside { #[pin] future: F, permit: Option<BulkheadPermit> },
        Rejected { rejection: Option<(Rejected, R)> },
    }
}

/// What the inner service said, with the slot it still holds.
type Entered<T, E> = (Result<T, E>, Option<BulkheadPermit>);

impl<S, R, F> Entry<S, R, F> {
    pub(crate) fn new(bulkhead: &Bulkhead, inner: &mut S, request: R) -> Self
    where
        S: Service<R, Future = F> + Clone,
    {
        if let Some(permit) = bulkhead.take() {
            return Self::Inside { future: inner.call(request), permit: Some(permit) };
        }
        match bulkhead.queue() {
            Ok(wait) => {
                // The instance that was polled ready is the one to be called.
                let clone = inner.clone();
                let service = std::mem::replace(inner, clone);
                Self::Waiting { wait: Box::pin(wait), service, request: Some(request) }
            }
            Err(rejected) => Self::Rejected { rejection: Some((rejected, request)) },
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Inside { .. } => "inside",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// A rejected call gets its request back.
    #[allow(clippy::type_complexity, reason = "the two ways a call can go")]
    pub(crate) fn poll_entry<T, E>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Entered<T, E>, (Rejected, R)>>
    where
        S: Service<R, Response = T, Error = E, Future = F>,
        F: Future<Output = Result<T, E>>,
    {
        loop {
            let next = match self.as_mut().project() {
                EntryProj::Waiting { wait, service, request } => {
                    let entered = ready!(wait.as_mut().poll(cx));
                    let Some(request) = request.take() else { return Poll::Pending };
                    match entered {
                        Ok(permit) => Self::Inside { future: service.call(request), permit: Some(permit) },
                        Err(rejected) => return Poll::Ready(Err((rejected, request))),
                    }
                }
                EntryProj::Inside { future, permit } => {
                    let result = ready!(future.poll(cx));
                    return Poll::Ready(Ok((result, permit.take())));
                }
                EntryProj::Rejected { rejection } => {
                    return match rejection.take() {
                        Some(rejection) => Poll::Ready(Err(rejection)),
                        None => Poll::Pending,
                    };
                }
            };
            self.set(next);
        }
    }
}

//! The typed form of keyed breakers.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::KeyedBreaker;
use super::way::Way;
use crate::classify::{Classify, ErrorIsFailure};
use crate::error::Error;
use crate::layer::ResponseFuture;

/// A family of breakers, and what says which of them a request is for: a closure `Fn(&R) -> Option<K>`. A request
/// without a key uses the breaker of those that find no room.
#[derive(Clone)]
pub struct ByKey<K, F> {
    pub(crate) family: KeyedBreaker<K>,
    pub(crate) key: F,
}

impl<K, F> fmt::Debug for ByKey<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByKey").field("family", &self.family).finish_non_exhaustive()
    }
}

/// Puts a [`KeyedBreaker`] before any service; for clients. Rejections are [`Error::Rejected`].
///
/// Which breaker it is shows only in `call`, so readiness is the inner service's own: keep it one that is soon ready.
#[derive(Debug, Clone)]
pub struct KeyedBreakerLayer<P, C = ErrorIsFailure> {
    keys: P,
    classify: C,
}

impl<K, F> KeyedBreakerLayer<ByKey<K, F>> {
    /// Chooses the breaker by `key`; see [`ByKey`]. Errors are failures, everything else is a success.
    #[must_use]
    pub fn new(family: KeyedBreaker<K>, key: F) -> Self {
        Self { keys: ByKey { family, key }, classify: ErrorIsFailure }
    }
}

impl<P, C> KeyedBreakerLayer<P, C> {
    /// Judges results, as [`BreakerLayer::classify`](crate::BreakerLayer::classify) does.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> KeyedBreakerLayer<P, D> {
        KeyedBreakerLayer { keys: self.keys, classify }
    }
}

impl<S, P: Clone, C: Clone> Layer<S> for KeyedBreakerLayer<P, C> {
    type Service = KeyedBreakerService<S, P, C>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedBreakerService { inner, keys: self.keys.clone(), classify: self.classify.clone() }
    }
}

/// What [`KeyedBreakerLayer`] builds.
#[derive(Debug, Clone)]
pub struct KeyedBreakerService<S, P, C = ErrorIsFailure> {
    inner: S,
    keys: P,
    classify: C,
}

impl<S, K, F, C, R> Service<R> for KeyedBreakerService<S, ByKey<K, F>, C>
where
    S: Service<R> + Clone,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    F: Fn(&R) -> Option<K>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = KeyedResponseFuture<S, R, C, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let key = (self.keys.key)(&request);
        let way = Way::new(&self.keys.family, key, &mut self.inner, request, &self.classify);
        KeyedResponseFuture { way }
    }
}

pin_project! {
    /// The future of [`KeyedBreakerService`]. Dropped before its end, it is a cancelled call.
    pub struct KeyedResponseFuture<S, R, C, F> {
        #[pin]
        way: Way<S, R, C, ResponseFuture<F, C>>,
    }
}

impl<S, R, C, F> fmt::Debug for KeyedResponseFuture<S, R, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedResponseFuture({})", self.way.name())
    }
}

impl<S, R, C> Future for KeyedResponseFuture<S, R, C, S::Future>
where
    S: Service<R>,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, Error<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(self.project().way.poll_way(cx)) {
            // The slot ends with the future here.
            Ok((result, _slot)) => result,
            Err((rejected, _)) => Err(Error::Rejected(rejected)),
        })
    }
}

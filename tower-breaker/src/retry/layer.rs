//! The layer and its service.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::cause::{BoxedErrors, Cause, TypedErrors};
use super::future::RetryFuture;
use super::kept::RetriedBody;
use super::metrics::Metrics;
use super::replay::ReplayBody;
use super::settings::{HttpPolicy, SharedBudget};
use crate::breaker::now;
use crate::policy::{Budget, Ended};

/// Repeats requests by an [`HttpPolicy`]; for clients and gateways.
///
/// Request bodies are recorded while they are sent, so the inner service sees a [`ReplayBody`]. Errors stay what they
/// are; their sources say whether a request was worked on. Where they are boxes, say [`boxed_errors`](Self::boxed_errors).
///
/// A client that takes bodies of one type gets them by a `map_request` below; for tonic's `Channel` with
/// `tonic::body::Body::new`:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{Full, combinators::UnsyncBoxBody};
/// use tower::{ServiceBuilder, service_fn};
/// use tower_breaker::retry::{HttpPolicy, ReplayBody, ReplayError, RetryLayer};
///
/// # fn main() {
/// type OneBody = UnsyncBoxBody<Bytes, ReplayError>;
/// # let channel = service_fn(async |_: http::Request<OneBody>| Ok::<_, std::io::Error>(http::Response::new(Full::<Bytes>::default())));
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::new(HttpPolicy::new()))
///     .map_request(|request: http::Request<ReplayBody<Full<Bytes>>>| request.map(OneBody::new))
///     .service(channel);
/// # async fn called<S: tower::Service<http::Request<Full<Bytes>>>>(_: S) {}
/// # drop(called(client));
/// # }
/// ```
#[derive(Debug)]
pub struct RetryLayer<K = TypedErrors> {
    shared: Arc<Shared>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for RetryLayer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), kind: PhantomData }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) policy: HttpPolicy,
    budget: Purse,
    pub(super) metrics: Metrics,
}

enum Purse {
    Own(Mutex<Budget>),
    Tower(SharedBudget),
}

impl std::fmt::Debug for Purse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own(budget) => budget.fmt(f),
            Self::Tower(_) => f.write_str("Tower"),
        }
    }
}

impl Shared {
    pub(super) fn new(mut policy: HttpPolicy) -> Self {
        let budget = match policy.budget.take() {
            Some(budget) => Purse::Tower(budget),
            None => Purse::Own(Mutex::new(Budget::new(policy.percent, policy.per_second, now()))),
        };
        Self { policy, budget, metrics: Metrics::default() }
    }

    /// Once per request.
    pub(super) fn deposit(&self) {
        match &self.budget {
            Purse::Own(budget) => budget.lock().unwrap_or_else(PoisonError::into_inner).deposit(now()),
            Purse::Tower(budget) => budget.deposit(),
        }
    }

    /// Whether the budget has another attempt after one that ended so. One that was rejected on this side reached no
    /// upstream, so that it is repeated for nothing: the load is no more than the caller's.
    pub(super) fn affords(&self, ended: Ended) -> bool {
        ended == Ended::Rejected || self.withdraw()
    }

    fn withdraw(&self) -> bool {
        match &self.budget {
            Purse::Own(budget) => budget.lock().unwrap_or_else(PoisonError::into_inner).withdraw(now()),
            Purse::Tower(budget) => budget.withdraw(),
        }
    }
}

impl RetryLayer {
    /// All services that this layer and its clones build share one budget.
    #[must_use]
    pub fn new(policy: HttpPolicy) -> Self {
        Self { shared: Arc::new(Shared::new(policy)), kind: PhantomData }
    }

    /// For services whose error is a [`BoxError`](crate::BoxError), as most of tower's are.
    #[must_use]
    pub fn boxed_errors(self) -> RetryLayer<BoxedErrors> {
        RetryLayer { shared: self.shared, kind: PhantomData }
    }
}

impl<S, K> Layer<S> for RetryLayer<K> {
    type Service = Retry<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry { inner, shared: self.shared.clone(), kind: PhantomData }
    }
}

/// What [`RetryLayer`] builds.
#[derive(Debug)]
pub struct Retry<S, K = TypedErrors> {
    inner: S,
    shared: Arc<Shared>,
    kind: PhantomData<fn() -> K>,
}

impl<S: Clone, K> Clone for Retry<S, K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone(), kind: PhantomData }
    }
}

impl<S, K, ReqB, ResB> Service<Request<ReqB>> for Retry<S, K>
where
    S: Service<Request<ReplayBody<ReqB>>, Response = Response<ResB>> + Clone,
    K: Cause<S::Error>,
    ReqB: Body,
    ResB: Body<Data = Bytes> + Unpin,
{
    type Response = Response<RetriedBody<ResB>>;
    type Error = S::Error;
    type Future = RetryFuture<S, ReqB, ResB, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        // The instance that was polled ready makes the first attempt; a clone is left in its place.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        RetryFuture::new(inner, request, self.shared.clone())
    }
}

//! The policy for tower's own `Retry`.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower::retry::Policy;

use super::cause::{BoxedErrors, Cause, TypedErrors};
use super::layer::Shared;
use super::replay::ReplayBody;
use super::settings::HttpPolicy;
use super::timeout::Deadline;
use crate::policy::{Ended, Next, Refused, Situation, takes_over};

impl HttpPolicy {
    /// For `tower::retry::RetryLayer`. The requests' bodies are [`ReplayBody`]s, made before it:
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::Full;
    /// use tower::{ServiceBuilder, service_fn};
    /// use tower_breaker::retry::{HttpPolicy, ReplayBody};
    ///
    /// let client = ServiceBuilder::new()
    ///     .map_request(|request: http::Request<Full<Bytes>>| request.map(ReplayBody::new))
    ///     .layer(tower::retry::RetryLayer::new(HttpPolicy::new().into_tower()))
    ///     .service(service_fn(async |_: http::Request<ReplayBody<Full<Bytes>>>| {
    ///         Ok::<_, std::io::Error>(http::Response::new(Full::new(Bytes::new())))
    ///     }));
    /// # fn service<R, S: tower::Service<R>>(_: S) {}
    /// # service(client);
    /// ```
    ///
    /// tower's `Retry` hands a result on whole, so there is less to be had than with
    /// [`RetryLayer`](super::RetryLayer): trailers are not looked at, attempts are not timed, failed bodies are not
    /// drained, a rejection of this side is never repeated, `grpc-timeout` is that of each attempt, the first one is
    /// made even when its time is over and has no [`attempt_header`](super::HttpPolicyBuilder::attempt_header).
    #[must_use]
    pub fn into_tower(self) -> TowerPolicy {
        TowerPolicy::new(self)
    }

    /// [`into_tower`](Self::into_tower) for services whose error is a [`BoxError`](crate::BoxError), as most of tower's are.
    #[must_use]
    pub fn into_tower_boxed(self) -> TowerPolicy<BoxedErrors> {
        TowerPolicy::new(self)
    }
}

/// An [`HttpPolicy`] with the state of one request, as tower's `Retry` wants it; clones share the budget.
#[derive(Debug)]
pub struct TowerPolicy<K = TypedErrors> {
    shared: Arc<Shared>,
    made: u32,
    /// The next request is another attempt. Never so in the policy of the service, which tower asks for the first
    /// request of every call.
    again: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for TowerPolicy<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), made: self.made, again: self.again, kind: PhantomData }
    }
}

impl<K> TowerPolicy<K> {
    fn new(policy: HttpPolicy) -> Self {
        Self { shared: Arc::new(Shared::new(policy)), made: 0, again: false, kind: PhantomData }
    }

    fn clone_request<B>(&mut self, request: &Request<ReplayBody<B>>) -> Option<Request<ReplayBody<B>>> {
        if std::mem::take(&mut self.again) {
            self.made += 1;
        } else {
            self.made = 1;
            self.shared.metrics.resolve();
            self.shared.deposit();
        }
        let (method, headers) = (request.method(), request.headers());
        if self.shared.policy.max_attempts == 1
            || method == http::Method::CONNECT
            || headers.contains_key(http::header::UPGRADE)
        {
            return None;
        }
        Some(request.clone())
    }

    fn next<B>(&mut self, request: &mut Request<ReplayBody<B>>, ended: Ended) -> Option<Wait> {
        let policy = &self.shared.policy;
        let left = request.extensions().get::<Deadline>().map(|deadline| deadline.left());
        // Only parts by value can be looked at as such.
        let empty = Request::new(request.body().clone());
        let (parts, body) = std::mem::replace(request, empty).into_parts();
        let situation = Situation {
            made: self.made,
            max: policy.max_attempts,
            idempotent: policy.idempotent(&parts),
            replayable: body.replayable() && !takes_over(&parts),
            elsewhere: false,
            longest: policy.longest,
            left,
        };
        *request = Request::from_parts(parts, body);
        let refused = match situation.next(ended, policy.wait(self.made)) {
            Next::Done => return None,
            Next::Refused(refused) => refused,
            Next::Again(wait) if self.shared.affords(ended) => {
                self.again = true;
                self.shared.metrics.retried();
                if let Some(name) = &policy.attempt_header {
                    request.headers_mut().insert(name, HeaderValue::from(self.made + 1));
                }
                return Some(Wait::new(wait));
            }
            Next::Again(_) => Refused::Budget,
        };
        self.shared.metrics.refused(refused);
        None
    }
}

impl<K, B, R, E> Policy<Request<ReplayBody<B>>, Response<R>, E> for TowerPolicy<K>
where
    K: Cause<E>,
{
    type Future = Wait;

    fn retry(
        &mut self,
        request: &mut Request<ReplayBody<B>>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Wait> {
        let ended = match result {
            Ok(response) => self.shared.policy.judge(response),
            Err(error) => self.shared.policy.judge_error(K::cause(error)),
        };
        self.next(request, ended)
    }

    fn clone_request(&mut self, request: &Request<ReplayBody<B>>) -> Option<Request<ReplayBody<B>>> {
        Self::clone_request(self, request)
    }
}

pin_project! {
    /// The wait of a [`TowerPolicy`] before another attempt.
    #[derive(Debug)]
    pub struct Wait {
        #[pin]
        sleep: Option<tokio::time::Sleep>,
    }
}

impl Wait {
    fn new(wait: Duration) -> Self {
        Self { sleep: (!wait.is_zero()).then(|| tokio::time::sleep(wait)) }
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.as_pin_mut().map_or(Poll::Ready(()), |sleep| sleep.poll(cx))
    }
}

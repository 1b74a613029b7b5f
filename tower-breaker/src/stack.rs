//! Everything a call to another service should have, in one call and in the right order.
//!
//! | stage, outermost first | ours | standard handler of `Microsoft.Extensions.Http.Resilience` |
//! |---|---|---|
//! | total timeout | 30 s | 30 s |
//! | bulkhead | 1,000 calls, no queue | 1,000 calls, no queue |
//! | retry | 3 attempts, full jitter of 200 ms, 400 ms …; a budget of 20 % and 10 a second; idempotent or keyed requests | 4 attempts, exponential from 2 s with jitter; no budget; every method |
//! | breaker | 10 % of at least 100 calls in 30 s, or 10 failures in a row; open for 5 s, 10 s … 60 s with jitter | 10 % of at least 100 calls in 30 s; open for 5 s |
//! | attempt timeout | 10 s | 10 s |
//!
//! Where they differ: fewer attempts and a budget, because retries multiply the load of what is failing; short waits,
//! because somebody waits for the answer; a POST is not sent twice unless it says that it may be; failures in a row open
//! the breaker of a quiet client, which never makes 100 calls in 30 s; and it stays open longer each time, so that what
//! takes a minute to heal is not probed twelve times.
//!
//! # Time that is short
//!
//! An attempt never outlives the whole. One that began with less than half of its own time left, because the call had
//! waited in the bulkhead or had failed before, is no failure when the whole ends: to the breaker it is a cancelled call
//! (`on_cancel`: a failure once it is a second old). Otherwise a queue of this side would open the breaker of an upstream
//! that is well.
//!
//! # Bodies
//!
//! Both timeouts end with the head of the response. A body that has begun may stream for as long as it likes, a download
//! or a feed of events as well as a page, and no attempt is made for one that breaks off: the caller has its head already.
//! An upload is within the time of its attempt, as nothing is answered before it, unless the upstream answers early.
//!
//! What a body may still do after its head: it holds its slot in the bulkhead until it ends or is dropped; an error in it
//! is a failure to the breaker; and when it hangs, the reader is the one to give up, which frees the slot and is a failure
//! too once it was silent for a second. Where readers have no patience of their own, give them one: a timeout around the
//! reading, or tower-http's `ResponseBodyTimeoutLayer` next to the client, which limits the pause between two frames and
//! leaves feeds alone that keep talking.

use std::borrow::Cow;
use std::time::Duration;

use tower_layer::Layer;

use crate::breaker::Breaker;
use crate::builder::BreakerBuilder;
use crate::bulkhead::{Bulkhead, BulkheadBuilder, HttpBulkheadLayer, HttpBulkheadService};
use crate::error::ConfigError;
use crate::http::{HttpBreakerLayer, HttpBreakerService};
use crate::policy::OpenPeriod;
use crate::retry::{
    AttemptTimeout, AttemptTimeoutLayer, BoxedErrors, HttpPolicyBuilder, Retry, RetryLayer,
    TotalTimeoutLayer, TypedErrors,
};

/// The stages around a client `S`; what [`StandardLayer`] builds.
pub type Standard<S, K = TypedErrors> =
    AttemptTimeout<HttpBulkheadService<Retry<HttpBreakerService<AttemptTimeout<S>>, K>>>;

/// Total timeout → bulkhead → retry with budget → breaker → attempt timeout, for clients of one upstream.
///
/// ```
/// # use bytes::Bytes;
/// # use http_body_util::{BodyExt, Full};
/// use tower::{Layer, Service, ServiceExt, service_fn};
/// use tower_breaker::stack::StandardLayer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_breaker::BoxError> {
/// # let client = service_fn(async |_| Ok::<_, std::io::Error>(http::Response::new(Full::new(Bytes::from("7")))));
/// let mut client = StandardLayer::new("inventory")?.layer(client);
/// let response = client.ready().await?.call(http::Request::new(Full::new(Bytes::new()))).await?;
/// # assert_eq!(response.into_body().collect().await?.to_bytes(), "7");
/// # Ok(())
/// # }
/// ```
///
/// Every service that this layer and its clones build shares breaker, bulkhead and budget: make one for each upstream.
/// Its `Debug` names every stage with its settings.
#[derive(Debug)]
pub struct StandardLayer<K = TypedErrors> {
    total_timeout: TotalTimeoutLayer,
    bulkhead: Bulkhead,
    retry: RetryLayer<K>,
    breaker: Breaker,
    attempt_timeout: AttemptTimeoutLayer,
}

impl<K> Clone for StandardLayer<K> {
    fn clone(&self) -> Self {
        Self {
            total_timeout: self.total_timeout,
            bulkhead: self.bulkhead.clone(),
            retry: self.retry.clone(),
            breaker: self.breaker.clone(),
            attempt_timeout: self.attempt_timeout,
        }
    }
}

/// Settings of a [`StandardLayer`]; made by [`StandardLayer::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct StandardBuilder {
    total_timeout: Duration,
    bulkhead: BulkheadBuilder,
    retry: HttpPolicyBuilder,
    breaker: BreakerBuilder,
    attempt_timeout: Duration,
}

impl StandardLayer {
    /// All defaults. The name is that of the upstream: the label of the metrics of breaker and bulkhead.
    ///
    /// # Errors
    ///
    /// None with the defaults; as [`StandardBuilder::build`].
    pub fn new(name: impl Into<Cow<'static, str>>) -> Result<Self, ConfigError> {
        Self::builder(name).build()
    }

    /// Starts with the defaults of the [module](self).
    pub fn builder(name: impl Into<Cow<'static, str>>) -> StandardBuilder {
        let name = name.into();
        let open = OpenPeriod::exponential(Duration::from_secs(5), Duration::from_secs(60));
        StandardBuilder {
            total_timeout: Duration::from_secs(30),
            bulkhead: Bulkhead::builder(name.clone()).limit(1000).queue(0),
            retry: HttpPolicyBuilder::standard(),
            breaker: Breaker::builder(name)
                .time_window(Duration::from_secs(30))
                .failure_rate(0.1)
                .min_calls(100)
                .consecutive_failures(10)
                .open_for(open),
            attempt_timeout: Duration::from_secs(10),
        }
    }

    /// For clients whose error is a [`BoxError`](crate::BoxError), as most of tower's are.
    #[must_use]
    pub fn boxed_errors(self) -> StandardLayer<BoxedErrors> {
        StandardLayer {
            total_timeout: self.total_timeout,
            bulkhead: self.bulkhead,
            retry: self.retry.boxed_errors(),
            breaker: self.breaker,
            attempt_timeout: self.attempt_timeout,
        }
    }
}

impl<K> StandardLayer<K> {
    /// The breaker: to watch it, or to open it by hand.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The bulkhead: how many calls are under way.
    #[must_use]
    pub fn bulkhead(&self) -> &Bulkhead {
        &self.bulkhead
    }
}

impl StandardBuilder {
    /// How long all of it may take until the response begins. Default: 30 s.
    pub fn total_timeout(mut self, limit: Duration) -> Self {
        self.total_timeout = limit;
        self
    }

    /// Changes the bulkhead: `.bulkhead(|bulkhead| bulkhead.limit(50))`.
    pub fn bulkhead(mut self, change: impl FnOnce(BulkheadBuilder) -> BulkheadBuilder) -> Self {
        self.bulkhead = change(self.bulkhead);
        self
    }

    /// Changes what is retried: `.retry(|retry| retry.backoff(Duration::from_millis(50)))`. Its own timeouts are off, for
    /// the stages around it are the ones that act.
    pub fn retry(mut self, change: impl FnOnce(HttpPolicyBuilder) -> HttpPolicyBuilder) -> Self {
        self.retry = change(self.retry);
        self
    }

    /// Attempts in all; 1 retries nothing. Default: 3.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.retry = self.retry.max_attempts(attempts);
        self
    }

    /// Changes the breaker: `.breaker(|breaker| breaker.failure_rate(0.5))`.
    pub fn breaker(mut self, change: impl FnOnce(BreakerBuilder) -> BreakerBuilder) -> Self {
        self.breaker = change(self.breaker);
        self
    }

    /// How long one attempt may take until its response begins. Default: 10 s.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = limit;
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// For what the bulkhead, the retry policy or the breaker refuses, for timeouts of zero, and for an attempt that may
    /// take longer than the whole.
    pub fn build(self) -> Result<StandardLayer, ConfigError> {
        if self.attempt_timeout > self.total_timeout && !self.total_timeout.is_zero() {
            return Err(ConfigError::new("attempt_timeout", "it is longer than the total timeout"));
        }
        Ok(StandardLayer {
            total_timeout: TotalTimeoutLayer::new(self.total_timeout)?,
            bulkhead: self.bulkhead.build()?,
            retry: RetryLayer::new(self.retry.build()?),
            breaker: self.breaker.build()?,
            attempt_timeout: AttemptTimeoutLayer::new(self.attempt_timeout)?,
        })
    }
}

impl<S, K> Layer<S> for StandardLayer<K> {
    type Service = Standard<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        let attempt = self.attempt_timeout.layer(inner);
        let guarded = HttpBreakerLayer::new(self.breaker.clone()).layer(attempt);
        let bounded = HttpBulkheadLayer::new(self.bulkhead.clone()).layer(self.retry.layer(guarded));
        self.total_timeout.layer(bounded)
    }
}

//! Client-side adaptive throttling: the more of its requests an upstream refuses, the more of them are not even sent.
//!
//! A refusal costs an overloaded upstream nearly as much as an answer. So each client counts its requests and those that
//! were accepted over a window, and once it makes more than K times as many as are accepted it rejects the excess with
//! a probability that grows (Site Reliability Engineering, chapter 21, "Handling Overload"). Unlike a breaker it has no
//! states: some requests always pass, and recovery is seen at once. A request counts when it has ended, or is rejected
//! here: were those under way counted too, the first burst of a client that was quiet would be throttled, whatever the
//! upstream says.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod http;
mod layer;

pub use http::{HttpThrottleFuture, HttpThrottleLayer, HttpThrottleService};
pub use layer::{ThrottleFuture, ThrottleLayer, ThrottleService};

use crate::breaker::now;
use crate::classify::{Classify, ErrorIsFailure};
use crate::error::{ConfigError, Error, RejectReason, Rejected};
use crate::name::Name;
use crate::policy::{Outcome, ThrottleConfig, ThrottlePolicy};
use crate::random::random;

/// A throttle: the handle everything that calls one upstream shares. Clones are cheap and are the same throttle.
///
/// ```
/// # fn main() -> Result<(), tower_breaker::ConfigError> {
/// use tower_breaker::throttle::{HttpThrottleLayer, Throttle};
///
/// let throttle = Throttle::builder("inventory").build()?;
/// let layer = HttpThrottleLayer::new(throttle.clone());
/// assert_eq!(throttle.snapshot().rejected_share, 0.0);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Throttle {
    shared: Arc<Shared>,
}

struct Shared {
    name: Name,
    policy: Mutex<ThrottlePolicy>,
    random: fn() -> u64,
    metrics: Metrics,
}

/// What a throttle has seen.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ThrottleSnapshot {
    /// Requests of the window that have ended, those rejected here among them.
    pub requests: u64,
    /// Requests that the upstream accepted.
    pub accepts: u64,
    /// The share of requests that is rejected now, from 0 to 1.
    pub rejected_share: f64,
}

/// Settings of a [`Throttle`]; made by [`Throttle::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ThrottleBuilder {
    name: Cow<'static, str>,
    config: ThrottleConfig,
    random: fn() -> u64,
}

impl ThrottleBuilder {
    /// How long requests are remembered, in ten slots. Default: 2 minutes, as in the book.
    pub fn window(mut self, window: Duration) -> Self {
        self.config.window = window;
        self
    }

    /// K: how many times as many requests as are accepted may be sent. Default: 2, as in the book: the upstream sees its
    /// recovery in requests that would be wasted otherwise. Nearer to 1 throttles sooner.
    pub fn ratio(mut self, k: f64) -> Self {
        self.config.ratio = k;
        self
    }

    /// Added to the requests in the denominator, so that a handful of failures of a quiet client rejects little.
    /// Default: 8; the book has 1.
    pub fn padding(mut self, requests: u32) -> Self {
        self.config.padding = requests;
        self
    }

    /// What draws: a uniform number. It must not use the throttle, whose lock it is called in. Default: the keys of the
    /// standard library's hash maps.
    pub fn random_with(mut self, random: fn() -> u64) -> Self {
        self.random = random;
        self
    }

    /// The throttle.
    ///
    /// # Errors
    ///
    /// For an empty name, a window of zero, a ratio below 1 or none, and a padding of zero.
    pub fn build(self) -> Result<Throttle, ConfigError> {
        if self.name.is_empty() {
            return Err(ConfigError::new("name", "it is empty"));
        }
        if self.config.window.is_zero() {
            return Err(ConfigError::new("window", "the window must be longer than zero"));
        }
        if !self.config.ratio.is_finite() || self.config.ratio < 1.0 {
            return Err(ConfigError::new("ratio", "K is a number of at least 1"));
        }
        if self.config.padding == 0 {
            return Err(ConfigError::new("padding", "without it the first failure would reject everything"));
        }
        let policy = Mutex::new(ThrottlePolicy::new(self.config, now()));
        let shared =
            Shared { name: Name::from(&self.name), policy, random: self.random, metrics: Metrics::default() };
        Ok(Throttle { shared: Arc::new(shared) })
    }
}

impl Throttle {
    /// Starts the settings of a throttle. The name is the label of its metrics and part of its rejections: take it from a
    /// closed set.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> ThrottleBuilder {
        let config = ThrottleConfig { window: Duration::from_secs(120), ratio: 2.0, padding: 8 };
        ThrottleBuilder { name: name.into(), config, random }
    }

    /// The name given to the builder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Counts of this moment.
    #[must_use]
    pub fn snapshot(&self) -> ThrottleSnapshot {
        let now = now();
        let mut policy = self.lock();
        let tally = policy.tally(now);
        ThrottleSnapshot {
            requests: tally.requests,
            accepts: tally.accepts,
            rejected_share: policy.rejected_share(now),
        }
    }

    /// Asks for one request. The pass is told the outcome; dropped untold, the request is as if it had not been made.
    ///
    /// # Errors
    ///
    /// [`Rejected`] with [`RejectReason::Throttled`].
    pub fn try_acquire(&self) -> Result<Pass, Rejected> {
        self.shared.metrics.resolve(&self.shared.name);
        let now = now();
        let admits = self.lock().admits(now, self.shared.random);
        if admits {
            return Ok(Pass { throttle: self.clone(), outcome: Outcome::Ignored });
        }
        self.shared.metrics.count(REJECTED);
        Err(Rejected::new(self.shared.name.clone(), RejectReason::Throttled, None))
    }

    /// Guards a future that is no tower service: `Ok` was accepted, `Err` was not.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] when the call is not made; else the future's own error as [`Error::Inner`].
    pub async fn call<F, T, E>(&self, future: F) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let pass = self.try_acquire().map_err(Error::Rejected)?;
        let result = future.await;
        pass.record(ErrorIsFailure.classify(result.as_ref()).outcome());
        result.map_err(Error::Inner)
    }

    /// No step of the policy runs foreign code but the replaceable randomness, before which nothing is half done.
    fn lock(&self) -> MutexGuard<'_, ThrottlePolicy> {
        self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// The right to one request, from [`Throttle::try_acquire`].
#[derive(Debug)]
#[must_use = "a pass that is dropped counts nothing"]
pub struct Pass {
    throttle: Throttle,
    outcome: Outcome,
}

impl Pass {
    /// The upstream accepted the request.
    pub fn accepted(self) {
        self.record(Outcome::Success);
    }

    /// The upstream refused it, or did not answer.
    pub fn refused(self) {
        self.record(Outcome::Failure);
    }

    /// What came of it; ignored requests are as if they had not been made.
    pub fn record(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let accepted = match self.outcome {
            Outcome::Success => true,
            Outcome::Failure => false,
            Outcome::Ignored => return self.throttle.shared.metrics.count(IGNORED),
        };
        self.throttle.lock().ended(now(), accepted);
        self.throttle.shared.metrics.count(if accepted { ACCEPTED } else { REFUSED });
    }
}

const ACCEPTED: usize = 0;
const REFUSED: usize = 1;
const REJECTED: usize = 2;
const IGNORED: usize = 3;

/// Handles are made when the first request comes, on its thread.
#[derive(Default)]
struct Metrics {
    #[cfg(feature = "metrics")]
    handles: std::sync::OnceLock<[metrics::Counter; 4]>,
}

impl Metrics {
    fn resolve(&self, name: &str) {
        #[cfg(feature = "metrics")]
        self.handles.get_or_init(|| {
            ["accepted", "refused", "rejected", "ignored"].map(|outcome| {
                metrics::counter!("tower_breaker_throttle_requests_total", "throttle" => name.to_string(), "outcome" => outcome)
            })
        });
        #[cfg(not(feature = "metrics"))]
        let _ = name;
    }

    fn count(&self, outcome: usize) {
        #[cfg(feature = "metrics")]
        if let Some(handles) = self.handles.get() {
            handles[outcome].increment(1);
        }
        #[cfg(not(feature = "metrics"))]
        let _ = outcome;
    }
}

//! One more attempt for what is safe to repeat: a layer, its policy, and the time of a single attempt.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::breaker::now;
use crate::classify::retry_after;
use crate::error::{ConfigError, Rejected};
use crate::policy::Budget;

mod timeout;

pub use timeout::{AttemptTimeout, AttemptTimeoutFuture, AttemptTimeoutLayer};

/// The attempts of one request, in its extensions: what a balancer below needs to take another endpoint each time.
#[derive(Debug, Clone)]
pub struct Attempt {
    number: u32,
    tried: Arc<Mutex<Vec<u64>>>,
}

impl Attempt {
    /// 1 for the first attempt.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether an earlier attempt, or this one, was marked with the endpoint `id`.
    #[must_use]
    pub fn has_tried(&self, id: u64) -> bool {
        self.tried().contains(&id)
    }

    /// Says that this attempt goes to the endpoint `id`.
    pub fn mark(&self, id: u64) {
        self.tried().push(id);
    }

    /// Every attempt so far was marked: there is a balancer below that takes another endpoint.
    fn balanced(&self) -> bool {
        self.tried().len() >= self.number as usize
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which answers are worth another attempt, and how many attempts there are.
///
/// Repeated are requests without content whose method is idempotent (RFC 9110 §9.2.2) or that carry an
/// `Idempotency-Key`, after an error, a connection that broke, or a status 408, 429, 502, 503 or 504. When a balancer
/// below marks its endpoints in the [`Attempt`], the next attempt goes at once to another endpoint; otherwise it waits:
/// for as long as `Retry-After` says, or with full jitter. A rejection of a breaker is repeated on another endpoint only.
#[derive(Debug, Clone)]
pub struct HttpPolicy {
    max_attempts: u32,
    percent: u32,
    per_second: u32,
    retry_after: Duration,
    backoff: Duration,
    wall_clock: fn() -> SystemTime,
}

impl Default for HttpPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpPolicy {
    /// Two attempts; retries for a fifth of the calls and ten a second besides.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_attempts: 2,
            percent: 20,
            per_second: 10,
            retry_after: Duration::from_secs(1),
            backoff: Duration::from_millis(25),
            wall_clock: SystemTime::now,
        }
    }

    /// Attempts in all. Default: 2, because each further one multiplies the load of a failing system.
    ///
    /// # Errors
    ///
    /// For zero.
    pub fn max_attempts(self, attempts: u32) -> Result<Self, ConfigError> {
        match attempts {
            0 => Err(ConfigError::new("max_attempts", "there is at least one attempt")),
            _ => Ok(Self { max_attempts: attempts, ..self }),
        }
    }

    /// The budget that all clones of a layer share: retries for `percent` of the calls, and `per_second` besides.
    /// Default: 20 and 10.
    ///
    /// # Errors
    ///
    /// For more than 100 percent.
    pub fn budget(self, percent: u32, per_second: u32) -> Result<Self, ConfigError> {
        match percent {
            0..=100 => Ok(Self { percent, per_second, ..self }),
            _ => Err(ConfigError::new("budget", "percent is at most 100")),
        }
    }

    /// Longest `Retry-After` that is waited for; a longer one ends the attempts. Default: 1 s.
    #[must_use]
    pub const fn retry_after_up_to(self, limit: Duration) -> Self {
        Self { retry_after: limit, ..self }
    }

    /// Longest wait before the second attempt on the same endpoint, doubled for each one more; the actual wait is drawn
    /// between zero and that (full jitter). Default: 25 ms.
    #[must_use]
    pub const fn backoff(self, longest: Duration) -> Self {
        Self { backoff: longest, ..self }
    }

    /// The time of day that dates in `Retry-After` are compared with. Default: [`SystemTime::now`].
    #[must_use]
    pub const fn wall_clock(self, now: fn() -> SystemTime) -> Self {
        Self { wall_clock: now, ..self }
    }

    /// Whether the request may be sent twice.
    fn repeatable<B: Body>(parts: &Parts, body: &B) -> bool {
        let idempotent = matches!(
            parts.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
        );
        let empty = body.is_end_stream() || body.size_hint().exact() == Some(0);
        empty
            && (idempotent || parts.headers.contains_key("idempotency-key"))
            && !parts.headers.contains_key(header::UPGRADE)
    }

    /// How long to wait before the next attempt; `None` when this result is the last word.
    fn next<B, E>(&self, result: &Result<Response<B>, E>, attempt: &Attempt) -> Option<Duration> {
        if attempt.number >= self.max_attempts {
            return None;
        }
        let elsewhere = attempt.balanced();
        let asked = match result {
            Err(_) => None,
            Ok(response) if response.extensions().get::<Rejected>().is_some() => {
                return elsewhere.then_some(Duration::ZERO);
            }
            Ok(response) => match response.status() {
                StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => retry_after(response.headers(), self.wall_clock),
                _ => return None,
            },
        };
        match asked {
            _ if elsewhere => Some(Duration::ZERO),
            Some(wait) => (wait <= self.retry_after).then_some(wait),
            None => Some(jitter(self.backoff.saturating_mul(1 << (attempt.number - 1).min(16)))),
        }
    }
}

/// Between zero and `longest`.
fn jitter(longest: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    // The keys of each state differ: randomness enough to spread retries.
    let random = RandomState::new().hash_one(0) as u32;
    longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Repeats requests by an [`HttpPolicy`]; for clients and gateways.
#[derive(Debug, Clone)]
pub struct RetryLayer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    policy: HttpPolicy,
    budget: Mutex<Budget>,
}

impl Shared {
    fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RetryLayer {
    /// All services that this layer and its clones build share one budget.
    #[must_use]
    pub fn new(policy: HttpPolicy) -> Self {
        let budget = Mutex::new(Budget::new(policy.percent, policy.per_second, now()));
        Self { shared: Arc::new(Shared { policy, budget }) }
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry { inner, shared: self.shared.clone() }
    }
}

/// What [`RetryLayer`] builds.
#[derive(Debug, Clone)]
pub struct Retry<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for Retry<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    ReqB: Body + Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RetryFuture<S, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        self.shared.budget().deposit(now());
        let attempt = Attempt { number: 1, tried: Arc::default() };
        parts.extensions.insert(attempt.clone());
        let spare = HttpPolicy::repeatable(&parts, &body).then(|| parts.clone());
        // The instance that was polled ready makes the first attempt; a clone is left in its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let future = inner.call(Request::from_parts(parts, body));
        RetryFuture { state: State::Calls { future }, inner, spare, attempt, shared: self.shared.clone() }
    }
}

pin_project! {
    /// The future of [`Retry`].
    pub struct RetryFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S::Future>,
        inner: S,
        spare: Option<Parts>,
        attempt: Attempt,
        shared: Arc<Shared>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Calls { #[pin] future: F },
        Waits { #[pin] sleep: tokio::time::Sleep },
        Readies,
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for RetryFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryFuture").field("attempt", &self.attempt.number).finish_non_exhaustive()
    }
}

impl<S, ReqB, ResB> Future for RetryFuture<S, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ReqB: Default,
{
    type Output = Result<Response<ResB>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Calls { future } => {
                    let result = ready!(future.poll(cx));
                    let wait = this
                        .spare
                        .is_some()
                        .then(|| this.shared.policy.next(&result, this.attempt))
                        .flatten();
                    let Some(wait) = wait else { return Poll::Ready(result) };
                    if !this.shared.budget().withdraw(now()) {
                        return Poll::Ready(result);
                    }
                    this.attempt.number += 1;
                    let next = match wait.is_zero() {
                        true => State::Readies,
                        false => State::Waits { sleep: tokio::time::sleep(wait) },
                    };
                    this.state.set(next);
                }
                StateProj::Waits { sleep } => {
                    ready!(sleep.poll(cx));
                    this.state.set(State::Readies);
                }
                StateProj::Readies => {
                    ready!(this.inner.poll_ready(cx))?;
                    let last = this.attempt.number >= this.shared.policy.max_attempts;
                    let parts = if last { this.spare.take() } else { this.spare.clone() };
                    let Some(mut parts) = parts else { return Poll::Pending };
                    parts.extensions.insert(this.attempt.clone());
                    let future = this.inner.call(Request::from_parts(parts, ReqB::default()));
                    this.state.set(State::Calls { future });
                }
            }
        }
    }
}

//! What a retry policy is told.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};

use super::cause;
use super::replay::DEFAULT_LIMIT;
use crate::error::{ConfigError, Rejected};
use crate::policy::{self, Backoff, Ended, Pushback, positive};
use crate::random::random;

/// A budget of tower's, shared.
pub type SharedBudget = Arc<dyn tower::retry::budget::Budget + Send + Sync>;

/// Which results are worth another attempt, and how many attempts there are; for [`RetryLayer`](super::RetryLayer), and
/// with [`into_tower`](Self::into_tower) for tower's `Retry`.
///
/// Repeated are:
///
/// - after any error and after a status 408, 429, 502, 503 or 504 or a gRPC status 4, 8 or 14 (deadline exceeded,
///   resource exhausted, unavailable): requests whose method is idempotent (RFC 9110 §9.2.2) or that carry an
///   `Idempotency-Key`;
/// - after an error which shows that nobody worked on it (see [`unsent`](super::unsent)): any request.
///
/// When a balancer below marks its endpoints in the [`Attempt`](super::Attempt), the next attempt goes at once to another
/// endpoint; otherwise it waits: for as long as `Retry-After` or `grpc-retry-pushback-ms` says, or with full jitter. A
/// rejection of this side (a breaker, a bulkhead) is repeated on another endpoint only.
#[derive(Clone)]
pub struct HttpPolicy {
    pub(super) max_attempts: u32,
    pub(super) percent: u32,
    pub(super) per_second: u32,
    pub(super) budget: Option<SharedBudget>,
    pub(super) longest: Duration,
    pub(super) backoff: Backoff,
    pub(super) max_body: usize,
    pub(super) attempt: Option<Duration>,
    pub(super) total: Option<Duration>,
    pub(super) peek: Duration,
    pub(super) attempt_header: Option<HeaderName>,
    wall_clock: fn() -> SystemTime,
    idempotent: fn(&Parts) -> bool,
    status: fn(StatusCode) -> bool,
    grpc: fn(u32) -> bool,
    unsent: fn(&(dyn Error + 'static)) -> bool,
}

impl Default for HttpPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpPolicy {
    /// Two attempts of 10 s at most within 30 s; retries for a fifth of the calls and ten a second besides.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_attempts: 2,
            percent: 20,
            per_second: 10,
            budget: None,
            longest: Duration::from_secs(1),
            backoff: Backoff { base: Duration::from_millis(25), max: Duration::from_secs(2) },
            max_body: DEFAULT_LIMIT,
            attempt: Some(Duration::from_secs(10)),
            total: Some(Duration::from_secs(30)),
            peek: Duration::from_millis(50),
            attempt_header: None,
            wall_clock: SystemTime::now,
            idempotent: |_| false,
            status: |status| matches!(status.as_u16(), 408 | 429 | 502..=504),
            grpc: |code| matches!(code, 4 | 8 | 14),
            unsent: cause::unsent,
        }
    }

    /// Starts with the settings of [`new`](Self::new).
    pub const fn builder() -> HttpPolicyBuilder {
        HttpPolicyBuilder { policy: Self::new() }
    }

    pub(super) fn idempotent(&self, parts: &Parts) -> bool {
        policy::idempotent(parts) || (self.idempotent)(parts)
    }

    /// The wait when nobody names one.
    pub(super) fn wait(&self, attempts: u32) -> Duration {
        self.backoff.wait(attempts, random())
    }

    pub(super) fn judge_error(&self, error: &(dyn Error + 'static)) -> Ended {
        cause::judge(error, self.unsent)
    }

    pub(super) fn judge<B>(&self, response: &http::Response<B>) -> Ended {
        let headers = response.headers();
        if response.extensions().get::<Rejected>().is_some() {
            return Ended::Rejected;
        }
        if (self.status)(response.status()) {
            return self.asks(headers);
        }
        self.judge_grpc(headers)
    }

    /// By the gRPC status in headers or trailers.
    pub(super) fn judge_grpc(&self, fields: &HeaderMap) -> Ended {
        match policy::grpc_status(fields) {
            Some(code) if (self.grpc)(code) => self.asks(fields),
            _ => Ended::Well,
        }
    }

    fn asks(&self, fields: &HeaderMap) -> Ended {
        match policy::pushback(fields) {
            Pushback::Never => Ended::Forbids,
            Pushback::After(wait) => Ended::Asks(Some(wait)),
            Pushback::Silent => Ended::Asks(policy::retry_after(fields, (self.wall_clock)())),
        }
    }
}

impl fmt::Debug for HttpPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPolicy")
            .field("max_attempts", &self.max_attempts)
            .field("budget_percent", &self.percent)
            .field("budget_per_second", &self.per_second)
            .field("own_budget", &self.budget.is_none())
            .field("retry_after_up_to", &self.longest)
            .field("backoff", &self.backoff.base)
            .field("backoff_up_to", &self.backoff.max)
            .field("max_body", &self.max_body)
            .field("attempt_timeout", &self.attempt)
            .field("total_timeout", &self.total)
            .field("peek_for", &self.peek)
            .field("attempt_header", &self.attempt_header)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`HttpPolicy`]; made by [`HttpPolicy::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct HttpPolicyBuilder {
    policy: HttpPolicy,
}

impl HttpPolicyBuilder {
    /// The defaults of the standard stack, whose other stages keep the time.
    #[cfg(feature = "stack")]
    pub(crate) const fn standard() -> Self {
        let mut policy = HttpPolicy::new();
        policy.max_attempts = 3;
        policy.backoff.base = Duration::from_millis(200);
        policy.longest = Duration::from_secs(5);
        policy.attempt = None;
        policy.total = None;
        Self { policy }
    }

    /// Attempts in all; 1 retries nothing. Default: 2, because each further one multiplies the load of a failing system.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.policy.max_attempts = attempts;
        self
    }

    /// The budget that all clones of a layer share: retries for `percent` of the calls, at most 100, and `per_second`
    /// besides. Default: 20 and 10, so that a failing upstream sees at most a fifth more load, and a quiet client may
    /// retry. What is repeated elsewhere after a rejection on this side costs nothing of it: no upstream has seen it.
    pub fn budget(mut self, percent: u32, per_second: u32) -> Self {
        (self.policy.percent, self.policy.per_second, self.policy.budget) = (percent, per_second, None);
        self
    }

    /// A budget of tower's instead, for instance one that several layers share. Default: none.
    pub fn shared_budget(mut self, budget: SharedBudget) -> Self {
        self.policy.budget = Some(budget);
        self
    }

    /// Longest wait that an upstream may ask for; asked for a longer one, nobody comes back at all, for coming early is
    /// what it asked not to do. Default: 1 s, since somebody waits. Zero: whoever asks for a wait is not asked again.
    pub fn retry_after_up_to(mut self, limit: Duration) -> Self {
        self.policy.longest = limit;
        self
    }

    /// Longest wait before the second attempt on the same endpoint, doubled for each one more; the actual wait is drawn
    /// between zero and that (full jitter). Default: 25 ms, the length of a hiccup. Zero: at once.
    pub fn backoff(mut self, longest: Duration) -> Self {
        self.policy.backoff.base = longest;
        self
    }

    /// Where the doubling of [`backoff`](Self::backoff) ends. Default: 2 s. Zero: at once, whatever that says.
    pub fn backoff_up_to(mut self, max: Duration) -> Self {
        self.policy.backoff.max = max;
        self
    }

    /// Octets of a request body that are recorded for another attempt; a request with more is sent once. Default: 64 KiB
    /// ([`DEFAULT_LIMIT`]). Zero: requests with content are sent once.
    pub fn max_body(mut self, octets: usize) -> Self {
        self.policy.max_body = octets;
        self
    }

    /// How long one attempt may take until its response begins; then it counts as a 504. `None`: as long as it likes.
    /// Default: 10 s. With a breaker below, set [`AttemptTimeoutLayer`](super::AttemptTimeoutLayer) below that too: else
    /// the breaker sees cancelled calls only.
    pub fn attempt_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.policy.attempt = limit.into();
        self
    }

    /// How long all attempts and waits may take until the response begins; a [`Deadline`](super::Deadline) that comes
    /// sooner prevails. `None`: as long as they like. Default: 30 s.
    pub fn total_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.policy.total = limit.into();
        self
    }

    /// How long the head of a gRPC response is held back to see whether the call ends without a message, and so may be
    /// repeated. Default: 50 ms: a failing server sends head and trailers at once, and a stream begins late at most that.
    /// Zero: only what has come with the head is looked at.
    pub fn peek_for(mut self, limit: Duration) -> Self {
        self.policy.peek = limit;
        self
    }

    /// A header field that tells the upstream the number of the attempt, 1 for the first. Default: none.
    pub fn attempt_header(mut self, name: HeaderName) -> Self {
        self.policy.attempt_header = Some(name);
        self
    }

    /// The time of day that dates in `Retry-After` are compared with. Default: [`SystemTime::now`].
    pub fn wall_clock(mut self, now: fn() -> SystemTime) -> Self {
        self.policy.wall_clock = now;
        self
    }

    /// Requests that may be repeated besides those with an idempotent method or a key: gRPC methods that only read, for
    /// instance. Default: none.
    pub fn idempotent_when(mut self, also: fn(&Parts) -> bool) -> Self {
        self.policy.idempotent = also;
        self
    }

    /// Which statuses call for another attempt. Default: 408, 429, 502, 503, 504.
    pub fn retried_status(mut self, retried: fn(StatusCode) -> bool) -> Self {
        self.policy.status = retried;
        self
    }

    /// Which gRPC codes do. Default: 4, 8, 14.
    pub fn retried_grpc_code(mut self, retried: fn(u32) -> bool) -> Self {
        self.policy.grpc = retried;
        self
    }

    /// Which errors show that nobody worked on the request, so that even a POST may be sent again. Default:
    /// [`unsent`](super::unsent). For an exact answer, ask your client's error type, which is somewhere in the source
    /// chain: `|error| unsent(error) || error.downcast_ref::<MyError>().is_some_and(MyError::is_connect)`.
    pub fn connect_error(mut self, unsent: fn(&(dyn Error + 'static)) -> bool) -> Self {
        self.policy.unsent = unsent;
        self
    }

    /// The policy.
    ///
    /// # Errors
    ///
    /// For no attempt at all, a budget of more than 100 percent, and timeouts of zero.
    pub fn build(self) -> Result<HttpPolicy, ConfigError> {
        let policy = self.policy;
        if policy.max_attempts == 0 {
            return Err(ConfigError::new("max_attempts", "there is at least one attempt"));
        }
        if policy.percent > 100 {
            return Err(ConfigError::new("budget", "percent is at most 100"));
        }
        policy.attempt.map(|limit| positive("attempt_timeout", limit)).transpose()?;
        policy.total.map(|limit| positive("total_timeout", limit)).transpose()?;
        Ok(policy)
    }
}

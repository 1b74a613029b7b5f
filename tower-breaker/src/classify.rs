//! What a result says about the upstream.

#[cfg(feature = "tower-http")]
mod tower_http;

use std::any::Any;
use std::fmt;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Response, StatusCode, header};

use crate::error::{BoxError, Error, Rejected, find_rejection, says_nothing};
use crate::grpc::is_grpc;
use crate::policy::{self, Pushback, Verdict};

#[cfg(feature = "tower-http")]
pub use self::tower_http::TowerHttp;

/// Judges the result of a call; for [`BreakerLayer`](crate::BreakerLayer) and [`Breaker::call_with`](crate::Breaker::call_with).
///
/// Implemented for closures.
pub trait Classify<T, E> {
    /// What this result says.
    fn classify(&self, result: Result<&T, &E>) -> Verdict;
}

impl<T, E, F, V> Classify<T, E> for F
where
    F: Fn(Result<&T, &E>) -> V,
    V: Into<Verdict>,
{
    fn classify(&self, result: Result<&T, &E>) -> Verdict {
        self(result).into()
    }
}

/// `Ok` is a success and `Err` a failure, the rejections of whatever is further in among them: see [`IgnoreRejections`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorIsFailure;

impl<T, E> Classify<T, E> for ErrorIsFailure {
    fn classify(&self, result: Result<&T, &E>) -> Verdict {
        if result.is_ok() { Verdict::SUCCESS } else { Verdict::FAILURE }
    }
}

/// As [`ErrorIsFailure`], for services and futures whose error is an [`Error`] or a [`BoxError`]: the rejection of a
/// breaker, bulkhead or throttle further in is ignored, for the upstream was not asked.
///
/// ```
/// # async fn query() -> Result<u32, std::io::Error> { Ok(7) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_breaker::{Breaker, Bulkhead, classify::IgnoreRejections};
///
/// let (breaker, bulkhead) = (Breaker::builder("database").build()?, Bulkhead::builder("database").build()?);
/// let rows = breaker.call_with(IgnoreRejections, bulkhead.call(query())).await?;
/// # assert_eq!(rows, 7);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct IgnoreRejections;

impl<T, E> Classify<T, Error<E>> for IgnoreRejections {
    fn classify(&self, result: Result<&T, &Error<E>>) -> Verdict {
        match result {
            Err(error) if error.rejection().is_some() => Verdict::IGNORED,
            result => ErrorIsFailure.classify(result),
        }
    }
}

impl<T> Classify<T, BoxError> for IgnoreRejections {
    fn classify(&self, result: Result<&T, &BoxError>) -> Verdict {
        match result {
            Err(error) if find_rejection(&**error).is_some() => Verdict::IGNORED,
            result => ErrorIsFailure.classify(result),
        }
    }
}

/// What the head of a response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Head {
    /// All there is to know.
    Decided(Verdict),
    /// Well so far: the end of the body decides.
    AtEnd,
}

impl<V: Into<Verdict>> From<V> for Head {
    /// A failure or an ignored response is decided by its head; a success still has to reach its end.
    fn from(verdict: V) -> Self {
        let verdict = verdict.into();
        if verdict.outcome() == policy::Outcome::Success { Self::AtEnd } else { Self::Decided(verdict) }
    }
}

/// Judges HTTP responses; for [`HttpBreakerLayer`](crate::HttpBreakerLayer).
///
/// Implemented for closures that look at status and headers. Each call is judged by a clone of its own, which may keep
/// in itself what the head said until the end comes. A body that ends short of the length it promised is a failure
/// whatever this says.
pub trait ClassifyHttp {
    /// What the head says.
    fn head(&mut self, response: &Response<()>) -> Head;

    /// What the end of the body says, with the trailers if there were any. Default: it ended, so all is well.
    fn end(&mut self, trailers: Option<&HeaderMap>) -> Verdict {
        let _ = trailers;
        Verdict::SUCCESS
    }

    /// What an error says, the service's instead of a response or the body's after one; to be downcast by those who
    /// know it. Default: it is a failure.
    fn error(&mut self, error: &dyn Any) -> Verdict {
        let _ = error;
        Verdict::FAILURE
    }
}

impl<F, V> ClassifyHttp for F
where
    F: Fn(StatusCode, &HeaderMap) -> V,
    V: Into<Head>,
{
    fn head(&mut self, response: &Response<()>) -> Head {
        self(response.status(), response.headers()).into()
    }
}

/// The default judge of HTTP and gRPC responses.
///
/// Failures: 5xx other than 501 (what is not implemented is not broken), and the gRPC codes `UNKNOWN`,
/// `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS`, in the header block or in the trailers; a gRPC answer
/// that ends without any is `UNKNOWN`. A failure's `Retry-After` (RFC 9110 §10.2.3) becomes the verdict's hint.
///
/// A response or error that is a [`Rejected`] of this crate, from a bulkhead below say, is ignored: the upstream was not
/// asked. So is the error of a hyper client that the request's own content broke off, which its sender did. Errors are
/// looked into where they are a [`BoxError`], or an [`Error`] of one; any other error has to be boxed
/// (`.map_err(Into::into)`), or judged by a [`ClassifyHttp`] that knows its type.
#[derive(Clone, Copy)]
pub struct HttpClassifier {
    status: fn(StatusCode) -> bool,
    grpc: fn(u32) -> bool,
    wall_clock: fn() -> SystemTime,
    /// The head was that of a gRPC answer, whose status is still to come.
    owes_status: bool,
}

impl HttpClassifier {
    /// The defaults above.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            status: |status| status.is_server_error() && status.as_u16() != 501,
            grpc: |code| matches!(code, 2 | 4 | 13 | 14 | 15),
            wall_clock: SystemTime::now,
            owes_status: false,
        }
    }

    /// Which statuses are failures.
    #[must_use]
    pub const fn failing_status(mut self, failing: fn(StatusCode) -> bool) -> Self {
        self.status = failing;
        self
    }

    /// Which gRPC codes are failures.
    #[must_use]
    pub const fn failing_grpc_code(mut self, failing: fn(u32) -> bool) -> Self {
        self.grpc = failing;
        self
    }

    /// What tells the time of day, for `Retry-After` with a date. Default [`SystemTime::now`].
    #[must_use]
    pub const fn wall_clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.wall_clock = clock;
        self
    }

    fn grpc(&self, headers: &HeaderMap) -> Option<Verdict> {
        let code = policy::grpc_status(headers)?;
        Some(self.code(code).with_retry_after(pushback(headers)))
    }

    fn code(&self, code: u32) -> Verdict {
        if (self.grpc)(code) { Verdict::FAILURE } else { Verdict::SUCCESS }
    }
}

impl Default for HttpClassifier {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HttpClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClassifier").finish_non_exhaustive()
    }
}

impl ClassifyHttp for HttpClassifier {
    fn head(&mut self, response: &Response<()>) -> Head {
        if response.extensions().get::<Rejected>().is_some() {
            return Head::Decided(Verdict::IGNORED);
        }
        let headers = response.headers();
        if (self.status)(response.status()) {
            let wait = policy::retry_after(headers, (self.wall_clock)()).or_else(|| pushback(headers));
            return Head::Decided(Verdict::FAILURE.with_retry_after(wait));
        }
        if let Some(verdict) = self.grpc(headers) {
            return Head::Decided(verdict);
        }
        self.owes_status = owes_status(headers);
        Head::AtEnd
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Verdict {
        match trailers.and_then(|trailers| self.grpc(trailers)) {
            Some(verdict) => verdict,
            None if self.owes_status => self.code(policy::UNKNOWN),
            None => Verdict::SUCCESS,
        }
    }

    fn error(&mut self, error: &dyn Any) -> Verdict {
        if says_nothing(error) { Verdict::IGNORED } else { Verdict::FAILURE }
    }
}

/// Whether trailers with a gRPC status have to follow. Those of gRPC-Web are part of the body.
fn owes_status(headers: &HeaderMap) -> bool {
    let web = || headers[header::CONTENT_TYPE].as_bytes()["application/grpc".len()..].starts_with(b"-");
    is_grpc(headers) && !web()
}

/// The wait that gRPC's pushback names; that nobody is to come again is no wait.
fn pushback(headers: &HeaderMap) -> Option<Duration> {
    match policy::pushback(headers) {
        Pushback::After(wait) => Some(wait),
        Pushback::Silent | Pushback::Never => None,
    }
}

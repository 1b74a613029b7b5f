//! Time: of one attempt, and of all of them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::breaker::now;
use crate::error::ConfigError;
use crate::grpc;
use crate::http::CutShort;
use crate::policy::{self, positive};
use crate::problem::Problem;

/// When the caller's patience ends, in the extensions of a request. Set by [`TotalTimeoutLayer`] and
/// [`RetryLayer`](super::RetryLayer); those below wait no longer. A gRPC call's `grpc-timeout` counts from when they are
/// called, where that is sooner. Once it has come, nobody calls the upstream: the answer is 504 (gRPC: 4) at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    /// At this moment of the monotonic clock.
    #[must_use]
    pub const fn at(at: Instant) -> Self {
        Self { at }
    }

    /// The moment.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.at
    }

    /// Time left, zero once it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.at.saturating_duration_since(now())
    }

    /// Whether it has come: at the moment itself there is no time for an answer.
    pub(super) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// So long from now; none where no clock holds that.
    pub(super) fn after(limit: Duration) -> Option<Self> {
        now().checked_add(limit).map(Self::at)
    }

    /// The sooner one of what the request's extensions and its field say; none when neither does.
    pub(super) fn given(extensions: &http::Extensions, asked: &Asked) -> Option<Self> {
        let told = asked.timeout.and_then(Self::after);
        told.into_iter().chain(extensions.get::<Self>().copied()).min()
    }
}

/// In the extensions of an answer that stands for one that did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimedOut {
    /// One attempt took too long by itself.
    Attempt,
    /// All of them together did: the request's [`Deadline`] has come.
    Total,
}

/// Ends an attempt whose response has not begun in time with 504 (gRPC: 4, deadline exceeded), sooner when the
/// request's [`Deadline`] comes first. Stands below the breaker of an endpoint, so that the breaker sees a hanging
/// endpoint fail.
///
/// An attempt that the deadline leaves less than half of its own time says little about the endpoint: the rest went by
/// in a queue or in earlier attempts. Such a one is a cancelled call to the breaker above, and counts by its
/// [`on_cancel`](crate::BreakerBuilder::on_cancel): by default, as a failure once it is a second old. (Envoy charges the
/// host with every global timeout; in Resilience4j and Polly a timeout outside of the breaker cancels, which is no
/// failure.)
#[derive(Debug, Clone, Copy)]
pub struct AttemptTimeoutLayer {
    limit: Duration,
}

impl AttemptTimeoutLayer {
    /// The time until the head of the response; the body may take longer.
    ///
    /// # Errors
    ///
    /// For zero.
    pub fn new(limit: Duration) -> Result<Self, ConfigError> {
        Ok(Self { limit: positive("attempt_timeout", limit)? })
    }
}

impl<S> Layer<S> for AttemptTimeoutLayer {
    type Service = AttemptTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptTimeout { inner, limit: self.limit, kind: TimedOut::Attempt }
    }
}

/// Ends a call whose response has not begun in time with 504 (gRPC: 4, deadline exceeded), and tells those below by a
/// [`Deadline`] in the request. Stands outside of everything that waits: bulkheads, retries.
#[derive(Debug, Clone, Copy)]
pub struct TotalTimeoutLayer {
    limit: Duration,
}

impl TotalTimeoutLayer {
    /// The time until the head of the response, over all attempts and waits; the body may take longer.
    ///
    /// # Errors
    ///
    /// For zero.
    pub fn new(limit: Duration) -> Result<Self, ConfigError> {
        Ok(Self { limit: positive("total_timeout", limit)? })
    }
}

impl<S> Layer<S> for TotalTimeoutLayer {
    type Service = AttemptTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptTimeout { inner, limit: self.limit, kind: TimedOut::Total }
    }
}

/// What [`AttemptTimeoutLayer`] and [`TotalTimeoutLayer`] build.
#[derive(Debug, Clone)]
pub struct AttemptTimeout<S> {
    inner: S,
    limit: Duration,
    kind: TimedOut,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for AttemptTimeout<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = AttemptTimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let asked = Asked::new(request.method(), request.headers());
        let outer = Deadline::given(request.extensions(), &asked);
        let deadline = outer.into_iter().chain(Deadline::after(self.limit)).min();
        // What ends an attempt may be the time of them all.
        let kind = if deadline == outer { TimedOut::Total } else { self.kind };
        let left = outer.map(Deadline::left);
        let cut = (self.kind, kind) == (TimedOut::Attempt, TimedOut::Total);
        let short = cut && left.is_some_and(|left| left < self.limit / 2);
        if let (TimedOut::Total, Some(deadline)) = (self.kind, deadline) {
            request.extensions_mut().insert(deadline);
        }
        AttemptTimeoutFuture {
            inner: (left != Some(Duration::ZERO)).then(|| self.inner.call(request)),
            sleep: until(deadline.map(Deadline::instant)),
            asked,
            kind,
            short,
        }
    }
}

/// A timer; for as long as tokio knows when there is no end.
pub(super) fn until(end: Option<Instant>) -> tokio::time::Sleep {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()),
        None => tokio::time::sleep(Duration::MAX),
    }
}

pin_project! {
    /// The future of [`AttemptTimeout`].
    #[derive(Debug)]
    pub struct AttemptTimeoutFuture<F> {
        // None when the time was over before: nobody waits for an answer of the upstream any more.
        #[pin]
        inner: Option<F>,
        #[pin]
        sleep: tokio::time::Sleep,
        asked: Asked,
        kind: TimedOut,
        // It was not given much of the time of an attempt.
        short: bool,
    }
}

impl<F, B, E> Future for AttemptTimeoutFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(inner) = this.inner.as_pin_mut() {
            if let Poll::Ready(result) = inner.poll(cx) {
                return Poll::Ready(result.map(|response| response.map(ResponseBody::inner)));
            }
            ready!(this.sleep.poll(cx));
        }
        let mut response = this.asked.late(*this.kind).map(ResponseBody::own);
        if *this.short {
            response.extensions_mut().insert(CutShort);
        }
        Poll::Ready(Ok(response))
    }
}

/// What an answer of our own has to know about the request; cheap to keep.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    method: Method,
    grpc: Option<HeaderValue>,
    id: Option<HeaderValue>,
    /// What a gRPC call says itself.
    pub(super) timeout: Option<Duration>,
}

impl Asked {
    pub(super) fn new(method: &Method, headers: &http::HeaderMap) -> Self {
        let grpc = grpc::is_grpc(headers).then(|| headers.get(header::CONTENT_TYPE).cloned()).flatten();
        let timeout = grpc.as_ref().and_then(|_| policy::grpc_timeout(headers));
        Self { method: method.clone(), grpc, id: headers.get("x-request-id").cloned(), timeout }
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.grpc.is_some()
    }

    /// The answer that stands for the one that did not come.
    pub(super) fn late(&self, kind: TimedOut) -> Response<Bytes> {
        let parts = self.parts();
        let title = "the upstream did not answer in time";
        let mut response = if self.is_grpc() {
            grpc::trailers_only(&parts.headers, 4, title)
        } else {
            let uri = "https://docs.rs/tower-breaker/latest/tower_breaker/#timed-out";
            Problem::new(uri, title, StatusCode::GATEWAY_TIMEOUT)
                .correlation(&parts.headers)
                .into_response(&parts)
        };
        response.extensions_mut().insert(kind);
        response
    }

    fn parts(&self) -> Parts {
        let mut request = Request::new(());
        request.method_mut().clone_from(&self.method);
        if let Some(grpc) = &self.grpc {
            request.headers_mut().insert(header::CONTENT_TYPE, grpc.clone());
        }
        if let Some(id) = &self.id {
            request.headers_mut().insert("x-request-id", id.clone());
        }
        request.into_parts().0
    }
}

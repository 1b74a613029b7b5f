//! The attempts of one request, one after the other.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use super::Attempt;
use super::cause::Cause;
use super::kept::{Ahead, RetriedBody};
use super::layer::Shared;
use super::replay::ReplayBody;
use super::timeout::{Asked, Deadline, TimedOut, until};
use crate::breaker::now;
use crate::policy::{self, Ended, Next, Refused, Situation};

/// Octets of a failed response that are read so that its connection can be used again. More is not worth the wait.
const DRAIN: usize = 64 << 10;
/// What a frame counts at least: one without octets takes time and memory too, and where frames are always ready no timer
/// gets its turn.
const FRAME: usize = 64;
/// Time for that.
const DRAIN_FOR: Duration = Duration::from_millis(100);
/// Thirty years, longer than anybody waits.
const LONGEST: Duration = Duration::from_secs(86_400 * 365 * 30);

type Outcome<B, E> = Result<Response<RetriedBody<B>>, E>;

pin_project! {
    /// The future of [`Retry`](super::Retry). Dropped, it takes the attempt under way with it.
    pub struct RetryFuture<S, B, R, K>
    where
        S: Service<Request<ReplayBody<B>>>,
        R: Body,
    {
        #[pin]
        state: State<S::Future, R, S::Error>,
        // The end of the stage under way: attempt, look ahead, drain, wait.
        #[pin]
        sleep: Sleep,
        inner: S,
        asked: Asked,
        // None when the request is sent once.
        spare: Option<Spare<B>>,
        attempt: Attempt,
        deadline: Option<Deadline>,
        shared: Arc<Shared>,
        kind: PhantomData<fn() -> K>,
    }
}

/// The request, for another attempt.
struct Spare<B> {
    parts: Parts,
    body: ReplayBody<B>,
    idempotent: bool,
}

impl<B> Drop for Spare<B> {
    fn drop(&mut self) {
        self.body.release();
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R: Body, E> {
        // The time was over before the first attempt.
        Over,
        Calls { #[pin] future: F },
        // Reads ahead in a response; with `resume` it has failed, and the next attempt starts then.
        Reads { response: Option<Response<RetriedBody<R>>>, octets: usize, resume: Option<Instant> },
        // Before the next attempt; the failed result is kept in case that none can be made.
        Waits { failed: Option<Outcome<R, E>> },
        Readies { failed: Option<Outcome<R, E>> },
    }
}

impl<S, B, R, K> RetryFuture<S, B, R, K>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
    R: Body,
{
    pub(super) fn new(mut inner: S, request: Request<B>, shared: Arc<Shared>) -> Self {
        let policy = &shared.policy;
        shared.metrics.resolve();
        let (mut parts, body) = request.into_parts();
        let asked = Asked::new(&parts.method, &parts.headers);
        let told = asked.timeout.and_then(Deadline::after);
        let outer = parts.extensions.get::<Deadline>().copied();
        let given = told.into_iter().chain(outer).min();
        let deadline = given.into_iter().chain(policy.total.and_then(Deadline::after)).min();
        if let Some(deadline) = deadline {
            parts.extensions.insert(deadline);
        }
        let attempt = Attempt::first();
        if given.is_some_and(Deadline::is_over) {
            let (state, sleep, kind) = (State::Over, until(None), PhantomData);
            return Self { state, sleep, inner, asked, spare: None, attempt, deadline, shared, kind };
        }
        shared.deposit();
        let body = ReplayBody::with_limit(body, policy.max_body);
        let spare = (policy.max_attempts > 1 && !policy::takes_over(&parts)).then(|| Spare {
            idempotent: policy.idempotent(&parts),
            parts: parts.clone(),
            body: body.clone(),
        });
        if spare.is_none() {
            body.release();
        }
        // The caller's own word is not repeated in other units.
        let left = deadline.filter(|_| told.is_some() && deadline != told).map(Deadline::left);
        let request = stamped(parts, body, &attempt, &shared, left);
        let sleep = until(attempt_end(&shared, deadline));
        let state = State::Calls { future: inner.call(request) };
        Self { state, sleep, inner, asked, spare, attempt, deadline, shared, kind: PhantomData }
    }
}

/// The request of one attempt. A gRPC upstream is told what is `left` of the caller's time: it is for all attempts (gRPC
/// proposal A6).
fn stamped<B>(
    mut parts: Parts,
    body: ReplayBody<B>,
    attempt: &Attempt,
    shared: &Shared,
    left: Option<Duration>,
) -> Request<ReplayBody<B>> {
    if let Some(left) = left.and_then(policy::grpc_timeout_value) {
        parts.headers.insert(policy::GRPC_TIMEOUT, left);
    }
    parts.extensions.insert(attempt.clone());
    if let Some(name) = &shared.policy.attempt_header {
        parts.headers.insert(name, HeaderValue::from(attempt.number));
    }
    Request::from_parts(parts, body)
}

/// The end of an attempt that begins now.
fn attempt_end(shared: &Shared, deadline: Option<Deadline>) -> Option<Instant> {
    let own = shared.policy.attempt.and_then(|limit| now().checked_add(limit));
    own.into_iter().chain(deadline.map(Deadline::instant)).min()
}

impl<S, B, R, K> Future for RetryFuture<S, B, R, K>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    K: Cause<S::Error>,
    R: Body<Data = Bytes> + Unpin,
{
    type Output = Outcome<R, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            match this.state.as_mut().project() {
                StateProj::Calls { future } => {
                    let result = match future.poll(cx) {
                        Poll::Ready(result) => result.map(|response| response.map(RetriedBody::new)),
                        Poll::Pending => {
                            ready!(this.sleep.poll(cx));
                            Ok(self.as_mut().late())
                        }
                    };
                    if let Some(result) = self.as_mut().ended(result) {
                        return Poll::Ready(result);
                    }
                }
                StateProj::Over => return Poll::Ready(Ok(self.as_mut().late())),
                StateProj::Reads { .. } => {
                    if let Some(result) = ready!(self.as_mut().read(cx)) {
                        return Poll::Ready(result);
                    }
                }
                StateProj::Waits { failed } => {
                    ready!(this.sleep.as_mut().poll(cx));
                    let failed = failed.take();
                    this.state.set(State::Readies { failed });
                    this.sleep.set(until(this.deadline.map(Deadline::instant)));
                }
                StateProj::Readies { failed } => match this.inner.poll_ready(cx) {
                    Poll::Ready(Ok(())) if !this.deadline.is_some_and(Deadline::is_over) => {
                        self.as_mut().launch();
                    }
                    Poll::Ready(Err(error)) => {
                        this.shared.metrics.refused(Refused::Unready);
                        return Poll::Ready(failed.take().unwrap_or(Err(error)));
                    }
                    // Ready no sooner than the time is over is not ready in time.
                    ready => {
                        if ready.is_pending() {
                            ready!(this.sleep.poll(cx));
                        }
                        this.shared.metrics.refused(Refused::Unready);
                        let failed = failed.take();
                        return Poll::Ready(failed.unwrap_or_else(|| Ok(self.as_mut().late())));
                    }
                },
            }
        }
    }
}

impl<S, B, R, K> RetryFuture<S, B, R, K>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    K: Cause<S::Error>,
    R: Body<Data = Bytes> + Unpin,
{
    /// The answer when the time of an attempt, or of all of them, is over.
    fn late(self: Pin<&mut Self>) -> Response<RetriedBody<R>> {
        let this = self.project();
        let total = this.deadline.is_some_and(|deadline| deadline.left().is_zero());
        let kind = if total { TimedOut::Total } else { TimedOut::Attempt };
        this.asked.late(kind).map(RetriedBody::own)
    }

    /// An attempt has a result; `None` when it is not the caller's yet.
    fn ended(self: Pin<&mut Self>, result: Outcome<R, S::Error>) -> Option<Outcome<R, S::Error>> {
        let this = self.as_ref().get_ref();
        let Some(spare) = &this.spare else { return Some(result) };
        let ended = match &result {
            Ok(response) => this.shared.policy.judge(response),
            Err(error) => this.shared.policy.judge_error(K::cause(error)),
        };
        let open = |response: &Response<RetriedBody<R>>| {
            this.asked.is_grpc()
                && spare.idempotent
                && this.attempt.number < this.shared.policy.max_attempts
                && !response.headers().contains_key("grpc-status")
                && !response.body().is_end_stream()
        };
        match result {
            // A gRPC call may still fail in its trailers, before any message.
            Ok(response) if ended == Ended::Well && open(&response) => {
                let end = now().checked_add(this.shared.policy.peek);
                let end = end.into_iter().chain(this.deadline.map(Deadline::instant)).min();
                let mut this = self.project();
                this.state.set(State::Reads { response: Some(response), octets: 0, resume: None });
                this.sleep.set(until(end));
                None
            }
            result => self.decide(result, ended),
        }
    }

    /// Reads a response ahead: until one sees whether it failed, or to its end before it is given up for another attempt.
    /// `None` when it is not the caller's yet.
    fn read(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome<R, S::Error>>> {
        let this = self.as_mut().project();
        let StateProj::Reads { response, octets, resume } = this.state.project() else {
            return Poll::Ready(None);
        };
        let Some(kept) = response.as_mut() else { return Poll::Pending };
        let ahead = match kept.body_mut().poll_ahead(cx) {
            Poll::Ready(ahead) => Some(ahead),
            Poll::Pending => {
                ready!(this.sleep.poll(cx));
                None
            }
        };
        let Some(resume) = *resume else {
            let Some(response) = response.take() else { return Poll::Pending };
            return Poll::Ready(self.looked(response, ahead.as_ref()));
        };
        if let Some(Ahead::Data(more)) = ahead {
            *octets += more.max(FRAME);
            if *octets <= DRAIN {
                return Poll::Ready(None);
            }
        }
        let whole = matches!(ahead, Some(Ahead::End | Ahead::Trailers));
        let failed = response.take().filter(|_| whole).map(Ok);
        self.wait(failed, resume);
        Poll::Ready(None)
    }

    /// The beginning of a gRPC response was looked at.
    fn looked(
        self: Pin<&mut Self>,
        response: Response<RetriedBody<R>>,
        ahead: Option<&Ahead>,
    ) -> Option<Outcome<R, S::Error>> {
        let ended = match ahead {
            Some(Ahead::Trailers) => {
                let policy = &self.shared.policy;
                response.body().trailers().map_or(Ended::Well, |trailers| policy.judge_grpc(trailers))
            }
            Some(Ahead::Broken) => Ended::Broken,
            Some(Ahead::Data(_) | Ahead::End) | None => Ended::Well,
        };
        self.decide(Ok(response), ended)
    }

    /// Another attempt, or the result.
    fn decide(
        mut self: Pin<&mut Self>,
        result: Outcome<R, S::Error>,
        ended: Ended,
    ) -> Option<Outcome<R, S::Error>> {
        let this = self.as_mut().project();
        let Some(spare) = this.spare.as_ref() else { return Some(result) };
        let policy = &this.shared.policy;
        let situation = Situation {
            made: this.attempt.number,
            max: policy.max_attempts,
            idempotent: spare.idempotent,
            replayable: spare.body.replayable(),
            elsewhere: this.attempt.balanced(),
            longest: policy.longest,
            left: this.deadline.map(Deadline::left),
        };
        let next = match situation.next(ended, policy.wait(this.attempt.number)) {
            Next::Again(_) if !this.shared.affords(ended) => Next::Refused(Refused::Budget),
            // Between the look and here a body that is still being sent may have grown too long.
            Next::Again(_) if !spare.body.claim() => Next::Refused(Refused::Body),
            next => next,
        };
        let Next::Again(wait) = next else {
            if let Next::Refused(refused) = next {
                this.shared.metrics.refused(refused);
            }
            *this.spare = None;
            return Some(result);
        };
        this.shared.metrics.retried();
        this.attempt.number += 1;
        // Who accepts a Retry-After of any length may be told one that no clock can hold.
        let resume = now() + wait.min(LONGEST);
        match result {
            Ok(response) => self.drain(response, resume),
            error => self.wait(Some(error), resume),
        }
        None
    }

    /// Reads what is left of a failed response, so that its connection can be used again.
    fn drain(self: Pin<&mut Self>, response: Response<RetriedBody<R>>, resume: Instant) {
        let mut this = self.project();
        let end = now() + DRAIN_FOR;
        this.sleep.set(until(Some(this.deadline.map_or(end, |deadline| deadline.instant().min(end)))));
        this.state.set(State::Reads { response: Some(response), octets: 0, resume: Some(resume) });
    }

    fn wait(self: Pin<&mut Self>, failed: Option<Outcome<R, S::Error>>, resume: Instant) {
        let mut this = self.project();
        if resume <= now() {
            // A timer would round up.
            this.sleep.set(until(this.deadline.map(Deadline::instant)));
            this.state.set(State::Readies { failed });
        } else {
            this.sleep.set(until(Some(resume)));
            this.state.set(State::Waits { failed });
        }
    }

    fn launch(self: Pin<&mut Self>) {
        let mut this = self.project();
        let Some(spare) = &this.spare else { return };
        let left = this.deadline.filter(|_| this.asked.timeout.is_some()).map(Deadline::left);
        let request = stamped(spare.parts.clone(), spare.body.clone(), this.attempt, this.shared, left);
        if this.attempt.number >= this.shared.policy.max_attempts {
            spare.body.release();
        }
        this.sleep.set(until(attempt_end(this.shared, *this.deadline)));
        let future = this.inner.call(request);
        this.state.set(State::Calls { future });
    }
}

impl<S, B, R, K> fmt::Debug for RetryFuture<S, B, R, K>
where
    S: Service<Request<ReplayBody<B>>>,
    R: Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryFuture").field("attempt", &self.attempt.number).finish_non_exhaustive()
    }
}

//! A response body whose end is part of the outcome.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::breaker::now;
use crate::classify::ClassifyHttp;
use crate::permit::Permit;
use crate::policy::{CancelPolicy, Verdict};

pin_project! {
    /// The inner body, passed through untouched. An error in it, or an end short of the promised length, is a failure of
    /// the call; trailers may be one. A client that drops a body which has been well so far says nothing; one that
    /// stalls as long as the [`CancelPolicy`] allows before it is dropped is a failure.
    pub struct GuardedBody<B, C> {
        #[pin]
        body: B,
        guard: Option<Guard<C>>,
    }
}

struct Guard<C> {
    permit: Permit,
    classify: C,
    /// Bytes still promised.
    owed: Option<u64>,
    /// Since when the reader waits for the next frame.
    waits: Option<Instant>,
}

impl<B, C> GuardedBody<B, C> {
    /// `owed` is the length that was promised.
    pub(crate) fn guarded(body: B, permit: Permit, classify: C, owed: Option<u64>) -> Self {
        Self { body, guard: Some(Guard { permit, classify, owed, waits: None }) }
    }

    pub(crate) fn decided(body: B) -> Self {
        Self { body, guard: None }
    }
}

/// What layers around this one answer with that make a body of the same type, such as those for CORS and timeouts of
/// `tower-http`.
impl<B: Default, C> Default for GuardedBody<B, C> {
    fn default() -> Self {
        Self::decided(B::default())
    }
}

impl<C> Drop for Guard<C> {
    /// Nobody reads on. With all of it delivered that is a success. Otherwise it is the client's decision and not the
    /// upstream's fault, unless the client waited for longer than anybody should.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.permit.tell(Verdict::FAILURE);
        }
        if self.owed == Some(0) {
            self.permit.tell(Verdict::SUCCESS);
        }
        let stalled = self.waits.is_some_and(|since| match self.permit.cancel_policy() {
            CancelPolicy::Ignore => false,
            CancelPolicy::Failure => true,
            CancelPolicy::FailureIfOlderThan(age) => now().saturating_duration_since(since) >= age,
        });
        if stalled {
            self.permit.tell(Verdict::FAILURE);
        }
        self.permit.forget();
    }
}

impl<C: ClassifyHttp> Guard<C> {
    fn record(mut self, verdict: Verdict) {
        self.permit.tell(verdict);
    }

    fn ended(mut self, trailers: Option<&http::HeaderMap>) {
        let short = self.owed.is_some_and(|owed| owed > 0);
        let verdict = if short { Verdict::FAILURE } else { self.classify.end(trailers) };
        self.record(verdict);
    }
}

impl<B, C> Body for GuardedBody<B, C>
where
    B: Body<Data = Bytes>,
    B::Error: 'static,
    C: ClassifyHttp,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(guard) = this.guard.as_mut() else { return this.body.poll_frame(cx) };
        let Poll::Ready(frame) = guard.permit.watch(|| this.body.as_mut().poll_frame(cx)) else {
            guard.waits.get_or_insert_with(now);
            return Poll::Pending;
        };
        guard.waits = None;
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    if let Some(guard) = this.guard.take() {
                        guard.ended(Some(trailers));
                    }
                } else if let (Some(guard), Some(data)) = (this.guard.as_mut(), frame.data_ref()) {
                    guard.owed = guard.owed.map(|owed| owed.saturating_sub(data.len() as u64));
                    // hyper does not poll a body of known length beyond its last byte.
                    if this.body.is_end_stream()
                        && let Some(guard) = this.guard.take()
                    {
                        guard.ended(None);
                    }
                }
            }
            Some(Err(error)) => {
                if let Some(mut guard) = this.guard.take() {
                    let verdict = guard.classify.error(error);
                    guard.record(verdict);
                }
            }
            None => {
                if let Some(guard) = this.guard.take() {
                    guard.ended(None);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: fmt::Debug, C> fmt::Debug for GuardedBody<B, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedBody")
            .field("body", &self.body)
            .field("guarded", &self.guard.is_some())
            .finish_non_exhaustive()
    }
}

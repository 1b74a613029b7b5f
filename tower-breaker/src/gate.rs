//! Readiness: what both services share.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tower_service::Service;

use crate::breaker::{Breaker, Shut, now, wait_of};
use crate::error::Rejected;
use crate::permit::Permit;

/// What an open breaker does to the readiness of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing: an open breaker is ready, without asking the inner service, and `call` rejects. Closed, the inner
    /// service's readiness is passed on. The default: callers get an answer at once.
    #[default]
    Reject,
    /// The service is not ready while the breaker is open or its probes are all under way, and wakes when the period
    /// is over. For a balancer that is to pick another endpoint; elsewhere callers would wait for as long as it takes.
    /// Readiness once given is kept: should the breaker open before `call`, that rejects.
    Gate,
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Waits for a change, but no longer than that.
fn change(mut changes: watch::Receiver<()>, at_most: Option<Duration>) -> Wait {
    let until: Option<Instant> = at_most.and_then(|wait| now().checked_add(wait));
    Box::pin(async move {
        let changed = changes.changed();
        let _ = match until {
            Some(until) => tokio::time::timeout_at(until.into(), changed).await.unwrap_or(Ok(())),
            None => changed.await,
        };
    })
}

pub(crate) struct Gate {
    breaker: Breaker,
    mode: Mode,
    /// Ready was said, and `call` has not come yet.
    said: bool,
    /// The inner service is ready. Kept when a call is rejected: a readiness may hold a permit, and is not asked for
    /// twice.
    inner: bool,
    /// Why the inner service was not asked.
    shut: Option<Shut>,
    /// Boxed, for it exists only while the breaker is open.
    wait: Option<Wait>,
}

impl Gate {
    pub(crate) fn new(breaker: Breaker, mode: Mode) -> Self {
        Self { breaker, mode, said: false, inner: false, shut: None, wait: None }
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    #[inline]
    pub(crate) fn poll_ready<S, R>(
        &mut self,
        service: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>>
    where
        S: Service<R>,
    {
        if self.said {
            if self.inner {
                return Poll::Ready(Ok(()));
            }
            // Ready to reject. Who asks again may be told better by now.
            self.shut = None;
        }
        match self.mode {
            Mode::Reject => {
                if !self.inner && !self.refuses() {
                    match service.poll_ready(cx) {
                        Poll::Ready(result) => {
                            result?;
                            self.inner = true;
                            if self.wait.is_some() {
                                self.wait = None;
                            }
                        }
                        // What was said is not taken back.
                        Poll::Pending if self.said => {}
                        // Should the breaker open meanwhile, there is nothing to wait for any more.
                        Poll::Pending => ready!(self.poll_shut(cx)),
                    }
                }
            }
            Mode::Gate => {
                ready!(self.poll_open(cx));
                if !self.inner {
                    ready!(service.poll_ready(cx))?;
                    self.inner = true;
                }
            }
        }
        self.said = true;
        Poll::Ready(Ok(()))
    }

    /// Waits until a call would pass.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            // Subscribed before the look, so that no change falls between the two.
            let changes = self.breaker.gate();
            let Some(refusal) = self.breaker.refusal() else { return Poll::Ready(()) };
            self.wait = Some(change(changes, wait_of(refusal)));
        }
    }

    /// Whether a call would be refused; keeps why, for a second reading of the clock would cost as much as the rest of a
    /// rejection.
    #[inline]
    fn refuses(&mut self) -> bool {
        if self.breaker.passes() {
            return false;
        }
        self.shut = self.breaker.shut();
        self.shut.is_some() || self.breaker.refusal().is_some()
    }

    /// Waits until a call would be refused.
    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(wait) = &mut self.wait else {
                // Subscribed before the look, so that no change falls between the two.
                let changes = self.breaker.gate();
                if self.breaker.refusal().is_some() {
                    return Poll::Ready(());
                }
                self.wait = Some(change(changes, self.breaker.time_left()));
                continue;
            };
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
    }

    /// The next readiness is asked for anew: the inner service that was ready is gone.
    pub(crate) fn released(&mut self) {
        self.inner = false;
        self.wait = None;
    }

    /// Admits a call where every call passes, as nearly always; a path of its own, so that the permit is made in its place.
    #[inline(always)]
    pub(crate) fn admit_at_once(&mut self) -> Option<Permit> {
        if !self.inner {
            return None;
        }
        let permit = self.breaker.acquire_at_once()?;
        self.said = false;
        self.inner = false;
        Some(permit)
    }

    /// Refuses a call where an open breaker said in `poll_ready` that it would; likewise. Without a ready inner service
    /// there is none to make, whatever the breaker says meanwhile.
    #[inline(always)]
    pub(crate) fn refuse_at_once(&mut self) -> Option<Rejected> {
        let shut = self.shut.take()?;
        self.said = false;
        Some(self.breaker.reject(shut))
    }

    /// Decides a call.
    #[cold]
    #[inline(never)]
    pub(crate) fn admit(&mut self) -> Result<Permit, Rejected> {
        self.said = false;
        if !self.inner {
            return Err(self.breaker.refuse());
        }
        let permit = self.breaker.try_acquire()?;
        self.inner = false;
        Ok(permit)
    }
}

impl Clone for Gate {
    /// A clone is not ready.
    fn clone(&self) -> Self {
        Self::new(self.breaker.clone(), self.mode)
    }
}

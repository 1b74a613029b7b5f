//! The way in of a keyed call: bulkhead, then breaker, then the inner service.

use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::{KeyedBreaker, Let};
use crate::bulkhead::BulkheadPermit;
use crate::error::Rejected;
use crate::layer::Start;

/// Boxed, for it exists only while a bulkhead is full.
type Wait = Pin<Box<dyn Future<Output = Result<Let, Rejected>> + Send>>;

pin_project! {
    /// A call on its way; `G` is the guarded call that it becomes.
    #[project = WayProj]
    pub(crate) enum Way<S, R, C, G> {
        Waiting { wait: Wait, call: Option<(S, R, C)> },
        Inside { #[pin] guarded: G, slot: Option<BulkheadPermit> },
        Rejected { rejection: Option<(Rejected, R)> },
    }
}

impl<S, R, C, G> Way<S, R, C, G>
where
    S: Clone,
    C: Clone,
    G: Start<S, R, C>,
{
    pub(crate) fn new<K>(
        family: &KeyedBreaker<K>,
        key: Option<K>,
        inner: &mut S,
        request: R,
        classify: &C,
    ) -> Self
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        let entry = family.entry(key);
        let mut slot = None;
        if let Some(bulkhead) = &entry.bulkhead {
            slot = bulkhead.take();
            if slot.is_none() {
                let wait = match bulkhead.queue() {
                    Ok(wait) => wait,
                    Err(rejected) => return Self::Rejected { rejection: Some((rejected, request)) },
                };
                // The instance that was polled ready is the one to be called.
                let clone = inner.clone();
                let service = std::mem::replace(inner, clone);
                let family = family.clone();
                let wait = Box::pin(async move { family.admit(&entry, Some(wait.await?)) });
                return Self::Waiting { wait, call: Some((service, request, classify.clone())) };
            }
        }
        match family.admit(&entry, slot) {
            Ok(admitted) => Self::inside(inner, request, classify.clone(), admitted),
            Err(rejected) => Self::Rejected { rejection: Some((rejected, request)) },
        }
    }
}

impl<S, R, C, G: Start<S, R, C>> Way<S, R, C, G> {
    fn inside(service: &mut S, request: R, classify: C, admitted: Let) -> Self {
        let Let { permit, slot } = admitted;
        Self::Inside { guarded: G::start(service, request, permit, classify), slot }
    }

    /// What the guarded call came to, with the slot it still holds; a rejected call gets its request back.
    #[allow(clippy::type_complexity, reason = "the two ways a call can go")]
    pub(crate) fn poll_way(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(G::Output, Option<BulkheadPermit>), (Rejected, R)>>
    where
        G: Future,
    {
        loop {
            let next = match self.as_mut().project() {
                WayProj::Waiting { wait, call } => {
                    let admitted = ready!(wait.as_mut().poll(cx));
                    let Some((mut service, request, classify)) = call.take() else { return Poll::Pending };
                    match admitted {
                        Ok(admitted) => Self::inside(&mut service, request, classify, admitted),
                        Err(rejected) => return Poll::Ready(Err((rejected, request))),
                    }
                }
                WayProj::Inside { guarded, slot } => {
                    let output = ready!(guarded.poll(cx));
                    return Poll::Ready(Ok((output, slot.take())));
                }
                WayProj::Rejected { rejection } => {
                    return match rejection.take() {
                        Some(rejection) => Poll::Ready(Err(rejection)),
                        None => Poll::Pending,
                    };
                }
            };
            self.set(next);
        }
    }
}

impl<S, R, C, G> Way<S, R, C, G> {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Inside { .. } => "inside",
            Self::Rejected { .. } => "rejected",
        }
    }
}

//! Looks into the store that are not the beginning of a request: before something is renewed, while others were waited
//! for, and for the stamp of a moment.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Response, request::Parts};

use crate::answer::{Answer, Content};
use crate::body::OwnBody;
use crate::cache::{self, Inner};
use crate::key::CacheKey;
use crate::lead::{Found, Lead};
use crate::metrics::Operation;
use crate::outcome::CacheOutcome;
use crate::plan::{Question, load, select};
use crate::policy::request::{self, Admission, Asks};
use crate::policy::reuse::Verdict;
use crate::store::{Entry, Lookup, Stamp, StoreError, StoreFuture};

/// A request that is to be answered by the origin, to renew what is stored; none where nothing would be stored.
pub(crate) async fn refresh(cache: &Arc<Inner>, request: &Parts) -> Option<Box<Lead>> {
    cache.metrics.resolve();
    let Admission::Lookup(asks) = request::admit(request, cache.config.honour_requests) else { return None };
    let key = cache.config.keys.of_request(request).filter(|_| !asks.head)?;
    let lookup = cache.guard.lookup(&key, cache::now())?;
    let limit = tokio::time::Instant::now() + cache.config.store_timeout;
    let lookup = tokio::time::timeout_at(limit, lookup).await;
    let lookup = lookup.unwrap_or_else(|_| Err(StoreError::timeout()));
    cache.note(Operation::Lookup, &lookup);
    let lookup = lookup.ok()?;
    let mut stored = select(cache, &key, asks, request, &lookup).ok().map(|entry| Arc::new(entry.clone()));
    if let Some(detached) = stored.take_if(|stored| stored.is_detached()) {
        let load = cache.guard.store().load(detached);
        stored = tokio::time::timeout_at(limit, load).await.ok()?.ok()?;
    }
    let found = Found { stamp: Some(lookup.stamp), stored, ..Found::unknown() };
    let question = Question::new(cache, key, asks, found);
    Some(Box::new(Lead::alone(question, request, cache::now()).in_background()))
}

/// The stamp of this moment, if the store has one; an error where it does not answer at once.
pub(crate) fn stamp(cache: &Arc<Inner>, key: &CacheKey) -> Result<Option<Stamp>, Later> {
    let Some(store) = cache.guard.available() else { return Ok(None) };
    match Pin::new(&mut store.lookup(key)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(lookup) => Ok(lookup.ok().map(|lookup| lookup.stamp)),
        Poll::Pending => Err(Later),
    }
}

/// The store has to be waited for.
pub(crate) struct Later;

/// A response that was stored just now, where the store answers at once.
pub(crate) fn fresh_now(
    cache: &Arc<Inner>,
    key: &CacheKey,
    asks: Asks,
    request: &Parts,
) -> Option<Response<OwnBody>> {
    let mut lookup = cache.guard.available()?.lookup(key);
    let Poll::Ready(Ok(lookup)) = Pin::new(&mut lookup).poll(&mut Context::from_waker(Waker::noop())) else {
        return None;
    };
    let (entry, age) = fresh(cache, key, asks, request, &lookup)?;
    let outcome = CacheOutcome::Hit;
    let answer =
        Answer { cache, request: &request.headers, asks, head: &entry.head, age, outcome, forwarded: None };
    Some(answer.with(Content::Stored(entry)))
}

/// The entry that answers, if it is fresh, and its age.
fn fresh<'a>(
    cache: &Arc<Inner>,
    key: &CacheKey,
    asks: Asks,
    request: &Parts,
    lookup: &'a Lookup,
) -> Option<(&'a Entry, Duration)> {
    let entry = select(cache, key, asks, request, lookup).ok()?;
    let resident = cache::now().saturating_duration_since(entry.head.stored_at);
    let soft = entry.stamp() < lookup.stale_before;
    let Verdict::Fresh { age, .. } = entry.head.freshness.verdict(resident, soft, &asks.directives) else {
        return None;
    };
    Some((entry, age))
}

/// What another process has stored while it was waited for.
pub(crate) enum Landed {
    /// It answers.
    Fresh(Response<OwnBody>, Arc<Entry>),
    /// It answers, and its content is on its way.
    Loading(StoreFuture<Lookup>),
    /// Nothing that answers; whether anything is stored at all.
    Nothing { stored: bool },
}

pub(crate) fn landed(question: &Question, request: &Parts, lookup: &Lookup) -> Landed {
    let Question { cache, key, asks, .. } = question;
    let Some((entry, age)) = fresh(cache, key, *asks, request, lookup) else {
        return Landed::Nothing { stored: select(cache, key, *asks, request, lookup).is_ok() };
    };
    if entry.is_detached() {
        return Landed::Loading(load(cache, entry, lookup));
    }
    let (asks, outcome) = (*asks, CacheOutcome::Collapsed);
    let answer =
        Answer { cache, request: &request.headers, asks, head: &entry.head, age, outcome, forwarded: None };
    Landed::Fresh(answer.with(Content::Stored(entry)), Arc::new(entry.clone()))
}

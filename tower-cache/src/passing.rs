//! Requests that the cache does not answer, and what it learns from their responses.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, header, request::Parts};
use http_body::Body;

use crate::body::ResponseBody;
use crate::cache::{self, Inner};
use crate::error::BoxError;
use crate::key::CacheKey;
use crate::lead::Lead;
use crate::look;
use crate::metrics::Operation;
use crate::outcome::CacheOutcome;
use crate::plan::Question;
use crate::status::{self, Details};
use crate::store::{Purge, PurgeTarget, Stamp, StoreError, StoreFuture};

/// A request that goes to the origin and, but for POST, leaves no response behind.
pub(crate) struct Passing {
    /// Missing where nothing is to be seen of the cache.
    noted: Option<(Arc<Inner>, CacheOutcome)>,
    /// What a successful response makes invalid.
    target: Option<CacheKey>,
    /// A POST, whose response may say that it answers later GETs.
    post: Option<Box<Lead>>,
    /// Purges that had begun before the POST, and then those of its own: one more, and it may be what was purged.
    purges: u64,
    /// A HEAD, whose response may show that what is stored is current, or not.
    head: Option<Box<Lead>>,
}

impl Passing {
    pub(crate) fn untouched() -> Self {
        Self { noted: None, target: None, post: None, purges: 0, head: None }
    }

    pub(crate) fn new(cache: &Arc<Inner>, outcome: CacheOutcome, target: Option<CacheKey>) -> Self {
        Self { noted: Some((Arc::clone(cache), outcome)), target, ..Self::untouched() }
    }

    /// A POST.
    pub(crate) fn post(mut self, question: Question, request: &Parts) -> Self {
        self.purges = question.cache.purges(&question.key);
        self.post = Some(Box::new(Lead::post(question, request)));
        self
    }

    /// A HEAD to something that is stored.
    pub(crate) fn head(question: Question, request: &Parts) -> Self {
        let outcome = CacheOutcome::Miss(question.found.miss);
        let mut passing = Self::new(&question.cache, outcome, None);
        passing.head =
            question.found.stored.is_some().then(|| Box::new(Lead::alone(question, request, cache::now())));
        passing
    }

    /// What the store has to do before the client may have the response: whoever asks next must not see what the
    /// request has changed. `None` where it is done already.
    pub(crate) fn settle<B>(&mut self, response: &Response<B>) -> Option<Settling> {
        let (cache, _) = self.noted.as_ref()?;
        let status = response.status();
        let changed = status.is_success() || status.is_redirection();
        let (target, mut post) = (self.target.take().filter(|_| changed)?, self.post.take());
        let located = |name| {
            let located = response.headers().get(name);
            located.and_then(|located| cache.config.keys.of_reference(&target, located.as_bytes()))
        };
        // RFC 9111 §4.4: the target, and what the response says it has changed.
        let (location, content) = (located(header::LOCATION), located(header::CONTENT_LOCATION));
        // RFC 9110 §9.3.3: a response to POST answers GET where it says that it is what is at the target, and has it
        // enclosed (§8.7).
        let enclosed = matches!(status.as_u16(), 200 | 203);
        post.take_if(|_| !enclosed || content.as_ref() != Some(&target));
        let others = [location, content].into_iter().flatten().filter(|other| *other != target);
        let keys: Vec<_> = others.chain([target.clone()]).collect();
        let own = keys.iter().filter(|key| cache::purge_place(key) == cache::purge_place(&target)).count();
        self.purges = self.purges.wrapping_add(own as u64);
        let purge = |key| cache.begin_purge(&Purge::hard(PurgeTarget::Uri(key)));
        let mut purges: Vec<_> = keys.into_iter().filter_map(purge).collect();
        let stamp = post.as_ref().map(|_| look::stamp(cache, &target));
        let stamp = match stamp {
            None if purges.is_empty() => return None,
            Some(Ok(stamp)) if purges.is_empty() => {
                self.post = post
                    .filter(|_| cache.purges(&target) == self.purges)
                    .and_then(|post| post.stamped(stamp));
                return None;
            }
            stamp => stamp.is_some(),
        };
        let store = Arc::clone(cache.guard.store());
        let work = StoreFuture::new(async move {
            for purge in &mut purges {
                purge.await?;
            }
            // What is stored now is newer than the purge.
            if stamp { store.lookup(&target).await.map(|lookup| Some(lookup.stamp)) } else { Ok(None) }
        });
        self.post = post;
        Some(Settling { cache: Arc::clone(cache), work: Some(work) })
    }

    /// The store has done it, or failed.
    pub(crate) fn settled(&mut self, result: Result<Option<Stamp>, StoreError>) {
        let Some((cache, _)) = &self.noted else { return };
        cache.note(Operation::Purge, &result);
        let post = self.post.take().filter(|post| cache.purges(&post.question.key) == self.purges);
        self.post = post.and_then(|post| post.stamped(result.ok().flatten()));
    }

    /// The origin's response becomes the client's.
    pub(crate) fn answer<B>(&mut self, response: Response<B>) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Some((cache, outcome)) = self.noted.take() else { return response.map(ResponseBody::inner) };
        if let Some(lead) = self.post.take().filter(|lead| lead.is_stamped()) {
            return lead.answer(response);
        }
        let status = response.status();
        let (parts, body) = response.into_parts();
        if let Some(lead) = self.head.take() {
            lead.compare(&parts);
        }
        let mut response = Response::from_parts(parts, ResponseBody::inner(body));
        let details = Details { ttl: None, forwarded: Some(status), stored: false };
        status::append(response.headers_mut(), cache.config.name.as_ref(), outcome, details);
        response.extensions_mut().insert(outcome);
        cache.count(outcome);
        response
    }
}

/// Work of the store that goes on in the background when nobody waits for it any longer.
pub(crate) struct Settling {
    cache: Arc<Inner>,
    work: Option<StoreFuture<Option<Stamp>>>,
}

impl Settling {
    pub(crate) fn timeout(&self) -> Duration {
        self.cache.config.store_timeout
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Stamp>, StoreError>> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let result = std::task::ready!(Pin::new(work).poll(cx));
        self.work = None;
        Poll::Ready(result)
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let work = StoreFuture::new(async move { work.await.map(drop) });
            self.cache.settle(Operation::Purge, work, |_| ());
        }
    }
}

//! Bodies that are stored while they pass.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, header};

use crate::answer;
use crate::cache::Inner;
use crate::etag::Tagger;
use crate::flight::Flight;
use crate::metrics::FillResult;
use crate::policy::range::Part;
use crate::store::{self, Entry, Fields, Head, Lease, Purge, PurgeTarget, Stamp};

/// Where a body is recorded. Dropped before the end, the recording is lost and those who read along see an error.
pub(crate) struct Recorder {
    pub(crate) cache: Arc<Inner>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) head: Arc<Head>,
    /// What the store said before the response was asked for; without it nothing is stored.
    pub(crate) stamp: Option<Stamp>,
    /// What `Content-Length` says.
    pub(crate) declared: Option<u64>,
    pub(crate) received: u64,
    /// Octets counted among those of all fills.
    pub(crate) held: usize,
    /// Makes an entity tag of what passes.
    pub(crate) tagger: Option<Tagger>,
    /// Something is stored that this is newer than.
    pub(crate) supersedes: bool,
    pub(crate) settled: bool,
    /// The right to fetch, until it is stored.
    pub(crate) lease: Lease,
}

impl Recorder {
    pub(crate) fn data(&mut self, data: Bytes) {
        self.held += data.len();
        let held = self.cache.held.fetch_add(data.len(), Ordering::Relaxed) + data.len();
        let limit = self.note(&data, held);
        // What only passes is let go of as it is read.
        let left = self.flight.push(data, limit);
        self.cache.held.fetch_sub(self.held.saturating_sub(left), Ordering::Relaxed);
        self.held = self.held.min(left);
    }

    /// Sees a piece; how many octets may be kept, where `held` are by all fills.
    fn note(&mut self, data: &Bytes, held: usize) -> usize {
        self.received += data.len() as u64;
        if let Some(tagger) = &mut self.tagger {
            tagger.data(data);
        }
        let config = &self.cache.config;
        if held > config.max_held { 0 } else { config.max_body }
    }

    /// Nobody else joins.
    pub(crate) fn close(&self) {
        self.cache.flights.close(&self.flight);
    }

    /// Nobody reads any more: what is there is stored if it is all that was announced.
    pub(crate) fn abandon(self) {
        if self.declared == Some(self.received) {
            self.finish(None, None);
        }
    }

    /// The end of the body, with its last piece where both come at once: it is stored, unless it is shorter or longer
    /// than it said.
    pub(crate) fn finish(mut self, last: Option<Bytes>, mut trailers: Option<HeaderMap>) {
        let last = last.map(|data| {
            let held = self.cache.held.load(Ordering::Relaxed) + data.len();
            let limit = self.note(&data, held);
            (data, limit)
        });
        trailers.iter_mut().for_each(store::gather);
        // What is behind the end of a part is none of it.
        let part = self.head.part.as_ref().and_then(|_| Part::length(self.head.headers()));
        let beyond = part.is_some_and(|length| self.received > length);
        if beyond || self.declared.is_some_and(|declared| declared != self.received) {
            self.close();
            self.flight.end_wrong(last, trailers);
            return;
        }
        self.settled = true;
        let stored = self.flight.complete(last, trailers);
        let (Some(body), Some(stamp)) = (stored, self.stamp) else {
            let result = if self.stamp.is_some() { FillResult::TooLarge } else { FillResult::Unstored };
            self.cache.metrics.fill(result);
            self.cache.flights.close(&self.flight);
            if result == FillResult::TooLarge && self.supersedes {
                // As where its length had been announced: what is older is no longer the answer (RFC 9111 §4).
                self.cache.purge(&Purge::hard(PurgeTarget::Uri(self.head.key.clone())));
            }
            return;
        };
        if !self.head.freshness.is_never_fresh() {
            self.cache.unshared.forget(&self.head.key);
        }
        let entry = Entry::new(self.tagged(), body, stamp);
        let lease = std::mem::replace(&mut self.lease, Lease::none());
        self.cache.commit(entry, stamp, &self.flight, lease);
    }
}

impl Recorder {
    /// The head to store: with an entity tag of the whole content, where it is to have one.
    fn tagged(&mut self) -> Arc<Head> {
        let Some(etag) = self.tagger.take().and_then(Tagger::finish) else { return Arc::clone(&self.head) };
        let head = &*self.head;
        let mut headers = answer::restore(head);
        headers.insert(header::ETAG, etag);
        Arc::new(Head {
            key: head.key.clone(),
            variant: head.variant.clone(),
            status: head.status,
            fields: Fields::of_all(&headers, self.cache.config.name.is_some()),
            freshness: head.freshness,
            part: head.part.clone(),
            own_etag: true,
            tags: head.tags.clone(),
            stored_at: head.stored_at,
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.cache.held.fetch_sub(self.held, Ordering::Relaxed);
        if !self.settled {
            self.close();
            self.flight.fail(None);
            self.cache.metrics.fill(FillResult::Abandoned);
        }
    }
}

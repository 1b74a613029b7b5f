//! Responses of which the origin says that what is stored is still good, or fails to say anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header, response};

use crate::answer::{self, Answer, Content};
use crate::body::OwnBody;
use crate::cache;
use crate::flight::Release;
use crate::lead::Lead;
use crate::outcome::{CacheOutcome, StaleReason};
use crate::plan::Question;
use crate::policy::age::{self, Exchange};
use crate::policy::conditional;
use crate::policy::fields;
use crate::policy::freshness::Freshness;
use crate::policy::said::Said;
use crate::policy::storable::{self, Refusal};
use crate::store::{Entry, Fields, Head, Lease, Purge, PurgeTarget};

impl Lead {
    /// 304: what is stored is the answer, with the newer fields (RFC 9111 §4.3.4).
    pub(crate) fn revalidated(
        &mut self,
        stored: &Arc<Entry>,
        newer: &response::Parts,
        exchange: Exchange,
        now: Instant,
    ) -> Response<OwnBody> {
        let own = answer::restore(&stored.head);
        let (headers, head) = if conditional::confirms(&newer.headers, &own) {
            self.update(stored, &newer.headers, exchange, now)
        } else {
            // What it confirms is not this: good for this once, and to be asked for anew.
            self.settled = true;
            self.cache().purge(&Purge::hard(PurgeTarget::Uri(self.question.key.clone())));
            self.part(Release::NotShared);
            (own, None)
        };
        // What must not be kept any longer, and fields that must not, are good for this once.
        let kept = head.filter(|head| headers.keys().all(|name| head.headers().contains_key(name)));
        let head = kept.unwrap_or_else(|| self.once(&stored.head, &headers, exchange, now));
        let age = head.freshness.age(Duration::ZERO);
        self.stored_answer(stored, &head, age, CacheOutcome::Revalidated, Some(newer.status))
    }

    /// What is stored with newer fields, for the one who asked.
    fn once(&self, stored: &Head, headers: &HeaderMap, exchange: Exchange, now: Instant) -> Arc<Head> {
        let said = Said::of(headers, &[]);
        let initial_age = age::initial(&said, said.date.date(exchange.received), exchange);
        let freshness = Freshness { initial_age, ..stored.freshness };
        Arc::new(Head {
            key: stored.key.clone(),
            variant: stored.variant.clone(),
            status: stored.status,
            fields: Fields::of_all(headers, self.cache().config.name.is_some()),
            freshness,
            own_etag: false,
            tags: stored.tags.clone(),
            part: stored.part.clone(),
            stored_at: now,
        })
    }

    /// A response to HEAD updates what is stored, or shows that it is no longer current (RFC 9111 §4.3.5).
    pub(crate) fn compare(mut self: Box<Self>, newer: &response::Parts) {
        let Some(stored) = self.question.found.stored.clone() else { return };
        let now = cache::now();
        let exchange = self.exchange(now);
        if newer.status != stored.head.status {
            return;
        }
        if conditional::describes(&newer.headers, &answer::restore(&stored.head), stored.body.len()) {
            self.update(&stored, &newer.headers, exchange, now);
        } else {
            let key = self.question.key.clone();
            self.cache().purge(&Purge::hard(PurgeTarget::Uri(key)));
        }
    }

    /// Takes newer fields over into what is stored; where they forbid to keep it, it goes. All fields, and what is
    /// stored.
    fn update(
        &mut self,
        stored: &Arc<Entry>,
        newer: &HeaderMap,
        exchange: Exchange,
        now: Instant,
    ) -> (HeaderMap, Option<Arc<Head>>) {
        self.settled = true;
        let mut headers = answer::restore(&stored.head);
        fields::update(&mut headers, newer);
        let date = HeaderValue::try_from(httpdate::fmt_http_date(exchange.received)).ok();
        if let Some(date) = date.filter(|_| !newer.contains_key(header::DATE)) {
            headers.insert(header::DATE, date);
        }
        let status = stored.head.status;
        let rules = &self.cache().config.storage;
        let mut storable =
            storable::decide(&self.request, self.requested(), status, &headers, exchange, rules);
        if storable::withdraws(stored.head.headers(), &headers, rules) {
            storable = Err(Refusal::Private);
        }
        let cache = Arc::clone(self.cache());
        let tags = Self::newer_tags(&stored.head, &headers).ok_or(Refusal::Tags);
        match storable.and_then(|storable| Ok((storable, tags?))) {
            Ok((mut storable, tags)) => {
                storable.variant = storable.variant.beside(&stored.head.variant);
                // It is the part that it was, whatever of it was asked for now.
                storable.part.clone_from(&stored.head.part);
                // The content is the same, and so is the tag that was made of it.
                let etag = stored.head.headers().get(header::ETAG).filter(|_| stored.head.own_etag);
                let newer = headers.contains_key(header::ETAG) && storable.kept.has(&header::ETAG);
                let etag = etag.filter(|_| !newer).cloned();
                let head = self.head(storable, status, &headers, tags, etag, now);
                if head.freshness.is_never_fresh() {
                    self.remember_unshared(now);
                }
                self.flight.supply(Arc::clone(&head), &stored.body);
                match self.question.found.stamp {
                    Some(stamp) => {
                        let lease = std::mem::replace(&mut self.lease, Lease::none());
                        let entry = stored.with_head(Arc::clone(&head), stamp);
                        cache.touch(entry, stamp, &self.flight, lease);
                    }
                    None => cache.flights.close(&self.flight),
                }
                (headers, Some(head))
            }
            Err(refusal) => {
                // What was made for others is not a guess any more because one with credentials confirms it.
                let guessed = refusal == Refusal::NoFreshness && self.request.personal(rules);
                if refusal.is_about_all() && !guessed {
                    cache.purge(&Purge::hard(PurgeTarget::Uri(self.question.key.clone())));
                }
                self.part(Release::NotShared);
                (headers, None)
            }
        }
    }

    /// The origin failed: what is stored is the answer.
    pub(crate) fn stale(&mut self, stored: &Arc<Entry>, forwarded: Option<StatusCode>) -> Response<OwnBody> {
        self.settled = true;
        self.part(Release::Stale(forwarded));
        let age = stored.head.freshness.age(cache::now().saturating_duration_since(stored.head.stored_at));
        self.stored_answer(stored, &stored.head, age, CacheOutcome::Stale(StaleReason::Error), forwarded)
    }

    fn stored_answer(
        &self,
        stored: &Entry,
        head: &Head,
        age: Duration,
        outcome: CacheOutcome,
        forwarded: Option<StatusCode>,
    ) -> Response<OwnBody> {
        if self.background {
            return Response::new(OwnBody::empty());
        }
        let Question { cache, asks, .. } = &self.question;
        let request = &self.request.map();
        let answer = Answer { cache, request, asks: *asks, head, age, outcome, forwarded };
        answer.with(Content::Stored(stored))
    }

    /// Those of what is stored, and those of newer fields.
    #[cfg(feature = "tags")]
    fn newer_tags(stored: &Head, headers: &HeaderMap) -> Option<Box<[Box<str>]>> {
        crate::tags::of(headers, &stored.tags)
    }

    #[cfg(not(feature = "tags"))]
    #[expect(clippy::unnecessary_wraps, reason = "the same with the feature and without")]
    fn newer_tags(stored: &Head, _: &HeaderMap) -> Option<Box<[Box<str>]>> {
        Some(stored.tags.clone())
    }
}

//! What is done with a request: the policy's verdicts, joined with what the store and the flights say. Knows no
//! service, so that it is compiled once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::{Method, Response, header, request::Parts};

use crate::answer::{self, Answer, Content};
use crate::body::OwnBody;
use crate::cache::{self, Inner};
use crate::flight::{Reader, Release};
use crate::flights::Part;
use crate::key::CacheKey;
use crate::lead::{Found, Lead};
use crate::metrics::Operation;
use crate::outcome::{BypassReason, CacheBypass, CacheOnly, CacheOutcome, MissReason, StaleReason};
use crate::passing::Passing;
use crate::policy::budget::Budget;
use crate::policy::dates;
use crate::policy::request::{self, Admission, Asks};
use crate::policy::reuse::{RevalidateReason, Verdict};
use crate::policy::storable;
use crate::store::{
    Entry, Head, Lease, Lookup, Purge, PurgeTarget, StoreError, StoreErrorKind, StoreFuture, Variants,
};

/// The next thing to do.
pub(crate) enum Plan {
    /// The response is there.
    Answer(Response<OwnBody>),
    /// So it is, and the origin is to be asked in the background.
    AnswerAndAsk(Response<OwnBody>, Box<Lead>),
    /// Ask the origin, and store what it says.
    Ask(Box<Lead>),
    /// Ask the origin.
    Pass(Passing),
    /// Wait for another request's response.
    Follow(Reader, Box<Question>),
    /// Wait for the store.
    Wait(StoreFuture<Lookup>, Box<Question>),
    /// Wait for leave to ask the origin.
    Lease(StoreFuture<Lease>, Box<Lead>),
    /// Look whether there is something after others have been waited for.
    Again(StoreFuture<Lookup>, Box<Lead>),
}

/// A request that the cache may answer.
pub(crate) struct Question {
    pub(crate) cache: Arc<Inner>,
    pub(crate) key: CacheKey,
    pub(crate) asks: Asks,
    /// What the store had; known once it has answered.
    pub(crate) found: Found,
    /// What it has spent on waiting for the store.
    pub(crate) budget: Budget,
    /// That of its variant, where those who ask for the same have turned out to be divided.
    flight: Option<CacheKey>,
    /// How many flights had [ended](crate::flights::Flights::ended) before the store was asked, where that is known.
    ended: Option<u64>,
    /// Until when others are waited for, and whether one of them has failed already.
    patience: Option<tokio::time::Instant>,
    disappointed: bool,
}

impl Question {
    pub(crate) fn new(cache: &Arc<Inner>, key: CacheKey, asks: Asks, found: Found) -> Self {
        let cache = Arc::clone(cache);
        Self {
            cache,
            key,
            asks,
            found,
            budget: Budget::default(),
            flight: None,
            ended: None,
            patience: None,
            disappointed: false,
        }
    }

    /// All waits of a request for other requests have one end, the same that those have whose client has left.
    pub(crate) fn patience(&mut self) -> tokio::time::Instant {
        let limit = self.cache.config.background_timeout;
        *self.patience.get_or_insert_with(|| tokio::time::Instant::now() + limit)
    }

    /// Until when the store may be waited for from now on: all waits of a request come out of one budget.
    pub(crate) fn deadline(&mut self) -> tokio::time::Instant {
        self.budget.begin(cache::now(), self.cache.config.store_timeout).into()
    }
}

/// Begins with a request.
pub(crate) fn begin(cache: &Arc<Inner>, request: &Parts) -> Plan {
    cache.metrics.resolve();
    let admission = request::admit(request, cache.config.honour_requests);
    let only = request.extensions.get::<CacheOnly>().is_some();
    let bypass = match admission {
        _ if only && !matches!(admission, Admission::Lookup(_)) => {
            return Plan::Answer(answer::not_cached(cache, request));
        }
        Admission::Untouched => return Plan::Pass(Passing::untouched()),
        Admission::Pass(reason) => Err(reason),
        Admission::Lookup(_) if request.extensions.get::<CacheBypass>().is_some() => {
            Err(BypassReason::Extension)
        }
        Admission::Lookup(asks) => Ok(asks),
    };
    let asks = match bypass {
        Ok(mut asks) => {
            asks.directives.only_if_cached |= only;
            asks
        }
        Err(_) if only => return Plan::Answer(answer::not_cached(cache, request)),
        Err(reason) => return pass(cache, request, reason),
    };
    let Some(key) = cache.config.keys.of_request(request) else {
        if only {
            return Plan::Answer(answer::not_cached(cache, request));
        }
        return Plan::Pass(Passing::new(cache, CacheOutcome::Bypass(BypassReason::Authority), None));
    };
    let now = cache::now();
    let ended = Some(cache.flights.ended(&key));
    let Some(mut lookup) = cache.guard.lookup(&key, now) else {
        let question = Question::new(cache, key, asks, Found::unknown());
        return question.missed(request, now);
    };
    match Pin::new(&mut lookup).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(lookup)) => {
            let before = Before { budget: Budget::default(), ended };
            decide(cache, key, asks, request, &lookup, now, before)
        }
        result => {
            let question = Question { ended, ..Question::new(cache, key, asks, Found::unknown()) };
            match result {
                Poll::Ready(result) => question.looked_up(request, result),
                Poll::Pending => Plan::Wait(lookup, Box::new(question)),
            }
        }
    }
}

/// The origin answers, as the cache has no part in it; but it may change what is stored.
fn pass(cache: &Arc<Inner>, request: &Parts, reason: BypassReason) -> Plan {
    let target =
        request::invalidates(&request.method).then(|| cache.config.keys.of_target(request)).flatten();
    let passing = Passing::new(cache, CacheOutcome::Bypass(reason), target);
    let post = request.method == Method::POST && reason == BypassReason::Method;
    Plan::Pass(match cache.config.keys.of_request(request).filter(|_| post) {
        Some(key) => {
            let asks = Asks::of(&request.headers);
            passing.post(Question::new(cache, key, asks, Found::unknown()), request)
        }
        None => passing,
    })
}

/// What is known from before the store answered.
#[derive(Clone, Copy)]
struct Before {
    budget: Budget,
    ended: Option<u64>,
}

/// Decides by what the store has.
fn decide(
    cache: &Arc<Inner>,
    key: CacheKey,
    asks: Asks,
    request: &Parts,
    lookup: &Lookup,
    now: Instant,
    before: Before,
) -> Plan {
    cache.guard.succeeded();
    let Before { budget, ended } = before;
    let question = |found, key| Question { budget, ended, ..Question::new(cache, key, asks, found) };
    let entry = match select(cache, &key, asks, request, lookup) {
        Ok(entry) => entry,
        Err(miss) => {
            let found = Found { stamp: Some(lookup.stamp), miss, ..Found::unknown() };
            return question(found, key).missed(request, now);
        }
    };
    if entry.is_detached() {
        let loading = load(cache, entry, lookup);
        return Plan::Wait(loading, Box::new(question(Found::unknown(), key)));
    }
    let resident = now.saturating_duration_since(entry.head.stored_at);
    let soft = entry.stamp() < lookup.stale_before;
    let verdict = entry.head.freshness.verdict(resident, soft, &asks.directives);
    let respond = |age, outcome| {
        let answer = Answer {
            cache,
            request: &request.headers,
            asks,
            head: &entry.head,
            age,
            outcome,
            forwarded: None,
        };
        answer.with(Content::Stored(entry))
    };
    let found = |miss, on_error, on_disconnect| Found {
        stamp: Some(lookup.stamp),
        stored: Some(Arc::new(entry.clone())),
        on_error,
        on_disconnect,
        miss,
    };
    match verdict {
        Verdict::Fresh { age, ttl } => {
            let response = respond(age, CacheOutcome::Hit);
            let wanted = !asks.head && !asks.directives.only_if_cached && !asks.directives.no_store;
            if wanted && cache.renews(&entry.head, ttl, now) {
                return question(found(MissReason::Stale, true, true), key).refresh(response, request);
            }
            Plan::Answer(response)
        }
        Verdict::Stale { age } => Plan::Answer(respond(age, CacheOutcome::Stale(StaleReason::Request))),
        Verdict::StaleWhileRevalidate { age } => {
            let response = respond(age, CacheOutcome::Stale(StaleReason::Revalidating));
            question(found(MissReason::Stale, true, true), key).refresh(response, request)
        }
        Verdict::Revalidate { reason, on_error, on_disconnect } => {
            let miss = match reason {
                RevalidateReason::Stale => MissReason::Stale,
                RevalidateReason::Request => MissReason::Request,
            };
            question(found(miss, on_error, on_disconnect), key).missed(request, now)
        }
        Verdict::GatewayTimeout => Plan::Answer(answer::not_cached(cache, request)),
    }
}

/// The variant that answers the request, or why there is none. Of several it is the one with the latest `Date` (§4), and of
/// equal ones that which was stored last, with which the list begins.
pub(crate) fn select<'a>(
    cache: &Arc<Inner>,
    key: &CacheKey,
    asks: Asks,
    request: &Parts,
    lookup: &'a Lookup,
) -> Result<&'a Entry, MissReason> {
    let (mut miss, mut part) = (MissReason::Uri, None);
    let mut whole: Option<&Entry> = None;
    let now = cache.config.wall_clock;
    let date = |entry: &Entry| dates::single(entry.head.headers(), &header::DATE, now);
    for entry in lookup.variants.iter().filter(|entry| entry.stamp() >= lookup.purged_before) {
        if entry.key() != key {
            // Whatever answers one question with the answer to another is not to be believed.
            cache.metrics.failure(Operation::Lookup, StoreErrorKind::Corrupt);
            continue;
        }
        if !entry.head.variant.answers(&request.headers) {
            miss = MissReason::Vary;
        } else if entry.head.part.is_none() {
            if whole.is_none_or(|best| date(entry) > date(best)) {
                whole = Some(entry);
            }
        } else if asks.range && entry.is_part_for(&request.headers, now) {
            part = part.or(Some(entry));
        }
    }
    whole.or(part).ok_or(miss)
}

/// The lookup again, of this entry alone and with its content.
pub(crate) fn load(cache: &Inner, entry: &Entry, lookup: &Lookup) -> StoreFuture<Lookup> {
    let loading = cache.guard.store().load(Arc::new(entry.clone()));
    let lookup = Lookup { variants: Variants::None, ..lookup.clone() };
    StoreFuture::new(async move {
        let entry = loading.await?.filter(|entry| !entry.is_detached());
        let variants = entry.map_or(Variants::None, |entry| Variants::List(Arc::from([entry])));
        Ok(Lookup { variants, ..lookup })
    })
}

impl Question {
    /// The store has answered, or failed.
    pub(crate) fn looked_up(mut self, request: &Parts, result: Result<Lookup, StoreError>) -> Plan {
        let now = cache::now();
        self.budget.end(now);
        self.cache.note(Operation::Lookup, &result);
        match result {
            Ok(lookup) => {
                let before = Before { budget: self.budget, ended: self.ended };
                decide(&self.cache, self.key, self.asks, request, &lookup, now, before)
            }
            Err(error) => {
                if error.kind() == StoreErrorKind::Corrupt {
                    // What cannot be read would fail each time: it goes, and the next fill takes its place.
                    self.cache.purge(&Purge::hard(PurgeTarget::Uri(self.key.clone())));
                }
                self.missed(request, now)
            }
        }
    }

    /// There is nothing to answer with yet.
    fn missed(self, request: &Parts, now: Instant) -> Plan {
        if self.asks.directives.only_if_cached {
            return Plan::Answer(answer::not_cached(&self.cache, request));
        }
        if self.asks.head {
            return Plan::Pass(Passing::head(self, request));
        }
        // A client's own condition may be answered by 304, and its own wish for a newer response is not met by one
        // that was asked for earlier: neither can be shared.
        let own = self.asks.range
            || self.asks.conditional && self.found.stored.is_none()
            || self.asks.directives.no_store
            || self.found.miss == MissReason::Request;
        let unshared = || {
            let (cache, now) = (&self.cache, self.cache.seconds(now));
            cache.unshared.contains(&self.key, now)
                || cache.personal.contains(&self.key, now)
                    && storable::personal(&request.headers, &cache.config.storage)
        };
        let shareable = self.cache.config.collapse && !own && !unshared();
        if shareable { self.join(request, now) } else { self.alone(request, now) }
    }

    /// Joins the flight of the key, or begins it.
    fn join(self, request: &Parts, now: Instant) -> Plan {
        let key = self.flight.as_ref().unwrap_or(&self.key);
        match self.cache.flights.join(key, now, self.cache.config.background_timeout) {
            Part::Follow(follower) => Plan::Follow(follower, Box::new(self)),
            Part::Lead(flight) => {
                // Between the lookup and this, another flight may have landed.
                let landed = self.ended != Some(self.cache.flights.ended(&self.key));
                let lead = Box::new(Lead::registered(self, request, flight, now));
                match if landed { lead.landed(request) } else { None } {
                    Some(response) => Plan::Answer(response),
                    None => lead.lease(),
                }
            }
        }
    }

    fn alone(self, request: &Parts, now: Instant) -> Plan {
        Plan::Ask(Box::new(Lead::alone(self, request, now)))
    }

    /// Asks the origin in the background, unless somebody does already.
    fn refresh(self, response: Response<OwnBody>, request: &Parts) -> Plan {
        // What is asked for with no-store could not be kept, and who wants nothing but what is stored said so.
        let directives = &self.asks.directives;
        let own_wish = directives.only_if_cached && request.extensions.get::<CacheOnly>().is_none();
        if self.asks.head || directives.no_store || own_wish {
            return Plan::Answer(response);
        }
        let (key, now) = (self.flight.as_ref().unwrap_or(&self.key), cache::now());
        match self.cache.flights.join(key, now, self.cache.config.background_timeout) {
            Part::Follow(_) => Plan::Answer(response),
            Part::Lead(flight) => {
                let lead = Lead::registered(self, request, flight, now).in_background();
                Plan::AnswerAndAsk(response, Box::new(lead))
            }
        }
    }

    /// What the flight has come to.
    pub(crate) fn followed(
        mut self,
        request: &Parts,
        follower: Reader,
        result: Result<Arc<Head>, Release>,
    ) -> Plan {
        let now = cache::now();
        let head = match result {
            Ok(head) => head,
            Err(Release::Abandoned) => return self.join(request, now),
            Err(Release::Personal) if !storable::personal(&request.headers, &self.cache.config.storage) => {
                return self.join(request, now);
            }
            // Were they to fail one after the other, the last would wait for all of them.
            Err(Release::Failed) if !std::mem::replace(&mut self.disappointed, true) => {
                return self.join(request, now);
            }
            Err(Release::Stale(status)) => return self.fall_back(request, status),
            Err(Release::NotShared | Release::Personal | Release::Failed) => return self.alone(request, now),
        };
        let resident = now.saturating_duration_since(head.stored_at);
        match head.freshness.verdict(resident, false, &self.asks.directives) {
            Verdict::Fresh { age, .. } if head.variant.answers(&request.headers) => {
                let answer = Answer {
                    cache: &self.cache,
                    request: &request.headers,
                    asks: self.asks,
                    head: &head,
                    age,
                    outcome: CacheOutcome::Collapsed,
                    forwarded: None,
                };
                let length = head.content_length();
                Plan::Answer(answer.with(Content::Reading(follower, length)))
            }
            // Those for whom it is not fetch one for all of their own kind.
            Verdict::Fresh { .. } if self.flight.is_none() => {
                self.flight = Some(self.key.of_variant(&head.variant.of_same(&request.headers)));
                self.join(request, now)
            }
            _ => self.alone(request, now),
        }
    }
}

impl Question {
    /// Whether what is stored may still be used in place of a failure, which may have taken its time.
    pub(crate) fn stands_in(&self, stored: &Entry, unreachable: bool) -> bool {
        let resident = cache::now().saturating_duration_since(stored.head.stored_at);
        match stored.head.freshness.verdict(resident, false, &self.asks.directives) {
            Verdict::Revalidate { on_disconnect, .. } if unreachable => on_disconnect,
            Verdict::Revalidate { on_error, .. } => on_error,
            _ => true,
        }
    }

    /// The origin has just failed for somebody else: what is stored may do for this one too.
    fn fall_back(self, request: &Parts, status: Option<http::StatusCode>) -> Plan {
        let found = &self.found;
        let allowed = if status.is_some() { found.on_error } else { found.on_disconnect };
        let stored = found.stored.as_ref().filter(|_| allowed);
        let Some(stored) = stored.filter(|stored| self.stands_in(stored, status.is_none())) else {
            return self.alone(request, cache::now());
        };
        let head = &*stored.head;
        let age = head.freshness.age(cache::now().saturating_duration_since(head.stored_at));
        let (cache, asks, request) = (&*self.cache, self.asks, &request.headers);
        let outcome = CacheOutcome::Stale(StaleReason::Error);
        let answer = Answer { cache, request, asks, head, age, outcome, forwarded: status };
        Plan::Answer(answer.with(Content::Stored(stored)))
    }
}

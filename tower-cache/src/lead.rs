//! A request that asks the origin, and what becomes of the response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts, response};
use http_body::Body;

use crate::body::{Erased, OwnBody, ResponseBody};
use crate::cache::{self, Inner};
use crate::error::BoxError;
use crate::etag::Tagger;
use crate::fill::Recorder;
use crate::flight::{Flight, Release, Source};
use crate::flights::Notes;
use crate::look;
use crate::metrics::{FillResult, Operation};
use crate::outcome::{BypassReason, CacheOutcome, MissReason};
use crate::plan::{Plan, Question};
use crate::policy::age::Exchange;
use crate::policy::asked::Asked;
use crate::policy::conditional;
use crate::policy::storable::{self, Refusal, Requested, Storable};
use crate::status::{self, Details};
use crate::store::{Entry, Fields, Head, Lease, Lookup, Purge, PurgeTarget, Stamp, StoreError};

/// What the store had when it was asked.
#[derive(Debug)]
pub(crate) struct Found {
    /// `None` when it did not answer: then nothing is stored either.
    pub(crate) stamp: Option<Stamp>,
    /// A response to validate, or to fall back on.
    pub(crate) stored: Option<Arc<Entry>>,
    /// It may be the answer if the origin fails.
    pub(crate) on_error: bool,
    /// It may be the answer if the origin cannot be reached.
    pub(crate) on_disconnect: bool,
    pub(crate) miss: MissReason,
}

impl Found {
    /// The store has not answered.
    pub(crate) fn unknown() -> Self {
        Self { stamp: None, stored: None, on_error: false, on_disconnect: false, miss: MissReason::Store }
    }
}

/// Stores bound how long others are waited for; this is for those that do not.
const OTHERS_LIMIT: Duration = Duration::from_secs(30);

/// A GET that goes to the origin. Dropped before there is a response, another takes its place.
pub(crate) struct Lead {
    pub(crate) question: Question,
    /// The request's fields as the client sent them.
    pub(crate) request: Asked,
    outcome: CacheOutcome,
    pub(crate) flight: Arc<Flight>,
    /// Others can join the flight.
    registered: bool,
    /// The client has its answer already.
    pub(crate) background: bool,
    /// When it was made, by the monotonic clock.
    sent: Instant,
    pub(crate) settled: bool,
    /// The right to fetch; given back when what was fetched is stored, or nothing comes of it.
    pub(crate) lease: Lease,
    /// Until when others who fetch are waited for.
    others: Option<tokio::time::Instant>,
    /// Tags that the request brings along.
    #[cfg(feature = "tags")]
    tags: Vec<Box<str>>,
}

impl Lead {
    /// One that others can join.
    pub(crate) fn registered(question: Question, request: &Parts, flight: Arc<Flight>, now: Instant) -> Self {
        Self::new(question, request, flight, now)
    }

    /// One that nobody else has to do with.
    pub(crate) fn alone(question: Question, request: &Parts, now: Instant) -> Self {
        Self::new(question, request, Arc::new(Flight::alone(now)), now)
    }

    fn new(question: Question, request: &Parts, flight: Arc<Flight>, now: Instant) -> Self {
        let outcome = CacheOutcome::Miss(question.found.miss);
        Self {
            question,
            request: Asked::of(&request.headers),
            outcome,
            registered: flight.key().is_some(),
            flight,
            background: false,
            sent: now,
            settled: false,
            lease: Lease::none(),
            others: None,
            #[cfg(feature = "tags")]
            tags: crate::tags::added(&request.extensions),
        }
    }

    /// A POST that may leave a response for later GETs behind.
    pub(crate) fn post(question: Question, request: &Parts) -> Self {
        let mut lead = Self::alone(question, request, cache::now());
        lead.outcome = CacheOutcome::Bypass(BypassReason::Method);
        lead
    }

    pub(crate) fn in_background(mut self) -> Self {
        self.background = true;
        self
    }

    /// With this stamp; nothing is stored without one.
    pub(crate) fn stamped(mut self: Box<Self>, stamp: Option<Stamp>) -> Option<Box<Self>> {
        self.question.found.stamp = Some(stamp?);
        Some(self)
    }

    pub(crate) fn is_stamped(&self) -> bool {
        self.question.found.stamp.is_some()
    }

    pub(crate) fn cache(&self) -> &Arc<Inner> {
        &self.question.cache
    }

    /// A response that was stored just now.
    pub(crate) fn landed(&self, request: &Parts) -> Option<Response<OwnBody>> {
        self.question.found.stamp?;
        if self.question.budget.has_waited() {
            // A store that had to be waited for before would have to be now; it is asked along with the lease.
            return None;
        }
        look::fresh_now(self.cache(), &self.question.key, self.question.asks, request)
    }

    /// Asks for leave to ask the origin, where the store is one that several processes share.
    pub(crate) fn lease(self: Box<Self>) -> Plan {
        let Question { cache, key, found, .. } = &self.question;
        let (Some(stamp), Some(store)) = (found.stamp, cache.guard.available()) else {
            return Plan::Ask(self);
        };
        let mut lease = store.lease(key, stamp);
        match Pin::new(&mut lease).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(lease) => self.leased(lease),
            Poll::Pending => Plan::Lease(lease, self),
        }
    }

    /// Until when it is waited for leave: for the store no longer than for anything else it is asked, and for others
    /// who fetch as long as the store says, with a bound for stores that say nothing.
    pub(crate) fn lease_deadline(&mut self) -> tokio::time::Instant {
        self.others.unwrap_or_else(|| self.question.deadline())
    }

    /// The store has said whether this may ask the origin.
    pub(crate) fn leased(mut self: Box<Self>, lease: Result<Lease, StoreError>) -> Plan {
        self.question.budget.end_with(cache::now);
        match lease.map(Lease::or_wait) {
            Ok(Ok(lease)) => self.lease = lease,
            Ok(Err(waiting)) => {
                self.others.get_or_insert_with(|| tokio::time::Instant::now() + OTHERS_LIMIT);
                return Plan::Lease(waiting, self);
            }
            Err(error) => self.cache().note::<()>(Operation::Lookup, &Err(error)),
        }
        if !self.lease.has_waited() {
            return Plan::Ask(self);
        }
        match self.cache().guard.lookup(&self.question.key, cache::now()) {
            Some(lookup) => Plan::Again(lookup, self),
            None => Plan::Ask(self),
        }
    }

    pub(crate) fn deadline(&mut self) -> tokio::time::Instant {
        self.question.deadline()
    }

    /// What there is after others have been waited for.
    pub(crate) fn looked_again(
        mut self: Box<Self>,
        request: &Parts,
        lookup: Result<Lookup, StoreError>,
    ) -> Plan {
        self.question.budget.end(cache::now());
        self.cache().note(Operation::Lookup, &lookup);
        let Ok(lookup) = lookup else { return Plan::Ask(self) };
        match look::landed(&self.question, request, &lookup) {
            look::Landed::Fresh(response, entry) => {
                self.settled = true;
                self.flight.supply(Arc::clone(&entry.head), &entry.body);
                self.cache().flights.close(&self.flight);
                Plan::Answer(response)
            }
            look::Landed::Loading(lookup) => Plan::Again(lookup, self),
            look::Landed::Nothing { stored } => {
                // What is validated or fallen back on is what was found first, unless it has been purged.
                let found = &mut self.question.found;
                found.stamp = Some(lookup.stamp);
                found.stored.take_if(|_| !stored);
                Plan::Ask(self)
            }
        }
    }

    /// Makes the request to the origin validate what is stored, if that is possible.
    pub(crate) fn prepare(&self, request: &mut HeaderMap) {
        let Some(stored) = self.question.found.stored.as_ref() else { return };
        if stored.head.has_validator() {
            conditional::validate(request, stored.head.headers(), stored.head.own_etag);
        } else if self.background && stored.head.part.is_none() {
            // The client has its answer: what is asked for now is all of it.
            conditional::strip(request);
        }
    }

    /// Whether dropping this leaves others waiting.
    pub(crate) fn is_followed(&self) -> bool {
        self.registered && self.flight.is_followed()
    }

    /// The origin failed without a response: what is stored may do.
    pub(crate) fn fail(mut self: Box<Self>) -> Option<Response<OwnBody>> {
        let found = &mut self.question.found;
        let stored = found.stored.take().filter(|_| found.on_disconnect && !self.background);
        let Some(stored) = stored.filter(|stored| self.question.stands_in(stored, true)) else {
            self.flight.release(Release::Failed);
            return None;
        };
        Some(self.stale(&stored, None))
    }

    /// The response is there.
    pub(crate) fn exchange(&self, now: Instant) -> Exchange {
        let delay = now.saturating_duration_since(self.sent);
        Exchange { delay, received: (self.cache().config.wall_clock)() }
    }

    /// The origin's response becomes the client's.
    pub(crate) fn answer<B>(mut self: Box<Self>, response: Response<B>) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let now = cache::now();
        let exchange = self.exchange(now);
        let (parts, body) = response.into_parts();
        if let Some(stored) = self.question.found.stored.clone() {
            if parts.status == StatusCode::NOT_MODIFIED && stored.head.has_validator() {
                return self.revalidated(&stored, &parts, exchange, now).map(ResponseBody::own);
            }
            let failed = matches!(parts.status.as_u16(), 500 | 502..=504);
            if failed && self.question.found.on_error && self.question.stands_in(&stored, false) {
                return self.stale(&stored, Some(parts.status)).map(ResponseBody::own);
            }
        }
        let storable = storable::decide(
            &self.request,
            self.requested(),
            parts.status,
            &parts.headers,
            exchange,
            &self.cache().config.storage,
        );
        let max_body = self.cache().config.max_body as u64;
        let storable = match storable {
            Ok(storable) if storable.length.is_some_and(|length| length > max_body) => {
                self.cache().metrics.fill(FillResult::TooLarge);
                Err(Refusal::TooLarge)
            }
            storable => storable.and_then(|storable| Ok((storable, self.tags(&parts).ok_or(Refusal::Tags)?))),
        };
        match storable {
            Ok((storable, tags)) => {
                let declared = storable.length.filter(|_| storable.kept.has(&header::CONTENT_LENGTH));
                let head = self.head(storable, parts.status, &parts.headers, tags, None, now);
                self.record(parts, body, head, declared)
            }
            Err(refusal) => {
                self.supersede(refusal, parts.status);
                self.release(now);
                self.passed(parts, false).map(|()| ResponseBody::inner(body))
            }
        }
    }

    /// What is stored is no longer what a response says that is newer and not kept (RFC 9111 §4): it goes, or it would
    /// be served stale as long as it may be. Not where that response is for its requester alone, or a failure.
    fn supersede(&self, refusal: Refusal, status: StatusCode) {
        let personal = self.request.credentials().is_any();
        let about_all = refusal.is_about_all() && !personal && !status.is_server_error();
        if about_all && self.question.found.stored.is_some() {
            self.cache().purge(&Purge::hard(PurgeTarget::Uri(self.question.key.clone())));
        }
    }

    /// By what it can be purged; none where that is more than is kept.
    #[cfg(feature = "tags")]
    fn tags(&self, response: &response::Parts) -> Option<Box<[Box<str>]>> {
        let added = [self.tags.clone(), crate::tags::added(&response.extensions)].concat();
        crate::tags::of(&response.headers, &added)
    }

    #[cfg(not(feature = "tags"))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the same with the feature and without"
    )]
    fn tags(&self, _: &response::Parts) -> Option<Box<[Box<str>]>> {
        Some(Box::default())
    }

    pub(crate) fn requested(&self) -> Requested {
        let post = matches!(self.outcome, CacheOutcome::Bypass(_));
        Requested { no_store: self.question.asks.directives.no_store, post }
    }

    /// The response goes on as it came, with a word about what the cache did.
    fn passed(&self, mut parts: response::Parts, stored: bool) -> Response<()> {
        let (cache, outcome) = (self.cache(), self.outcome);
        if !self.background {
            cache.count(outcome);
        }
        let details = Details { ttl: None, forwarded: Some(parts.status), stored };
        status::append(&mut parts.headers, cache.config.name.as_ref(), outcome, details);
        parts.extensions.insert(outcome);
        Response::from_parts(parts, ())
    }

    /// Nobody can share this response; for a while nobody waits for the next one, or nobody with credentials does.
    fn release(&mut self, now: Instant) {
        self.settled = true;
        let cache = Arc::clone(self.cache());
        if self.request.personal(&cache.config.storage) {
            if self.registered {
                cache.personal.remember(&self.question.key, cache.seconds(now) + Notes::UNSHARED);
            }
            self.part(Release::Personal);
        } else {
            self.remember_unshared(now);
            self.part(Release::NotShared);
        }
    }

    /// For a while nobody waits for the next response.
    pub(crate) fn remember_unshared(&self, now: Instant) {
        if self.registered {
            let cache = self.cache();
            cache.unshared.remember(&self.question.key, cache.seconds(now) + Notes::UNSHARED);
        }
    }

    /// Sends those who wait on their own way.
    pub(crate) fn part(&mut self, release: Release) {
        self.flight.release(release);
        if release != Release::Personal {
            self.lease.unshared();
        }
        if self.registered {
            self.cache().flights.close(&self.flight);
            self.registered = false;
        }
    }

    pub(crate) fn head(
        &self,
        storable: Storable,
        status: StatusCode,
        headers: &HeaderMap,
        tags: Box<[Box<str>]>,
        etag: Option<HeaderValue>,
        now: Instant,
    ) -> Arc<Head> {
        let Storable { variant, kept, date, length: _, octets, freshness, part } = storable;
        let own_etag = etag.is_some();
        let octets = octets + [&date, &etag].into_iter().flatten().map(HeaderValue::len).sum::<usize>();
        let others = [date.map(|date| (header::DATE, date)), etag.map(|etag| (header::ETAG, etag))];
        let named = self.cache().config.name.is_some();
        Arc::new(Head {
            key: self.question.key.clone(),
            variant,
            status,
            fields: Fields::of(headers, |name| kept.has(name), others, octets, named),
            freshness: freshness.shortened(self.cache().jitter()),
            own_etag,
            tags,
            part,
            stored_at: now,
        })
    }

    /// Passes the body on and stores it meanwhile.
    fn record<B>(
        mut self: Box<Self>,
        parts: response::Parts,
        body: B,
        head: Arc<Head>,
        declared: Option<u64>,
    ) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if head.freshness.is_never_fresh() {
            // It may be stored, but answers nobody else without being validated.
            self.remember_unshared(head.stored_at);
            self.part(Release::NotShared);
            self.flight = Arc::new(Flight::alone(head.stored_at));
        }
        self.settled = true;
        let stamp = self.question.found.stamp.filter(|_| self.cache().guard.available().is_some());
        let response = self.passed(parts, stamp.is_some());
        if stamp.is_none() && !self.registered {
            self.cache().metrics.fill(FillResult::Unstored);
            return response.map(|()| ResponseBody::inner(body));
        }
        let recorder = Recorder {
            cache: Arc::clone(self.cache()),
            flight: Arc::clone(&self.flight),
            declared,
            head: Arc::clone(&head),
            stamp,
            received: 0,
            held: 0,
            tagger: self.tagger(&head, stamp),
            supersedes: self.question.found.stored.is_some(),
            settled: false,
            lease: std::mem::replace(&mut self.lease, Lease::none()),
        };
        if body.is_end_stream() {
            self.flight.begin(head);
            recorder.finish(None, None);
            return response.map(|()| ResponseBody::own(OwnBody::empty()));
        }
        let length = body.size_hint().exact();
        let source = Source { body: Box::pin(Erased::new(body)), recorder };
        let reader = Arc::clone(&self.flight).begin_with_reader(head, source);
        response.map(|()| ResponseBody::own(OwnBody::Reading { reader, length }))
    }

    /// What makes an entity tag, for those who have none.
    fn tagger(&self, head: &Head, stamp: Option<Stamp>) -> Option<Tagger> {
        let wanted = self.cache().config.etags && stamp.is_some() && head.status == StatusCode::OK;
        if wanted && !head.headers().contains_key(header::ETAG) { Tagger::of(head.headers()) } else { None }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.settled {
            self.flight.release(Release::Abandoned);
            if self.registered {
                self.cache().flights.close(&self.flight);
            }
        }
    }
}

impl Head {
    pub(crate) fn content_length(&self) -> Option<u64> {
        content_length(self.headers())
    }

    /// Whether there is something that the origin can validate it by.
    fn has_validator(&self) -> bool {
        if self.own_etag {
            return self.headers().contains_key(header::LAST_MODIFIED);
        }
        conditional::has_validator(self.headers())
    }
}

/// What `Content-Length` says, where it says one thing.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lines.next()?.to_str().ok()?.parse().ok()?;
    lines.next().is_none().then_some(length)
}

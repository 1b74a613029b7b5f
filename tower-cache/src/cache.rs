//! What all layers and services of one cache share.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use crate::builder::CacheBuilder;
use crate::flight::Flight;
use crate::flights::{Flights, Notes};
use crate::guard::Guard;
use crate::handle::CacheHandle;
use crate::key::{CacheKey, KeyRules};
use crate::metrics::{FillResult, Metrics, Operation};
use crate::outcome::CacheOutcome;
use crate::policy::storable::StorageRules;
use crate::rejection::RenderRejection;
use crate::spawn::{Spawn, Task};
use crate::status::Name;
use crate::store::{Entry, Head, Lease, Purge, PurgeTarget, Stamp, StoreError, StoreFuture};

/// A cache: its rules, its store, and the requests on their way. Cheap to clone; clones, and all layers made of them,
/// are one cache.
#[derive(Clone)]
pub struct Cache {
    pub(crate) inner: Arc<Inner>,
}

impl Cache {
    /// A cache to be configured; shared, in 64 MiB of memory, unless it is told otherwise.
    pub fn builder() -> CacheBuilder {
        CacheBuilder::default()
    }

    /// Purging and statistics.
    #[must_use]
    pub fn handle(&self) -> CacheHandle {
        CacheHandle::new(Arc::clone(&self.inner))
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// What is configured and used while requests run.
pub(crate) struct Config {
    pub(crate) name: Option<Name>,
    pub(crate) storage: StorageRules,
    pub(crate) keys: KeyRules,
    pub(crate) max_body: usize,
    pub(crate) max_held: usize,
    pub(crate) store_timeout: Duration,
    /// At most this share of a lifetime is taken away.
    pub(crate) ttl_jitter: f64,
    /// The last share of a lifetime, in which a hit renews it.
    pub(crate) refresh_ahead: f64,
    pub(crate) collapse: bool,
    /// Responses without an entity tag get one.
    pub(crate) etags: bool,
    pub(crate) honour_requests: bool,
    pub(crate) wall_clock: fn() -> SystemTime,
    pub(crate) max_background: usize,
    pub(crate) background_timeout: Duration,
    pub(crate) render: Arc<dyn RenderRejection>,
    pub(crate) spawn: Arc<dyn Spawn>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name.as_ref().map(Name::as_str))
            .field("storage", &self.storage)
            .field("partitions", &self.keys.partitions.len())
            .field("max_body", &self.max_body)
            .field("store_timeout", &self.store_timeout)
            .field("collapse", &self.collapse)
            .finish_non_exhaustive()
    }
}

/// The state behind [`Cache`].
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) guard: Guard,
    pub(crate) flights: Flights,
    /// Keys whose responses cannot be shared.
    pub(crate) unshared: Notes,
    /// Keys whose responses to requests with credentials cannot be.
    pub(crate) personal: Notes,
    /// Keys that have been renewed ahead of their end; missing where that is not done.
    pub(crate) renewed: Option<Notes>,
    pub(crate) metrics: Metrics,
    pub(crate) outcomes: [AtomicU64; CacheOutcome::KINDS],
    /// Octets of responses that are being fetched to be stored.
    pub(crate) held: AtomicUsize,
    background: Arc<AtomicUsize>,
    /// Purges that have begun.
    purges: Box<[AtomicU64]>,
    /// How many random numbers have been taken.
    drawn: AtomicU64,
    began: Instant,
}

/// Monotonic time, as the runtime has it: paused in tests that pause it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Inner {
    pub(crate) fn new(config: Config, store: Arc<dyn crate::store::Store>) -> Self {
        let began = now();
        let renewed = (config.refresh_ahead > 0.0).then(Notes::new);
        Self {
            config,
            guard: Guard::new(store, began),
            flights: Flights::new(),
            unshared: Notes::new(),
            personal: Notes::new(),
            renewed,
            purges: (0..=PURGES).map(|_| AtomicU64::new(0)).collect(),
            drawn: AtomicU64::new(0),
            metrics: Metrics::default(),
            outcomes: Default::default(),
            held: AtomicUsize::new(0),
            background: Arc::default(),
            began,
        }
    }

    pub(crate) fn count(&self, outcome: CacheOutcome) {
        self.outcomes[outcome.index()].fetch_add(1, Ordering::Relaxed);
        self.metrics.request(outcome);
    }

    /// Whole seconds since the cache was made.
    pub(crate) fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }

    /// The share of a lifetime to take away.
    pub(crate) fn jitter(&self) -> f64 {
        if self.config.ttl_jitter == 0.0 {
            return 0.0;
        }
        let random = crate::key::hash(&self.drawn.fetch_add(1, Ordering::Relaxed).to_ne_bytes());
        // The cast cuts what does not fit in the mantissa; nothing depends on the lowest bits.
        self.config.ttl_jitter * (random as f64 / u64::MAX as f64)
    }

    /// Whether a hit on this, which is fresh for `ttl` more, is to renew it: at most once in the last part of its life.
    pub(crate) fn renews(&self, head: &Head, ttl: Duration, now: Instant) -> bool {
        let Some(renewed) = &self.renewed else { return false };
        let Some(window) = head.freshness.ends_within(self.config.refresh_ahead, ttl) else { return false };
        let now = self.seconds(now);
        if renewed.contains(&head.key, now) {
            return false;
        }
        renewed.remember(&head.key, now.saturating_add(window.as_secs().max(1)));
        true
    }

    /// Notes how the store did.
    pub(crate) fn note<T>(&self, operation: Operation, result: &Result<T, StoreError>) {
        match result {
            Ok(_) => self.guard.succeeded(),
            Err(error) => {
                self.metrics.failure(operation, error.kind());
                let pause = self.guard.failed(now());
                #[cfg(feature = "tracing")]
                match pause {
                    Some(pause) => tracing::warn!(?operation, %error, ?pause, "cache store left alone"),
                    None => tracing::debug!(?operation, %error, "cache store failed"),
                }
                #[cfg(not(feature = "tracing"))]
                let _ = pause;
            }
        }
    }

    /// Stores a complete response. A store that answers at once has it when this returns; others are waited for in
    /// the background, and until then the flight can be joined.
    pub(crate) fn commit(self: &Arc<Self>, entry: Entry, stamp: Stamp, flight: &Arc<Flight>, lease: Lease) {
        let open = Open { cache: self, flight: Some(flight), lease };
        let filled = |cache: &Self, stored| {
            cache.metrics.fill(if stored { FillResult::Stored } else { FillResult::Unstored });
        };
        match self.guard.available() {
            Some(store) => open.land(store.commit(entry, stamp), filled),
            None => filled(self, false),
        }
    }

    /// Stores the newer fields of a response whose content is stored already.
    pub(crate) fn touch(self: &Arc<Self>, entry: Entry, stamp: Stamp, flight: &Arc<Flight>, lease: Lease) {
        let open = Open { cache: self, flight: Some(flight), lease };
        if let Some(store) = self.guard.available() {
            open.land(store.touch(entry, stamp), |_, _| ());
        }
    }

    /// How many purges have begun that this key may have to do with.
    pub(crate) fn purges(&self, key: &CacheKey) -> u64 {
        let [own, all] = [purge_place(key), PURGES].map(|place| self.purges[place].load(Ordering::SeqCst));
        own.wrapping_add(all)
    }

    /// Purges without anybody waiting for it.
    pub(crate) fn purge(self: &Arc<Self>, purge: &Purge) {
        let purge = self.purging(purge);
        self.settle(Operation::Purge, purge, |_| ());
    }

    /// Purges. What was asked for before is no answer to those who ask afterwards: nobody joins it any more, once the
    /// store has purged, or while it does.
    pub(crate) fn purging(self: &Arc<Self>, purge: &Purge) -> StoreFuture<()> {
        let place = if let PurgeTarget::Uri(key) = purge.target() { purge_place(key) } else { PURGES };
        self.purges[place].fetch_add(1, Ordering::SeqCst);
        let mut purging = self.guard.store().purge(purge);
        let result = Pin::new(&mut purging).poll(&mut Context::from_waker(Waker::noop()));
        self.flights.forget(purge.target());
        if let Poll::Ready(result) = result {
            return StoreFuture::ready(result);
        }
        let (cache, target) = (Arc::clone(self), purge.target().clone());
        StoreFuture::new(async move {
            let result = purging.await;
            cache.flights.forget(&target);
            result
        })
    }

    /// Purges; what is left to wait for, if anything.
    pub(crate) fn begin_purge(self: &Arc<Self>, purge: &Purge) -> Option<StoreFuture<()>> {
        let mut purging = self.purging(purge);
        match Pin::new(&mut purging).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => {
                self.note(Operation::Purge, &result);
                None
            }
            Poll::Pending => Some(purging),
        }
    }

    /// Sees an operation through: at once if it can be, otherwise in the background.
    pub(crate) fn settle(
        self: &Arc<Self>,
        operation: Operation,
        mut future: StoreFuture<()>,
        then: impl FnOnce(bool) + Send + 'static,
    ) {
        if let Poll::Ready(result) = Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
            self.note(operation, &result);
            return then(result.is_ok());
        }
        self.settle_later(operation, future, then);
    }

    /// Sees an operation through in the background.
    fn settle_later(
        self: &Arc<Self>,
        operation: Operation,
        future: StoreFuture<()>,
        then: impl FnOnce(bool) + Send + 'static,
    ) {
        let cache = Arc::clone(self);
        self.in_background(Box::pin(async move {
            let result = tokio::time::timeout(SETTLE_TIMEOUT, future).await;
            let result = result.unwrap_or_else(|_| Err(StoreError::timeout()));
            cache.note(operation, &result);
            then(result.is_ok());
        }));
    }

    /// Runs a task, if not too many are running.
    pub(crate) fn in_background(&self, task: Task) {
        let running = Running(Arc::clone(&self.background));
        if self.background.fetch_add(1, Ordering::Relaxed) >= self.config.max_background {
            return;
        }
        let limit = self.config.background_timeout;
        self.config.spawn.spawn(Box::pin(async move {
            let _ = tokio::time::timeout(limit, task).await;
            drop(running);
        }));
    }
}

/// Purges of single URIs are counted in so many places, and all others in one more.
const PURGES: usize = 1024;

/// Where purges of this key are counted, with those of some others.
pub(crate) fn purge_place(key: &CacheKey) -> usize {
    // The cast keeps the low bits, which are as good as any.
    key.uri_hash() as usize % PURGES
}

/// Nobody waits for it, so it may take longer than a lookup: large bodies go over networks. Bounded all the same.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// A flight that can be joined until this is gone, whichever way that happens.
struct Open<'a> {
    cache: &'a Arc<Inner>,
    flight: Option<&'a Arc<Flight>>,
    lease: Lease,
}

impl Open<'_> {
    /// It can be joined until it is stored, whether the store answers at once or not.
    fn land(mut self, mut commit: StoreFuture<()>, then: fn(&Inner, bool)) {
        let cache = self.cache;
        if let Poll::Ready(result) = Pin::new(&mut commit).poll(&mut Context::from_waker(Waker::noop())) {
            cache.note(Operation::Commit, &result);
            return then(cache, result.is_ok());
        }
        let lease = std::mem::replace(&mut self.lease, Lease::none());
        let flight = self.flight.take().map(Arc::clone);
        let landing = Landing { cache: Arc::clone(cache), flight, _lease: lease };
        cache.settle_later(Operation::Commit, commit, move |stored| then(&landing.cache, stored));
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(flight) = self.flight {
            self.cache.flights.close(flight);
        }
    }
}

/// The same in the background.
struct Landing {
    cache: Arc<Inner>,
    flight: Option<Arc<Flight>>,
    _lease: Lease,
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some(flight) = &self.flight {
            self.cache.flights.close(flight);
        }
    }
}

/// One of the tasks that are running.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

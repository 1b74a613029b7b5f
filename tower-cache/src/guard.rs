//! The store as the cache sees it: asked only while it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::key::CacheKey;
use crate::policy::backoff::Backoff;
use crate::store::{Lookup, Store, StoreFuture};

/// A store and how it has been doing.
pub(crate) struct Guard {
    store: Arc<dyn Store>,
    backoff: Backoff,
    began: Instant,
    failures: AtomicU32,
    /// Nanoseconds after `began` until when it is left alone; 0 while it works.
    alone_until: AtomicU64,
}

impl Guard {
    pub(crate) fn new(store: Arc<dyn Store>, began: Instant) -> Self {
        let backoff = Backoff::default();
        Self { store, backoff, began, failures: AtomicU32::new(0), alone_until: AtomicU64::new(0) }
    }

    /// Asks the store; `None` while it is left alone.
    pub(crate) fn lookup(&self, key: &CacheKey, now: Instant) -> Option<StoreFuture<Lookup>> {
        self.may_ask(now).then(|| self.store.lookup(key))
    }

    /// The store, for what is not a lookup; `None` while it is left alone.
    pub(crate) fn available(&self) -> Option<&Arc<dyn Store>> {
        (self.alone_until.load(Ordering::Acquire) == 0).then_some(&self.store)
    }

    /// The store, however it does: a purge is always tried.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Once the time is over, one request finds out whether the store answers again, and the others wait for another
    /// pause.
    fn may_ask(&self, now: Instant) -> bool {
        let until = self.alone_until.load(Ordering::Acquire);
        if until == 0 {
            return true;
        }
        let now = self.nanos(now);
        if now < until {
            return false;
        }
        let next = now.saturating_add(self.pause().as_nanos() as u64).max(1);
        self.alone_until.compare_exchange(until, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.alone_until.store(0, Ordering::Release);
        }
    }

    /// Counts a failure; the pause it leads to, if any.
    pub(crate) fn failed(&self, now: Instant) -> Option<Duration> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let pause = self.backoff.pause(failures)?;
        let until = self.nanos(now).saturating_add(pause.as_nanos() as u64).max(1);
        self.alone_until.fetch_max(until, Ordering::AcqRel);
        Some(pause)
    }

    fn pause(&self) -> Duration {
        self.backoff.pause(self.failures.load(Ordering::Relaxed)).unwrap_or(self.backoff.first)
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }
}

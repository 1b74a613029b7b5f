//! A cache store that breaks on request.

use std::sync::Arc;

use tower_cache::key::CacheKey;
use tower_cache::store::{
    Entry, Lease, Lookup, Purge, Stamp, Store, StoreError, StoreFuture, StoreStatistics,
};

use crate::fault::{Fault, StoreFault};

/// The store of a replica, behind the fault that the admin listener sets.
#[derive(Clone)]
pub(super) struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Fault,
}

impl FaultyStore {
    pub(super) fn new(inner: Arc<dyn Store>, fault: Fault) -> Self {
        Self { inner, fault }
    }

    fn suffer<T: 'static>(&self, work: impl FnOnce() -> StoreFuture<T>) -> StoreFuture<T> {
        match self.fault.now().store {
            StoreFault::Ok => work(),
            StoreFault::Fail => StoreFuture::ready(Err(StoreError::unavailable("switched off"))),
            StoreFault::Hang => StoreFuture::new(std::future::pending()),
        }
    }
}

impl Store for FaultyStore {
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup> {
        self.suffer(|| self.inner.lookup(key))
    }

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        self.suffer(|| self.inner.commit(entry, stamp))
    }

    fn touch(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        self.suffer(|| self.inner.touch(entry, stamp))
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        self.suffer(|| self.inner.purge(purge))
    }

    fn load(&self, entry: Arc<Entry>) -> StoreFuture<Option<Arc<Entry>>> {
        self.suffer(|| self.inner.load(entry))
    }

    fn lease(&self, key: &CacheKey, stamp: Stamp) -> StoreFuture<Lease> {
        self.suffer(|| self.inner.lease(key, stamp))
    }

    fn statistics(&self) -> StoreStatistics {
        self.inner.statistics()
    }
}

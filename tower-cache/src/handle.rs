//! Purging and statistics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Uri;

use crate::cache::Inner;
use crate::metrics::Operation;
use crate::store::{Purge, PurgeTarget, StoreError, StoreStatistics};

/// Purging and statistics of a [`Cache`](crate::Cache). Cheap to clone.
#[derive(Clone)]
pub struct CacheHandle {
    inner: Arc<Inner>,
}

impl CacheHandle {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Removes all variants and partitions of a URI. What is being fetched now is not stored either.
    ///
    /// `uri` is absolute: with the scheme and authority that the cache sees, which is `http` where requests come in
    /// origin form, and their `Host`.
    ///
    /// # Errors
    ///
    /// When the store fails, or does not answer in [`store_timeout`](crate::CacheBuilder::store_timeout).
    pub async fn purge(&self, uri: &Uri) -> Result<(), StoreError> {
        self.run(Purge::hard(self.target(uri)?)).await
    }

    /// Makes all variants and partitions of a URI stale: they are validated before they are used, or used stale where
    /// that is allowed.
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    pub async fn soft_purge(&self, uri: &Uri) -> Result<(), StoreError> {
        self.run(Purge::soft(self.target(uri)?)).await
    }

    /// Removes everything whose URI starts with this, such as `http://example.com/orders/`.
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    pub async fn purge_prefix(&self, prefix: &str) -> Result<(), StoreError> {
        self.run(Purge::hard(PurgeTarget::Prefix(prefix.into()))).await
    }

    /// Makes everything stale whose URI starts with this.
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    pub async fn soft_purge_prefix(&self, prefix: &str) -> Result<(), StoreError> {
        self.run(Purge::soft(PurgeTarget::Prefix(prefix.into()))).await
    }

    /// Removes everything with this [tag](crate::tags).
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    #[cfg(feature = "tags")]
    pub async fn purge_tag(&self, tag: &str) -> Result<(), StoreError> {
        self.run(Purge::hard(PurgeTarget::Tag(tag.into()))).await
    }

    /// Makes everything stale with this [tag](crate::tags).
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    #[cfg(feature = "tags")]
    pub async fn soft_purge_tag(&self, tag: &str) -> Result<(), StoreError> {
        self.run(Purge::soft(PurgeTarget::Tag(tag.into()))).await
    }

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    pub async fn purge_all(&self) -> Result<(), StoreError> {
        self.run(Purge::hard(PurgeTarget::Everything)).await
    }

    /// Makes everything stale: each response is validated before it is used again, or used stale where that is allowed,
    /// so that the origin is not asked for all of it anew. What is being fetched now is stored, and stale too.
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    pub async fn soft_purge_all(&self) -> Result<(), StoreError> {
        self.run(Purge::soft(PurgeTarget::Everything)).await
    }

    fn target(&self, uri: &Uri) -> Result<PurgeTarget, StoreError> {
        let key = self.inner.config.keys.of_uri(uri);
        key.map(PurgeTarget::Uri).ok_or_else(|| StoreError::unavailable("the URI has no authority"))
    }

    async fn run(&self, purge: Purge) -> Result<(), StoreError> {
        let purge = self.inner.purging(&purge);
        let result = tokio::time::timeout(self.inner.config.store_timeout, purge).await;
        let result = result.unwrap_or_else(|_| Err(StoreError::timeout()));
        self.inner.note(Operation::Purge, &result);
        result
    }

    /// What has happened so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let [hits, stale, revalidated, collapsed, misses, bypassed, not_cached] =
            self.inner.outcomes.each_ref().map(|count| count.load(Ordering::Relaxed));
        let store = self.inner.guard.store().statistics();
        self.inner.metrics.store(store);
        Statistics { hits, stale, revalidated, collapsed, misses, bypassed, not_cached, store }
    }
}

impl fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// What a cache has done since it was made: requests by [outcome](crate::CacheOutcome).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Answered from the store, fresh.
    pub hits: u64,
    /// Answered from the store, stale.
    pub stale: u64,
    /// Answered from the store after the origin said that it is still good.
    pub revalidated: u64,
    /// Answered with what another request was fetching.
    pub collapsed: u64,
    /// Answered by the origin.
    pub misses: u64,
    /// Passed.
    pub bypassed: u64,
    /// 504, as nothing was stored and nothing else wanted.
    pub not_cached: u64,
    /// What the store knows of itself.
    pub store: StoreStatistics,
}

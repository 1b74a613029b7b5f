//! The layer.

use tower_layer::Layer;

use crate::cache::Cache;
use crate::handle::CacheHandle;
use crate::service::CacheService;
use crate::status::Name;
use crate::store::Store;

/// Puts a [`Cache`] in front of a service: an HTTP cache (RFC 9111) in front of handlers, upstreams or, private, in a
/// client. All services it makes share the one cache.
///
/// What is stored is found by the URI that the layer sees, and axum's `Router::nest` takes its prefix away from that:
/// around the router that nests, or with the feature `axum`, nested routers share no answers.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    cache: Cache,
    release: bool,
}

impl CacheLayer {
    /// A layer of a cache made by [`Cache::builder`].
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self { cache, release: false }
    }

    /// A shared cache: its answers go to more than one user. What the defaults are stands at
    /// [`CacheBuilder`](crate::CacheBuilder).
    #[must_use]
    pub fn shared(store: impl Store) -> Self {
        Self::new(Cache::builder().store(store).with_name(Some(Name::of(DEFAULT_NAME.into()))))
    }

    /// One user's cache, for clients.
    #[must_use]
    pub fn private(store: impl Store) -> Self {
        Self::new(Cache::builder().store(store).private().with_name(Some(Name::of(DEFAULT_NAME.into()))))
    }

    /// Gives the inner service's readiness back whenever a stored response answers, by putting a fresh clone in its
    /// place.
    ///
    /// Default: it is kept for the next call, as clones cost something and readiness may. Where it holds a permit (of
    /// tower's `ConcurrencyLimit`), services that got a stored response and are not called again, such as the clones of a
    /// client in several tasks, would keep the others from the origin.
    #[must_use]
    pub fn release_on_hit(mut self) -> Self {
        self.release = true;
        self
    }

    /// Purging and statistics.
    #[must_use]
    pub fn handle(&self) -> CacheHandle {
        self.cache.handle()
    }
}

/// Needs no quotes in `Cache-Status`.
const DEFAULT_NAME: &str = "tower-cache";

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> CacheService<S> {
        CacheService::new(inner, self.cache.clone(), self.release)
    }
}

use http_body_util::Full;
use tower_cache::future::ResponseFuture;
use tower_cache::store::{Entry, Lookup, MemoryStoreBuilder, Purge, StoreError, StoreFuture};
use tower_cache::{
    Cache, CacheBuilder, CacheError, CacheHandle, CacheLayer, CacheOutcome, CacheService, ConfigError,
    MemoryStore, ResponseBody, Store,
};

fn send<T: Send>() {}
fn shared<T: Send + Sync + 'static>() {}
fn cloned<T: Clone>() {}
fn unpin<T: Unpin>() {}
fn error<T: std::error::Error + Send + Sync + 'static>() {}

type Service = fn() -> ();

#[test]
fn they_hold() {
    shared::<(Cache, CacheHandle, CacheLayer, CacheService<Service>, MemoryStore)>();
    shared::<(Entry, Lookup, Purge, MemoryStoreBuilder, CacheOutcome)>();
    shared::<Box<dyn Store>>();
    send::<CacheBuilder>();
    send::<StoreFuture<Lookup>>();
    send::<ResponseBody<Full<bytes::Bytes>>>();
    send::<ResponseFuture<Service, std::future::Ready<()>, Full<bytes::Bytes>, Full<bytes::Bytes>>>();
    cloned::<(Cache, CacheHandle, CacheLayer, CacheService<Service>, MemoryStore, Entry)>();
    unpin::<(ResponseBody<Full<bytes::Bytes>>, StoreFuture<Lookup>)>();
    error::<CacheError>();
    error::<ConfigError>();
    error::<StoreError>();
}

/// Layers around ours, such as those for CORS and timeouts of tower-http, answer with an empty one.
#[test]
fn bodies_have_a_default() {
    assert!(http_body::Body::is_end_stream(&ResponseBody::<Full<bytes::Bytes>>::default()));
}

//! Whatever the store does, the origin answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tower_cache::key::CacheKey;
use tower_cache::store::{Entry, Lookup, Purge, Stamp, StoreError, StoreFuture};
use tower_cache::{Cache, CacheService, MemoryStore, Store};

use crate::support::{Origin, URI, get, settle};

/// A memory store that can be broken.
#[derive(Clone)]
struct Broken {
    inner: MemoryStore,
    mode: Arc<AtomicUsize>,
    lookups: Arc<AtomicUsize>,
}

const WORKS: usize = 0;
const FAILS: usize = 1;
const HANGS: usize = 2;
const CORRUPT: usize = 3;
const SLOW: usize = 4;
const OTHER_KEY: usize = 5;

impl Broken {
    fn new() -> Self {
        Self { inner: MemoryStore::new(1 << 20), mode: Arc::default(), lookups: Arc::default() }
    }

    fn set(&self, mode: usize) {
        self.mode.store(mode, Ordering::Relaxed);
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }

    fn or<T: Send + 'static>(&self, works: impl FnOnce() -> StoreFuture<T>) -> StoreFuture<T> {
        match self.mode.load(Ordering::Relaxed) {
            FAILS => StoreFuture::ready(Err(StoreError::unavailable("switched off"))),
            HANGS => StoreFuture::new(std::future::pending()),
            CORRUPT => StoreFuture::ready(Err(StoreError::corrupt("rubbish"))),
            SLOW => {
                let works = works();
                StoreFuture::new(async {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    works.await
                })
            }
            _ => works(),
        }
    }
}

impl Store for Broken {
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        if self.mode.load(Ordering::Relaxed) == OTHER_KEY {
            let other = CacheKey::of_uri(&URI.parse().unwrap()).unwrap();
            return self.inner.lookup(&other);
        }
        self.or(|| self.inner.lookup(key))
    }

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        self.or(|| self.inner.commit(entry, stamp))
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        self.or(|| self.inner.purge(purge))
    }
}

fn cached() -> (Broken, Origin, CacheService<Origin>) {
    let store = Broken::new();
    let origin = Origin::sends(&[("cache-control", "max-age=600")]);
    let cache = origin.behind(Cache::builder().store(store.clone()));
    (store, origin, cache)
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_hangs_or_lies_costs_a_call_and_no_more_than_its_timeout() {
    for mode in [FAILS, HANGS, CORRUPT] {
        let (store, origin, cache) = cached();
        get(&cache, &[]).await;
        assert_eq!(get(&cache, &[]).await.outcome(), "hit");
        store.set(mode);
        for _ in 0..20 {
            let began = tokio::time::Instant::now();
            let got = get(&cache, &[]).await;
            assert_eq!((got.status.as_u16(), got.outcome()), (200, "miss"));
            assert_eq!(got.outcome.unwrap().reason(), "store");
            assert!(began.elapsed() <= Duration::from_millis(51), "{:?}", began.elapsed());
        }
        assert_eq!(origin.calls(), 21);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_store_is_left_alone_and_asked_again_until_it_answers() {
    for mode in [FAILS, HANGS] {
        let (store, origin, cache) = cached();
        store.set(mode);
        for _ in 0..100 {
            get(&cache, &[]).await;
        }
        let asked = store.lookups();
        assert!(asked <= 6, "asked {asked} times");
        tokio::time::advance(Duration::from_secs(5)).await;
        get(&cache, &[]).await;
        get(&cache, &[]).await;
        assert_eq!(store.lookups(), asked + 1, "one tries");
        store.set(WORKS);
        tokio::time::advance(Duration::from_secs(5)).await;
        let calls = origin.calls();
        assert_eq!(get(&cache, &[]).await.outcome.unwrap().reason(), "uri-miss");
        settle().await;
        assert_eq!(get(&cache, &[]).await.outcome(), "hit");
        assert_eq!(origin.calls(), calls + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_cannot_be_read_are_replaced() {
    let (store, _, cache) = cached();
    store.set(CORRUPT);
    get(&cache, &[]).await;
    store.set(WORKS);
    get(&cache, &[]).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_another_question_is_not_believed() {
    let (store, origin, cache) = cached();
    get(&cache, &[]).await;
    store.set(OTHER_KEY);
    let other = crate::support::request(http::Method::GET, "http://example.com/other", &[]);
    let got = crate::support::send(&cache, other).await;
    assert_eq!((got.outcome(), &*got.body, origin.calls()), ("miss", "2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_waited_for_within_the_limit_and_fills_in_the_background() {
    let (store, origin, cache) = cached();
    store.set(SLOW);
    let began = tokio::time::Instant::now();
    assert_eq!(get(&cache, &[]).await.outcome(), "miss");
    assert_eq!(began.elapsed().as_millis(), 10, "the lookup, and not the commit");
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_the_operators() {
    let store = Broken::new();
    store.set(HANGS);
    let origin = Origin::sends(&[("cache-control", "max-age=600")]);
    let cache = origin.behind(Cache::builder().store(store).store_timeout(Duration::from_millis(7)));
    let began = tokio::time::Instant::now();
    get(&cache, &[]).await;
    assert!(began.elapsed() <= Duration::from_millis(8), "{:?}", began.elapsed());
    let zero = Cache::builder().store_timeout(Duration::ZERO).build().unwrap_err();
    assert_eq!(zero.field(), "store_timeout");
}

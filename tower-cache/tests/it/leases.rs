//! Stores that several processes share: who may ask the origin, and contents that are fetched apart.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_cache::key::CacheKey;
use tower_cache::store::{Entry, Held, Lease, Lookup, Purge, Stamp, StoreError, StoreFuture};
use tower_cache::{Cache, CacheService, MemoryStore, Store};

use crate::support::{Origin, get, settle};

/// Answers later, and lets one fetch at once.
#[derive(Clone)]
struct Shared {
    inner: MemoryStore,
    /// One permit: the right to fetch.
    right: Arc<tokio::sync::Semaphore>,
    asked: Arc<AtomicUsize>,
    unshared: Arc<AtomicUsize>,
    fails: Arc<Mutex<Option<StoreError>>>,
}

struct Right {
    _permit: tokio::sync::OwnedSemaphorePermit,
    unshared: Arc<AtomicUsize>,
}

impl Held for Right {
    fn unshared(&mut self) {
        self.unshared.fetch_add(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn new() -> Self {
        let right = Arc::new(tokio::sync::Semaphore::new(1));
        let inner = MemoryStore::new(1 << 20);
        Self { inner, right, asked: Arc::default(), unshared: Arc::default(), fails: Arc::default() }
    }

    fn process(&self, origin: &Origin) -> CacheService<Origin> {
        origin.behind(Cache::builder().store(self.clone()))
    }
}

fn later<T: Send + 'static>(future: StoreFuture<T>) -> StoreFuture<T> {
    StoreFuture::new(async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        future.await
    })
}

impl Store for Shared {
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup> {
        later(self.inner.lookup(key))
    }

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        later(self.inner.commit(entry, stamp))
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        later(self.inner.purge(purge))
    }

    fn lease(&self, _: &CacheKey, _: Stamp) -> StoreFuture<Lease> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(error) = self.fails.lock().unwrap().clone() {
            return later(StoreFuture::ready(Err(error)));
        }
        let (right, unshared) = (Arc::clone(&self.right), Arc::clone(&self.unshared));
        StoreFuture::new(async move {
            let held = |permit, unshared| Lease::held(Right { _permit: permit, unshared });
            if let Ok(permit) = Arc::clone(&right).try_acquire_owned() {
                return Ok(held(permit, unshared));
            }
            Ok(Lease::waiting(StoreFuture::new(async move {
                let permit = right.acquire_owned().await.map_err(|_| StoreError::timeout())?;
                Ok(held(permit, unshared))
            })))
        })
    }
}

fn slow(fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin { delay: Duration::from_secs(1), ..Origin::sends(fields) }
}

async fn all(services: &[CacheService<Origin>]) -> Vec<(&'static str, String)> {
    let asks: Vec<_> = services
        .iter()
        .cloned()
        .map(|service| tokio::spawn(async move { get(&service, &[]).await }))
        .collect();
    let mut got = Vec::new();
    for ask in asks {
        let answer = ask.await.unwrap();
        got.push((answer.outcome(), answer.body));
    }
    got
}

#[tokio::test(start_paused = true)]
async fn one_process_fetches_and_the_others_look_again() {
    let (store, origin) = (Shared::new(), slow(&[("cache-control", "max-age=600")]));
    let processes: Vec<_> = (0..4).map(|_| store.process(&origin)).collect();
    // Three requests in each: within a process one waits for all.
    let services: Vec<_> = processes.iter().flat_map(|service| vec![service.clone(); 3]).collect();
    let got = all(&services).await;
    assert!(got.iter().all(|(_, body)| body == "1"), "{got:?}");
    assert_eq!(got.iter().filter(|(outcome, _)| *outcome == "miss").count(), 1, "{got:?}");
    assert_eq!((origin.calls(), store.asked.load(Ordering::Relaxed)), (1, 4));
    settle().await;
    assert_eq!(store.right.available_permits(), 1, "given back");
}

#[tokio::test(start_paused = true)]
async fn the_right_is_given_back_by_who_is_cancelled() {
    let (store, origin) = (Shared::new(), slow(&[("cache-control", "max-age=600")]));
    let (one, other) = (store.process(&origin), store.process(&origin));
    let first = tokio::spawn(async move { get(&one, &[]).await });
    while origin.calls() == 0 {
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let second = tokio::spawn(async move { get(&other, &[]).await });
    settle().await;
    first.abort();
    let got = second.await.unwrap();
    assert_eq!((got.outcome(), origin.calls()), ("miss", 2));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_shared_is_said_to_those_who_wait() {
    let (store, origin) = (Shared::new(), slow(&[("cache-control", "no-store")]));
    let process = store.process(&origin);
    assert_eq!(get(&process, &[]).await.outcome(), "miss");
    assert_eq!(store.unshared.load(Ordering::Relaxed), 1);
    assert_eq!(store.right.available_permits(), 1);
    get(&process, &[]).await;
    assert_eq!(store.asked.load(Ordering::Relaxed), 1, "for a while nobody asks for the right");
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_everybody_fetches() {
    let (store, origin) = (Shared::new(), slow(&[("cache-control", "max-age=600")]));
    *store.fails.lock().unwrap() = Some(StoreError::unavailable("switched off"));
    let processes: Vec<_> = (0..3).map(|_| store.process(&origin)).collect();
    let got = all(&processes).await;
    assert!(got.iter().all(|(outcome, _)| *outcome == "miss"), "{got:?}");
    assert_eq!(origin.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_request_is_answered_when_the_store_has_purged() {
    let (store, origin) = (Shared::new(), Origin::sends(&[("cache-control", "max-age=600")]));
    let service = store.process(&origin);
    get(&service, &[]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(get(&service, &[]).await.outcome(), "hit");
    let delete = crate::support::request(http::Method::DELETE, crate::support::URI, &[]);
    crate::support::send(&service, delete).await;
    assert_eq!(get(&service, &[]).await.outcome(), "miss");
}

#[tokio::test(start_paused = true)]
async fn a_response_to_post_that_is_what_is_at_the_target_lands_after_the_purge() {
    let store = Shared::new();
    let origin =
        Origin::sends(&[("cache-control", "max-age=600"), ("content-location", crate::support::URI)]);
    let service = store.process(&origin);
    let post = crate::support::request(http::Method::POST, crate::support::URI, &[]);
    crate::support::send(&service, post).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let got = get(&service, &[]).await;
    assert_eq!((got.outcome(), &*got.body), ("hit", "1"));
}

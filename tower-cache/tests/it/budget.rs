//! What a request waits for its store comes out of one budget, whatever the store is slow in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tower_cache::key::CacheKey;
use tower_cache::store::{Entry, Lease, Lookup, Purge, Stamp, StoreFuture};
use tower_cache::{Cache, CacheService, MemoryStore, Store};

use crate::support::{Origin, get, settle};

const LIMIT: u64 = 50;
const FOREVER: u64 = u64::MAX;

/// A memory store that takes its time, in milliseconds.
#[derive(Clone)]
pub(crate) struct Slow {
    inner: MemoryStore,
    lookup: Arc<AtomicU64>,
    lease: Arc<AtomicU64>,
    /// How long somebody else fetches.
    others: Arc<AtomicU64>,
    lookups: Arc<AtomicU64>,
}

impl Slow {
    pub(crate) fn new(lookup: u64, lease: u64, others: u64) -> Self {
        let time = |time| Arc::new(AtomicU64::new(time));
        let inner = MemoryStore::new(1 << 20);
        Self { inner, lookup: time(lookup), lease: time(lease), others: time(others), lookups: time(0) }
    }

    fn before(&self, origin: &Origin) -> CacheService<Origin> {
        origin.behind(Cache::builder().store(self.clone()).store_timeout(Duration::from_millis(LIMIT)))
    }
}

fn after<T: Send + 'static>(time: &AtomicU64, answer: StoreFuture<T>) -> StoreFuture<T> {
    let time = time.load(Ordering::Relaxed);
    StoreFuture::new(async move {
        match time {
            FOREVER => std::future::pending().await,
            time => tokio::time::sleep(Duration::from_millis(time)).await,
        }
        answer.await
    })
}

impl Store for Slow {
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        after(&self.lookup, self.inner.lookup(key))
    }

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        self.inner.commit(entry, stamp)
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        self.inner.purge(purge)
    }

    fn lease(&self, _: &CacheKey, _: Stamp) -> StoreFuture<Lease> {
        let others = after(&self.others, StoreFuture::ready(Ok(Lease::none())));
        let waits = self.others.load(Ordering::Relaxed) > 0;
        let lease = if waits { Lease::waiting(others) } else { Lease::none() };
        after(&self.lease, StoreFuture::ready(Ok(lease)))
    }
}

/// How long a request takes, in milliseconds, where another variant is stored.
async fn takes(store: &Slow) -> u64 {
    let origin = Origin::sends(&[("cache-control", "max-age=60"), ("vary", "x-a")]);
    let service = store.before(&origin);
    let times = [&store.lookup, &store.lease, &store.others].map(|time| time.swap(0, Ordering::Relaxed));
    get(&service, &[("x-a", "1")]).await;
    settle().await;
    assert_eq!(get(&service, &[("x-a", "1")]).await.outcome(), "hit");
    for (place, time) in [&store.lookup, &store.lease, &store.others].into_iter().zip(times) {
        place.store(time, Ordering::Relaxed);
    }
    store.lookups.store(0, Ordering::Relaxed);
    let began = tokio::time::Instant::now();
    let got = get(&service, &[("x-a", "2")]).await;
    assert_eq!((got.status.as_u16(), &*got.body), (200, "2"));
    u64::try_from(began.elapsed().as_millis()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn lookup_and_lease_have_one_budget() {
    for (lookup, lease, expected) in [
        (0, 0, 0),
        (30, 0, 30),
        (0, 30, 30),
        (20, 20, 40),
        (30, 30, LIMIT),
        (30, FOREVER, LIMIT),
        (0, FOREVER, LIMIT),
        (FOREVER, 0, LIMIT),
        (FOREVER, FOREVER, LIMIT),
    ] {
        let took = takes(&Slow::new(lookup, lease, 0)).await;
        // Timers of the runtime tick in milliseconds.
        assert!((expected..=expected + 2).contains(&took), "{lookup} {lease}: {took}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_others_costs_none_of_it_and_the_look_afterwards_does() {
    for (lookup, lease, store) in [(10, 10, 30), (20, 10, LIMIT), (20, 20, LIMIT)] {
        let slow = Slow::new(lookup, lease, 3000);
        let took = takes(&slow).await;
        assert!((3000 + store..=3000 + store + 3).contains(&took), "{lookup} {lease}: {took}");
        assert_eq!(slow.lookups.load(Ordering::Relaxed), 2, "one before the wait and one after it");
    }
}

#[tokio::test(start_paused = true)]
async fn others_who_never_end_are_given_up() {
    let took = takes(&Slow::new(1, 1, FOREVER)).await;
    assert!((30_000..30_100).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_others_is_no_failure_of_the_store() {
    // Were what passes between two waits paid from the budget, the lease would come too late each time, and the store
    // be left alone after three.
    let slow = Slow::new(10, 10, 200);
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let service = slow.before(&origin);
    for page in 0..10 {
        let uri = format!("http://example.com/{page}");
        let request = crate::support::request(http::Method::GET, &uri, &[]);
        let got = crate::support::send(&service, request).await;
        assert_eq!(got.outcome.unwrap().reason(), "uri-miss", "the store was asked");
    }
}

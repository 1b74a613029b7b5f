use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_cache::key::CacheKey;
use tower_cache::store::{Entry, Lookup, Purge, Stamp, StoreFuture};
use tower_cache::{Cache, MemoryStore, Store};

use crate::support::{Got, Origin, Piece, TestBody, URI, answer, get, request, seconds, settle};

fn slow(fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin { delay: Duration::from_secs(1), ..Origin::sends(fields) }
}

async fn at_once(
    cache: &tower_cache::CacheService<Origin>,
    count: usize,
    fields: &'static [(&'static str, &'static str)],
) -> Vec<Got> {
    let tasks = (0..count).map(|_| {
        let cache = cache.clone();
        tokio::spawn(async move { get(&cache, fields).await })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut got = Vec::new();
    for task in tasks {
        got.push(task.await.unwrap());
    }
    got
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_misses_are_one_call() {
    let origin = slow(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder());
    let got = at_once(&cache, 10_000, &[]).await;
    assert!(got.iter().all(|got| got.body == "1"));
    assert_eq!(got.iter().filter(|got| got.outcome() == "miss").count(), 1);
    assert_eq!(got.iter().filter(|got| got.outcome() == "collapsed").count(), 9_999);
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_collapsing_each_asks() {
    let origin = slow(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder().collapse(false));
    at_once(&cache, 10, &[]).await;
    assert_eq!(origin.calls(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_shared_releases_everybody_at_once_and_is_remembered() {
    let origin = slow(&[("cache-control", "no-store")]);
    let cache = origin.behind(Cache::builder());
    let began = tokio::time::Instant::now();
    let got = at_once(&cache, 10, &[]).await;
    assert!(got.iter().all(|got| got.outcome() == "miss"));
    assert_eq!((origin.calls(), began.elapsed().as_secs()), (10, 2), "one wait, then all at the same time");
    let began = tokio::time::Instant::now();
    at_once(&cache, 10, &[]).await;
    assert_eq!(began.elapsed().as_secs(), 1, "nobody waits the second time");
}

#[tokio::test(start_paused = true)]
async fn another_variant_goes_its_own_way() {
    let origin = Origin::new(|parts| {
        let said = parts.headers.get("x-kind").map_or("", |value| value.to_str().unwrap());
        answer(&[("cache-control", "max-age=60"), ("vary", "x-kind")], said)
    });
    let origin = Origin { delay: Duration::from_secs(1), ..origin };
    let cache = origin.behind(Cache::builder());
    let (a, b) = tokio::join!(get(&cache, &[("x-kind", "a")]), get(&cache, &[("x-kind", "b")]));
    assert_eq!((&*a.body, &*b.body), ("a", "b"));
}

#[tokio::test(start_paused = true)]
async fn personal_answers_are_not_shared_between_those_who_wait() {
    let origin = Origin::new(|parts| {
        let said = parts.headers.get("authorization").map_or("", |value| value.to_str().unwrap());
        answer(&[("cache-control", "max-age=60")], said)
    });
    let origin = Origin { delay: Duration::from_secs(1), ..origin };
    let cache = origin.behind(Cache::builder());
    let (a, b) = tokio::join!(get(&cache, &[("authorization", "a")]), get(&cache, &[("authorization", "b")]));
    assert_eq!((&*a.body, &*b.body), ("a", "b"));
}

fn streaming() -> Origin {
    Origin::new(|_| {
        let data = |text: &'static str| Piece::Data(Bytes::from_static(text.as_bytes()));
        let second = || Piece::Pause(Duration::from_secs(1));
        let body = vec![data("a"), second(), data("b"), second(), data("c")];
        answer(&[("cache-control", "max-age=60")], "").map(|_| TestBody::new(body))
    })
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_read_along() {
    let origin = streaming();
    let cache = origin.behind(Cache::builder());
    let leader = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
    let leader = tokio::spawn(leader.into_body().collect());
    settle().await;
    let began = tokio::time::Instant::now();
    let follower = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
    let mut body = follower.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "what is there comes at once");
    assert_eq!(body.collect().await.unwrap().to_bytes(), "bc");
    assert_eq!(leader.await.unwrap().unwrap().to_bytes(), "abc");
    assert_eq!(origin.calls(), 1);
}

/// The leader is dropped after so many steps of it; whoever waits gets all of it, or an error, in at most two calls.
#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_hurts_nobody() {
    for chunks in 0..3 {
        let origin = streaming();
        let cache = origin.behind(Cache::builder());
        let leader = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
        let mut leader = leader.into_body();
        for _ in 0..chunks {
            leader.frame().await.unwrap().unwrap();
        }
        let follower = cache.clone();
        let follower = tokio::spawn(async move { get(&follower, &[]).await });
        settle().await;
        drop(leader);
        let got = follower.await.unwrap();
        assert_eq!((got.outcome(), &*got.body), ("collapsed", "abc"), "after {chunks} chunks");
        assert_eq!(get(&cache, &[]).await.outcome(), "hit");
        assert_eq!(origin.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_does_not_read_keeps_nobody_waiting() {
    let origin = streaming();
    let cache = origin.behind(Cache::builder());
    let leader = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
    assert_eq!(get(&cache, &[]).await.body, "abc");
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
    assert_eq!(leader.into_body().collect().await.unwrap().to_bytes(), "abc");
    assert_eq!(origin.calls(), 1);
}

/// Beyond what is stored the leader's pace counts, and what all have read is let go of.
#[tokio::test(start_paused = true)]
async fn bodies_too_large_to_store_are_read_together_too() {
    let origin = Origin::new(|_| {
        let pieces = (0..50).flat_map(|_| {
            [Piece::Data(Bytes::from(vec![b'x'; 1000])), Piece::Pause(Duration::from_millis(10))]
        });
        answer(&[("cache-control", "max-age=60")], "").map(|_| TestBody::new(pieces.collect()))
    });
    let cache = origin.behind(Cache::builder().max_body(5_000));
    let leader = cache.clone();
    let leader = tokio::spawn(async move { get(&leader, &[]).await });
    settle().await;
    let followers: Vec<_> = (0..3).map(|_| cache.clone()).collect();
    let followers = followers.into_iter().map(|cache| tokio::spawn(async move { get(&cache, &[]).await }));
    for follower in followers.collect::<Vec<_>>() {
        let got = follower.await.unwrap();
        assert_eq!((got.outcome(), got.body.len()), ("collapsed", 50_000));
    }
    assert_eq!(leader.await.unwrap().body.len(), 50_000);
    assert_eq!(get(&cache, &[]).await.outcome(), "miss");
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_before_the_response_hurts_nobody() {
    let origin = slow(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder());
    let leader = cache.clone();
    let leader = tokio::spawn(async move { get(&leader, &[]).await });
    settle().await;
    let follower = cache.clone();
    let follower = tokio::spawn(async move { get(&follower, &[]).await });
    settle().await;
    leader.abort();
    assert_eq!(follower.await.unwrap().body, "1");
    assert_eq!(origin.calls(), 1, "the call goes on for the one who waits");
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn a_leader_nobody_waits_for_takes_its_call_along() {
    let origin = slow(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder());
    let leader = cache.clone();
    let leader = tokio::spawn(async move { get(&leader, &[]).await });
    settle().await;
    leader.abort();
    settle().await;
    seconds(5).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "miss");
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_fails_is_replaced() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = tower::service_fn(move |_: http::Request<http_body_util::Full<Bytes>>| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if call == 0 { Err("refused") } else { Ok(answer(&[("cache-control", "max-age=60")], "ok")) }
        }
    });
    let cache = tower::Layer::layer(&tower_cache::CacheLayer::new(Cache::builder().build().unwrap()), inner);
    let ask = || cache.clone().oneshot(request(Method::GET, URI, &[]));
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    assert_eq!(first.unwrap_err(), "refused");
    let bodies = tokio::join!(second.unwrap().into_body().collect(), third.unwrap().into_body().collect());
    assert_eq!((bodies.0.unwrap().to_bytes(), bodies.1.unwrap().to_bytes()), ("ok".into(), "ok".into()));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_an_error_for_all_who_read_it() {
    let origin = Origin::new(|_| {
        let data = |text: &'static str| Piece::Data(Bytes::from_static(text.as_bytes()));
        let body = vec![data("a"), Piece::Pause(Duration::from_secs(1)), Piece::Fail];
        answer(&[("cache-control", "max-age=60")], "").map(|_| TestBody::new(body))
    });
    let cache = origin.behind(Cache::builder());
    let ask = || async {
        let response = cache.clone().oneshot(request(Method::GET, URI, &[])).await;
        let response: Result<_, Infallible> = response;
        response.unwrap().into_body().collect().await.map(http_body_util::Collected::to_bytes)
    };
    let (first, second) = tokio::join!(ask(), ask());
    assert!(first.is_err() && second.is_err());
    assert_eq!(origin.calls(), 1);
}

/// What is done between the store's answer and the next step of who has asked it.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

struct Interrupted(MemoryStore, Meanwhile);

impl Store for Interrupted {
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup> {
        let lookup = self.0.lookup(key);
        let meanwhile = self.1.lock().unwrap().take();
        meanwhile.into_iter().for_each(|meanwhile| meanwhile());
        lookup
    }

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        self.0.commit(entry, stamp)
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        self.0.purge(purge)
    }
}

#[tokio::test]
async fn what_another_thread_has_stored_since_the_lookup_is_not_fetched_again() {
    let origin = Origin::sends(&[("cache-control", "max-age=10")]);
    let meanwhile = Meanwhile::default();
    let store = Interrupted(MemoryStore::new(1 << 20), Arc::clone(&meanwhile));
    let service = origin.behind(Cache::builder().store(store));
    let other = service.clone();
    *meanwhile.lock().unwrap() = Some(Box::new(move || {
        let body = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(get(&other, &[])).body
        });
        assert_eq!(body.join().unwrap(), "1");
    }));
    let got = get(&service, &[]).await;
    assert_eq!((got.outcome(), &*got.body, origin.calls()), ("hit", "1", 1));
}

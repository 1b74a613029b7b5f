//! Every wait for another request ends, whatever that other request does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_cache::{Cache, CacheLayer, CacheOutcome};

use crate::support::{Answer, Origin, Piece, TestBody, URI, answer, get, request, seconds, settle};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_one_that_fails_do_not_fail_one_after_the_other() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = tower::service_fn(move |_: Request<Full<Bytes>>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(SECOND).await;
            Err::<Answer, _>("refused")
        }
    });
    let cache = CacheLayer::new(Cache::builder().build().unwrap()).layer(inner);
    let began = tokio::time::Instant::now();
    let all = (0..100).map(|_| cache.clone().oneshot(request(Method::GET, URI, &[])));
    let all = futures_util::future::join_all(all).await;
    assert!(all.into_iter().all(|result| result.unwrap_err() == "refused"));
    assert_eq!(began.elapsed(), SECOND * 3, "one, another in its place, then the others together");
    assert_eq!(calls.load(Ordering::Relaxed), 100);
}

/// Asks ten times at once for something stale while the origin fails; the outcomes, and how often it was asked.
async fn ten_while_it_fails(
    fields: &'static [(&'static str, &'static str)],
    refuses: bool,
) -> (Vec<String>, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            tokio::time::sleep(SECOND).await;
            match (first, refuses) {
                (true, _) => Ok(answer(fields, "old")),
                (false, true) => Err("refused"),
                (false, false) => {
                    let mut failed = answer(&[], "failed");
                    *failed.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                    Ok(failed)
                }
            }
        }
    });
    let cache = CacheLayer::new(Cache::builder().build().unwrap()).layer(inner);
    let ask = || cache.clone().oneshot(request(Method::GET, URI, &[]));
    ask().await.unwrap().into_body().collect().await.unwrap();
    settle().await;
    seconds(70).await;
    let all = futures_util::future::join_all((0..10).map(|_| ask())).await;
    let told = |response: Result<Response<_>, _>| match response {
        Ok(response) => {
            response.extensions().get::<CacheOutcome>().map_or("", |outcome| outcome.as_str()).to_owned()
        }
        Err(error) => str::to_owned(error),
    };
    (all.into_iter().map(told).collect(), calls.load(Ordering::Relaxed) - 1)
}

#[tokio::test(start_paused = true)]
async fn one_failure_is_enough_for_all_to_take_what_is_stale() {
    let stale = vec!["stale".to_owned(); 10];
    assert_eq!(ten_while_it_fails(&[("cache-control", "max-age=60")], true).await, (stale.clone(), 1));
    let insured = &[("cache-control", "max-age=60, stale-if-error=60")];
    assert_eq!(ten_while_it_fails(insured, false).await, (stale, 1));
    let (strict, calls) = ten_while_it_fails(&[("cache-control", "max-age=60, must-revalidate")], true).await;
    assert_eq!((strict, calls), (vec!["refused".to_owned(); 10], 10));
    let (uninsured, calls) = ten_while_it_fails(&[("cache-control", "max-age=60")], false).await;
    assert_eq!((uninsured, calls), (vec!["miss".to_owned(); 10], 10), "503 itself is the answer");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_holds_those_who_wait_for_a_bounded_time() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            Ok::<_, std::convert::Infallible>(answer(&[("cache-control", "max-age=60")], "there"))
        }
    });
    let cache = Cache::builder().background(10, SECOND * 5).build().unwrap();
    let cache = CacheLayer::new(cache).layer(inner);
    // Neither polled again nor dropped, as by a client that has gone to sleep.
    let mut leader = by_hand(cache.clone().oneshot(request(Method::GET, URI, &[])));
    assert!(leader().is_none());
    let began = tokio::time::Instant::now();
    let got = get_any(&cache).await;
    assert_eq!((got, began.elapsed(), calls.load(Ordering::Relaxed)), ("there".into(), SECOND * 5, 2));
    let began = tokio::time::Instant::now();
    assert_eq!((get_any(&cache).await, began.elapsed()), ("there".into(), Duration::ZERO), "stored by then");
}

/// Polls a future by hand.
fn by_hand<F: Future>(future: F) -> impl FnMut() -> Option<F::Output> {
    let mut future = Box::pin(future);
    move || match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

async fn get_any<S>(service: &S) -> Bytes
where
    S: tower::Service<
            Request<Full<Bytes>>,
            Response = Response<tower_cache::ResponseBody<TestBody>>,
            Error = std::convert::Infallible,
        > + Clone,
{
    let response = service.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes()
}

/// What is too large to be kept goes at the pace of the one who asked for it, until that one no longer moves.
#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_reading_is_overtaken() {
    let origin = Origin::new(|_| {
        let pieces = (0..3_000).map(|_| Piece::Data(Bytes::from(vec![b'x'; 1_000])));
        answer(&[("cache-control", "max-age=60")], "").map(|_| TestBody::new(pieces.collect()))
    });
    for frames in [0, 1, 7, 50] {
        let cache = origin.behind(Cache::builder().max_body(5_000));
        let leader = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
        let mut leader = leader.into_body();
        let follower = tokio::spawn({
            let cache = cache.clone();
            async move { get(&cache, &[]).await }
        });
        settle().await;
        for _ in 0..frames {
            leader.frame().await.unwrap().unwrap();
            settle().await;
        }
        let began = tokio::time::Instant::now();
        let got = follower.await.unwrap();
        assert_eq!((got.outcome(), got.body.len()), ("collapsed", 3_000_000), "{frames}");
        assert!(began.elapsed() <= SECOND * 10, "{frames}: {:?}", began.elapsed());
        // More than is held for it has gone by: an error, and no body that only looks complete.
        let rest = leader.collect().await;
        assert!(rest.is_err(), "{frames}");
    }
}

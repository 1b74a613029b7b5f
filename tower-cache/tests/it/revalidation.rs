use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http::StatusCode;
use tower_cache::Cache;

use crate::support::{Origin, answer, get, seconds, settle};

/// Answers 304 to the right entity tag; the status of everything else can be set.
fn validating(control: &'static str) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let set = Arc::clone(&status);
    let origin = Origin::new(move |parts| {
        let status = StatusCode::from_u16(set.load(Ordering::Relaxed)).unwrap();
        let matches = parts.headers.get("if-none-match").is_some_and(|tag| tag == "\"v1\"");
        let fields = [("cache-control", control), ("etag", "\"v1\""), ("x-count", "1")];
        if status != StatusCode::OK {
            let mut response = answer(&[], "failed");
            *response.status_mut() = status;
            return response;
        }
        if matches {
            let mut response = answer(&[("cache-control", control), ("x-count", "2")], "");
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        answer(&fields, "content")
    });
    (origin, status)
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_validated_and_its_fields_are_updated() {
    let (origin, _) = validating("max-age=10");
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    seconds(10).await;
    let validated = get(&cache, &[]).await;
    assert_eq!(
        (validated.status.as_u16(), validated.outcome(), &*validated.body),
        (200, "revalidated", "content")
    );
    assert_eq!(validated.header("x-count"), Some("2"));
    assert_eq!(origin.last().get("if-none-match").unwrap(), "\"v1\"");
    seconds(9).await;
    let hit = get(&cache, &[]).await;
    assert_eq!((hit.outcome(), hit.header("age"), hit.header("x-count")), ("hit", Some("9"), Some("2")));
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_cache_validates_each_time() {
    let (origin, _) = validating("no-cache");
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    for calls in 2..5 {
        assert_eq!(get(&cache, &[]).await.outcome(), "revalidated");
        assert_eq!(origin.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_response_replaces_the_stale_one() {
    let origin = Origin::sends(&[("cache-control", "max-age=10"), ("etag", "\"never\"")]);
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    seconds(10).await;
    let new = get(&cache, &[]).await;
    assert_eq!((new.outcome.unwrap().reason(), &*new.body), ("stale", "2"));
    assert_eq!(get(&cache, &[]).await.body, "2");
}

#[tokio::test(start_paused = true)]
async fn a_clients_own_condition_is_answered_after_validation() {
    let (origin, _) = validating("max-age=10");
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    seconds(10).await;
    let got = get(&cache, &[("if-none-match", "\"v1\"")]).await;
    assert_eq!((got.status.as_u16(), &*got.body), (304, ""));
    seconds(10).await;
    let got = get(&cache, &[("if-none-match", "\"other\"")]).await;
    assert_eq!(
        (got.status.as_u16(), &*got.body),
        (200, "content"),
        "304 is for the cache, not for this client"
    );
    assert_eq!(origin.last().get("if-none-match").unwrap(), "\"v1\"");
}

#[tokio::test(start_paused = true)]
async fn errors_pass_unless_staleness_is_allowed_then() {
    let (origin, status) = validating("max-age=10");
    let strict = origin.behind(Cache::builder());
    let insured = origin.behind(Cache::builder().stale_if_error(Duration::from_secs(60)));
    for cache in [&strict, &insured] {
        get(cache, &[]).await;
    }
    seconds(20).await;
    status.store(503, Ordering::Relaxed);
    assert_eq!(get(&strict, &[]).await.status.as_u16(), 503);
    let stale = get(&insured, &[]).await;
    assert_eq!(
        (stale.status.as_u16(), stale.outcome.unwrap().reason(), &*stale.body),
        (200, "error", "content")
    );
    assert_eq!(stale.header("age"), Some("20"));
    status.store(404, Ordering::Relaxed);
    assert_eq!(get(&insured, &[]).await.status.as_u16(), 404, "404 is no failure of the origin");
    status.store(503, Ordering::Relaxed);
    seconds(51).await;
    assert_eq!(get(&insured, &[]).await.status.as_u16(), 503, "the time is over");
}

#[tokio::test(start_paused = true)]
async fn must_revalidate_is_stronger_than_the_operators_wish() {
    let (origin, status) = validating("max-age=10, must-revalidate");
    let cache = origin.behind(
        Cache::builder()
            .stale_if_error(Duration::from_secs(60))
            .stale_while_revalidate(Duration::from_secs(60)),
    );
    get(&cache, &[]).await;
    seconds(20).await;
    status.store(503, Ordering::Relaxed);
    assert_eq!(get(&cache, &[]).await.status.as_u16(), 503);
}

#[tokio::test(start_paused = true)]
async fn stale_while_revalidate_answers_at_once_and_validates_once() {
    let (origin, _) = validating("max-age=10, stale-while-revalidate=30");
    let origin = Origin { delay: Duration::from_millis(500), ..origin };
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    seconds(20).await;
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        let stale = get(&cache, &[]).await;
        assert_eq!((stale.outcome.unwrap().reason(), &*stale.body), ("revalidating", "content"));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(1)).await;
    settle().await;
    assert_eq!(origin.calls(), 2);
    let hit = get(&cache, &[]).await;
    assert_eq!((hit.outcome(), hit.header("x-count")), ("hit", Some("2")));
    seconds(41).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "revalidated", "beyond it, the origin comes first");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_share_a_validation() {
    let (origin, _) = validating("max-age=10");
    let origin = Origin { delay: Duration::from_millis(500), ..origin };
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    seconds(10).await;
    let (first, second) = tokio::join!(get(&cache, &[]), get(&cache, &[]));
    assert_eq!((first.outcome(), second.outcome()), ("revalidated", "collapsed"));
    assert_eq!((&*first.body, &*second.body), ("content", "content"));
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_is_covered_for_unless_that_is_forbidden() {
    for (control, covered) in [
        ("max-age=10", true),
        ("max-age=10, must-revalidate", false),
        ("max-age=10, proxy-revalidate", false),
        ("s-maxage=10", false),
        ("max-age=10, no-cache", false),
    ] {
        let up = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let switch = Arc::clone(&up);
        let inner = tower::service_fn(move |_: http::Request<http_body_util::Full<bytes::Bytes>>| {
            let up = up.load(Ordering::Relaxed);
            let response = answer(&[("cache-control", control), ("etag", "\"a\"")], "content");
            async move { if up { Ok(response) } else { Err("unreachable") } }
        });
        let layer = tower_cache::CacheLayer::new(Cache::builder().build().unwrap());
        let cache = tower::Layer::layer(&layer, inner);
        let ask = || {
            let request = crate::support::request(http::Method::GET, crate::support::URI, &[]);
            tower::ServiceExt::oneshot(cache.clone(), request)
        };
        http_body_util::BodyExt::collect(ask().await.unwrap().into_body()).await.unwrap();
        switch.store(false, Ordering::Relaxed);
        seconds(20).await;
        assert_eq!(ask().await.is_ok(), covered, "{control}");
        seconds(60 * 60).await;
        assert!(ask().await.is_err(), "not for ever");
    }
}

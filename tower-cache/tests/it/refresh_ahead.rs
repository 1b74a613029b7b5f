//! Responses that are renewed by a hit before they end.

use std::time::Duration;

use http::{Method, StatusCode};
use tower_cache::{Cache, CacheBuilder};

use crate::budget::Slow;
use crate::support::{Origin, URI, answer, get, request, seconds, send, settle};

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=100")];

fn ahead() -> CacheBuilder {
    Cache::builder().refresh_ahead(0.2)
}

#[tokio::test(start_paused = true)]
async fn a_hit_in_the_last_part_of_a_life_renews_it_once() {
    let origin = Origin { delay: Duration::from_secs(5), ..Origin::sends(FRESH) };
    let service = origin.behind(ahead());
    get(&service, &[]).await;
    // How long it took counts (RFC 9111 §4.2.3).
    seconds(74).await;
    assert_eq!(get(&service, &[]).await.outcome(), "hit");
    settle().await;
    assert_eq!(origin.calls(), 1, "early: nobody asks");
    seconds(1).await;
    for _ in 0..10 {
        let hit = get(&service, &[]).await;
        assert_eq!((hit.outcome(), &*hit.body), ("hit", "1"), "nobody waits");
        settle().await;
    }
    assert_eq!(origin.calls(), 2, "once");
    seconds(5).await;
    settle().await;
    let hit = get(&service, &[]).await;
    assert_eq!((hit.outcome(), &*hit.body, hit.header("age")), ("hit", "2", Some("5")), "renewed");
    seconds(74).await;
    get(&service, &[]).await;
    settle().await;
    assert_eq!(origin.calls(), 2, "and a new life has begun");
}

#[tokio::test(start_paused = true)]
async fn by_default_nobody_is_asked_before_the_end() {
    let origin = Origin::sends(FRESH);
    let service = origin.behind(Cache::builder());
    get(&service, &[]).await;
    seconds(99).await;
    assert_eq!(get(&service, &[]).await.outcome(), "hit");
    settle().await;
    assert_eq!(origin.calls(), 1);
    for wrong in [-0.1, 0.6, f64::NAN] {
        let error = Cache::builder().refresh_ahead(wrong).build().unwrap_err();
        assert_eq!(error.field(), "refresh_ahead", "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_a_validator_is_validated() {
    let origin = Origin::new(|parts| {
        let mut response = answer(&[FRESH[0], ("etag", "\"a\"")], "content");
        if parts.headers.contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    });
    let service = origin.behind(ahead());
    get(&service, &[]).await;
    seconds(90).await;
    get(&service, &[]).await;
    settle().await;
    assert_eq!(origin.last().get("if-none-match").unwrap(), "\"a\"");
    seconds(50).await;
    let hit = get(&service, &[]).await;
    assert_eq!((hit.outcome(), &*hit.body, origin.calls()), ("hit", "content", 2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_later_renews_too() {
    let origin = Origin::sends(FRESH);
    let service = origin.behind(ahead().store(Slow::new(5, 0, 0)));
    get(&service, &[]).await;
    seconds(90).await;
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        let hit = get(&service, &[]).await;
        assert_eq!(
            (hit.outcome(), began.elapsed().as_millis() <= 6),
            ("hit", true),
            "the lookup and no more"
        );
        settle().await;
    }
    assert_eq!(origin.calls(), 2);
    seconds(50).await;
    let hit = get(&service, &[]).await;
    assert_eq!((hit.outcome(), &*hit.body), ("hit", "2"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_repeated_until_as_long_as_the_last_part_and_loses_nothing() {
    let origin = Origin::new(|parts| {
        let mut response = answer(FRESH, "content");
        if parts.headers.contains_key("x-fail") {
            response = answer(&[], "");
            *response.status_mut() = StatusCode::BAD_GATEWAY;
        }
        response
    });
    let service = origin.behind(ahead());
    get(&service, &[]).await;
    seconds(81).await;
    for _ in 0..19 {
        let hit = get(&service, &[("x-fail", "1")]).await;
        assert_eq!((hit.outcome(), &*hit.body), ("hit", "content"));
        settle().await;
        seconds(1).await;
    }
    assert_eq!(origin.calls(), 2, "one attempt in 20 seconds");
    assert_eq!(get(&service, &[("x-fail", "1")]).await.status, StatusCode::BAD_GATEWAY, "stale by now");
}

#[tokio::test(start_paused = true)]
async fn a_clients_range_and_condition_are_its_own() {
    let origin = Origin::sends(FRESH);
    for own in [("range", "bytes=0-0"), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")] {
        let service = origin.behind(ahead());
        get(&service, &[]).await;
        let before = origin.calls();
        seconds(90).await;
        assert_eq!(get(&service, &[own]).await.outcome(), "hit");
        settle().await;
        assert_eq!(origin.calls(), before + 1);
        assert!(!origin.last().contains_key(own.0), "{own:?}");
        seconds(50).await;
        assert_eq!(get(&service, &[]).await.outcome(), "hit", "all of it has been renewed");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_want_no_call_or_no_storing_cause_none() {
    let origin = Origin::sends(FRESH);
    let service = origin.behind(ahead());
    get(&service, &[]).await;
    seconds(90).await;
    for quiet in ["only-if-cached", "no-store"] {
        assert_eq!(get(&service, &[("cache-control", quiet)]).await.outcome(), "hit", "{quiet}");
        settle().await;
        assert_eq!(origin.calls(), 1, "{quiet}");
    }
    assert_eq!(send(&service, request(Method::HEAD, URI, &[])).await.outcome(), "hit");
    settle().await;
    assert_eq!(origin.calls(), 1, "HEAD brings no content");
    get(&service, &[]).await;
    settle().await;
    assert_eq!(origin.calls(), 2);
}

use std::time::Duration;

use tower_cache::Cache;

use crate::support::{Origin, Piece, TestBody, answer, get, seconds, settle};

/// Whether the second of two equal requests is answered by the cache.
async fn is_stored(cache: Cache, status: u16, fields: &'static [(&'static str, &'static str)]) -> bool {
    let origin = Origin::new(move |_| {
        let mut response = answer(fields, "");
        *response.status_mut() = status.try_into().unwrap();
        response
    });
    let service = origin.behind_cache(&cache);
    assert_eq!(get(&service, &[]).await.outcome(), "miss");
    let second = get(&service, &[]).await;
    assert_eq!(origin.calls() == 1, second.outcome() == "hit");
    second.outcome() == "hit"
}

#[tokio::test(start_paused = true)]
async fn explicit_freshness_stores_whatever_the_status() {
    for status in [200, 204, 302, 403, 404, 410, 500, 503, 599] {
        let cache = Cache::builder().build().unwrap();
        assert!(is_stored(cache, status, &[("cache-control", "max-age=60")]).await, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_stored_is_not() {
    let shared = || Cache::builder().build().unwrap();
    assert!(is_stored(shared(), 200, &[("cache-control", "max-age=60")]).await);
    assert!(!is_stored(shared(), 200, &[("cache-control", "max-age=60, no-store")]).await);
    assert!(!is_stored(shared(), 200, &[("cache-control", "max-age=60, private")]).await);
    assert!(!is_stored(shared(), 200, &[("cache-control", "max-age=60"), ("vary", "*")]).await);
    assert!(!is_stored(shared(), 206, &[("cache-control", "max-age=60")]).await);
    let private = Cache::builder().private().build().unwrap();
    assert!(is_stored(private, 200, &[("cache-control", "max-age=60, private")]).await);
}

#[tokio::test(start_paused = true)]
async fn no_store_in_a_request_is_kept() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder().honour_request_directives(false));
    get(&cache, &[("cache-control", "no-store")]).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "miss");
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn fields_of_the_connection_are_not_stored() {
    let origin = Origin::sends(&[
        ("cache-control", "max-age=60"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("x-kept", "1"),
    ]);
    let cache = origin.behind(Cache::builder());
    assert_eq!(get(&cache, &[]).await.header("x-hop"), Some("1"));
    let hit = get(&cache, &[]).await;
    assert_eq!(hit.outcome(), "hit");
    assert_eq!((hit.header("x-hop"), hit.header("keep-alive"), hit.header("connection")), (None, None, None));
    assert_eq!(hit.header("x-kept"), Some("1"));
    assert!(hit.header("date").is_some(), "who stores a response without Date adds it");
}

#[tokio::test(start_paused = true)]
async fn a_body_above_the_limit_passes_and_is_not_stored() {
    let body = "x".repeat(1000);
    for (limit, declared, stored) in
        [(1000, true, true), (1000, false, true), (999, true, false), (999, false, false)]
    {
        let sent = body.clone();
        let origin = Origin::new(move |_| {
            let length = sent.len().to_string();
            let fields = [("cache-control", "max-age=60"), ("content-length", &*length)];
            answer(&fields[..if declared { 2 } else { 1 }], &sent)
        });
        let cache = origin.behind(Cache::builder().max_body(limit));
        assert_eq!(get(&cache, &[]).await.body, body);
        let second = get(&cache, &[]).await;
        assert_eq!((second.outcome() == "hit", second.body.len()), (stored, 1000), "{limit} {declared}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_all_fills_hold_together_is_bounded() {
    let origin = Origin::new(|_| answer(&[("cache-control", "max-age=60")], &"x".repeat(1000)));
    for (limit, stored) in [(1000, true), (999, false)] {
        let cache = origin.behind(Cache::builder().max_held(limit));
        for _ in 0..3 {
            assert_eq!(get(&cache, &[]).await.body.len(), 1000);
        }
        // What has been given back can be held again.
        assert_eq!(get(&cache, &[]).await.outcome() == "hit", stored, "{limit}");
        let other = crate::support::request(http::Method::GET, "http://example.com/other", &[]);
        crate::support::send(&cache, other).await;
        let other = crate::support::request(http::Method::GET, "http://example.com/other", &[]);
        assert_eq!(crate::support::send(&cache, other).await.outcome() == "hit", stored, "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_its_time_to_arrive_does_not_replace_what_was_answered_later() {
    let origin = Origin::new(|parts| {
        let mut frames = vec![Piece::Data("newer".into())];
        if parts.headers.contains_key("x-slow") {
            frames = vec![
                Piece::Data("old".into()),
                Piece::Pause(Duration::from_secs(10)),
                Piece::Data("er".into()),
            ];
        }
        answer(&[("cache-control", "max-age=60")], "").map(|_| TestBody::new(frames))
    });
    let service = origin.behind(Cache::builder());
    // A condition of its own is answered by the origin, beside all others.
    let slow = tokio::spawn({
        let service = service.clone();
        async move { get(&service, &[("x-slow", "1"), ("if-none-match", "\"a\"")]).await.body }
    });
    settle().await;
    seconds(5).await;
    assert_eq!(get(&service, &[]).await.body, "newer");
    assert_eq!(slow.await.unwrap(), "older");
    let hit = get(&service, &[]).await;
    assert_eq!((hit.outcome(), &*hit.body), ("hit", "newer"));
}

use std::time::Duration;

use http::{Method, Request, StatusCode};
use tower_cache::{Cache, MemoryStore};

use crate::support::{Origin, URI, answer, get, request, settle};

fn validating() -> Origin {
    Origin::new(|parts| {
        let mut response = answer(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "content");
        if parts.headers.contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    })
}

#[tokio::test(start_paused = true)]
async fn a_refresh_fills_what_is_missing_and_validates_what_is_there() {
    let origin = validating();
    let cache = Cache::builder().build().unwrap();
    let service = origin.behind_cache(&cache);
    service.refresh(request(Method::GET, URI, &[])).await.unwrap();
    assert!(!origin.last().contains_key("if-none-match"));
    service.refresh(request(Method::GET, URI, &[])).await.unwrap();
    assert!(origin.last().contains_key("if-none-match"), "though it is fresh");
    assert_eq!(get(&service, &[]).await.outcome(), "hit");
    service.refresh(request(Method::POST, URI, &[])).await.unwrap();
    assert_eq!(origin.calls(), 2, "only what can be stored is asked for");
    let statistics = cache.handle().statistics();
    assert_eq!((statistics.hits, statistics.misses, statistics.revalidated), (1, 0, 0), "no client asked");
}

#[tokio::test(start_paused = true)]
async fn a_refresher_keeps_its_requests_fresh_without_any_request() {
    let origin = validating();
    let service = origin.behind(Cache::builder().private().store(MemoryStore::new(1 << 20)));
    let requests = || vec![request(Method::GET, URI, &[])];
    let refresher = tokio::spawn(service.clone().refresher(Duration::from_secs(50), requests));
    settle().await;
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(55)).await;
        outcomes.push(get(&service, &[]).await.outcome());
    }
    assert!(outcomes.iter().all(|outcome| *outcome == "hit"), "{outcomes:?}");
    // 1,100 seconds, a round every 45 to 50.
    assert!((22..=26).contains(&origin.calls()), "{}", origin.calls());
    refresher.abort();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(get(&service, &[]).await.outcome(), "revalidated");
}

#[tokio::test(start_paused = true)]
async fn a_refresher_outlives_failures_and_hangs() {
    let inner = tower::service_fn(|request: Request<http_body_util::Full<bytes::Bytes>>| async move {
        match request.uri().path() {
            "/fails" => Err("unreachable"),
            "/hangs" => std::future::pending().await,
            _ => Ok(answer(&[("cache-control", "max-age=60")], "content")),
        }
    });
    let layer = tower_cache::CacheLayer::new(Cache::builder().build().unwrap());
    let service = tower::Layer::layer(&layer, inner);
    let paths = || ["fails", "hangs", "good"].map(|path| format!("http://example.com/{path}"));
    let requests = move || paths().map(|uri| request(Method::GET, &uri, &[])).into();
    tokio::spawn(service.clone().refresher(Duration::from_secs(50), requests));
    tokio::time::sleep(Duration::from_secs(200)).await;
    let good = request(Method::GET, "http://example.com/good", &[("cache-control", "only-if-cached")]);
    let response = tower::ServiceExt::oneshot(service, good).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
}

use http::Method;
use tower_cache::{Cache, CacheBypass, CacheError, CacheOnly};

use crate::support::{Origin, URI, get, request, send};

#[tokio::test(start_paused = true)]
async fn grpc_and_upgrades_pass_without_a_trace() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder());
    assert_eq!(get(&cache, &[]).await.outcome(), "miss");
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
    for (method, field) in [
        (Method::POST, ("content-type", "application/grpc")),
        (Method::GET, ("content-type", "application/grpc-web+proto")),
        (Method::GET, ("upgrade", "websocket")),
    ] {
        let got = send(&cache, request(method, URI, &[field])).await;
        assert_eq!(
            (got.outcome, got.header("cache-status"), got.header("age")),
            (None, None, None),
            "{field:?}"
        );
        assert_ne!(got.body, "1");
    }
    assert_eq!(get(&cache, &[]).await.outcome(), "hit", "and invalidate nothing");
}

#[tokio::test(start_paused = true)]
async fn the_extension_passes_a_request() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    let mut passing = request(Method::GET, URI, &[]);
    passing.extensions_mut().insert(CacheBypass);
    let got = send(&cache, passing).await;
    assert_eq!((got.outcome(), &*got.body), ("bypass", "2"));
    let hit = get(&cache, &[]).await;
    assert_eq!((hit.outcome(), &*hit.body), ("hit", "1"), "and what passed was not stored");
}

#[tokio::test(start_paused = true)]
async fn the_extension_keeps_a_request_from_the_origin() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder().honour_request_directives(false));
    let only = |method, uri: &str, fields: &[(&str, &str)]| {
        let mut only = request(method, uri, fields);
        only.extensions_mut().insert(CacheOnly);
        only
    };
    let got = send(&cache, only(Method::GET, URI, &[])).await;
    assert_eq!((got.status.as_u16(), got.outcome(), origin.calls()), (504, "not_cached", 0));
    let response = tower::ServiceExt::oneshot(cache.clone(), only(Method::GET, URI, &[])).await.unwrap();
    assert_eq!(response.extensions().get::<CacheError>(), Some(&CacheError::NotCached));
    get(&cache, &[]).await;
    assert_eq!(send(&cache, only(Method::GET, URI, &[])).await.outcome(), "hit");
    assert_eq!(send(&cache, only(Method::HEAD, URI, &[])).await.outcome(), "hit");
    crate::support::seconds(60).await;
    for (method, uri, field) in [
        (Method::GET, URI, ("accept", "*/*")),
        (Method::HEAD, URI, ("accept", "*/*")),
        (Method::POST, URI, ("accept", "*/*")),
        (Method::GET, URI, ("if-match", "\"a\"")),
        (Method::GET, URI, ("upgrade", "websocket")),
        (Method::GET, "/no-host", ("accept", "*/*")),
    ] {
        let got = send(&cache, only(method, uri, &[field])).await;
        assert_eq!((got.status.as_u16(), got.outcome()), (504, "not_cached"), "{uri} {field:?}");
    }
    let mut both = only(Method::GET, URI, &[]);
    both.extensions_mut().insert(CacheBypass);
    assert_eq!(send(&cache, both).await.outcome(), "not_cached");
    assert_eq!(origin.calls(), 1, "it has never been asked");
    assert_eq!(get(&cache, &[]).await.outcome(), "miss", "others reach it");
}

#[tokio::test(start_paused = true)]
async fn content_conditions_for_the_origin_and_unclear_hosts_pass() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    assert_eq!(get(&cache, &[("content-length", "0")]).await.outcome(), "hit");
    for (field, reason) in [
        (("content-length", "3"), "content"),
        (("transfer-encoding", "chunked"), "content"),
        (("if-match", "\"a\""), "precondition"),
    ] {
        assert_eq!(get(&cache, &[field]).await.outcome.unwrap().reason(), reason);
    }
    let hosts = |fields| send(&cache, request(Method::GET, "/orders?page=1", fields));
    assert_eq!(hosts(&[("host", "example.com")]).await.outcome(), "hit");
    for fields in [&[][..], &[("host", "example.com"), ("host", "evil.example")]] {
        assert_eq!(hosts(fields).await.outcome.unwrap().reason(), "authority");
    }
}

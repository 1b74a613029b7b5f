//! Responses that are asked for so often that the memory store finds them by a shorter way.

use std::time::Duration;

use http::Method;
use tower_cache::{Cache, CacheService, MemoryStore};

use crate::support::{Origin, URI, get, request, send, settle};

/// So many hits that the shorter way is taken.
async fn heat(service: &CacheService<Origin>, fields: &[(&'static str, &str)]) {
    for _ in 0..100 {
        assert_eq!(get(service, fields).await.outcome(), "hit");
    }
}

#[tokio::test(start_paused = true)]
async fn they_are_purged_at_once() {
    let origin = Origin::sends(&[("cache-control", "max-age=60, stale-while-revalidate=60")]);
    let cache = Cache::builder().build().unwrap();
    let (service, handle) = (origin.behind_cache(&cache), cache.handle());
    let uri = URI.parse().unwrap();
    for how in ["uri", "prefix", "all"] {
        get(&service, &[]).await;
        heat(&service, &[]).await;
        match how {
            "uri" => handle.purge(&uri).await.unwrap(),
            "prefix" => handle.purge_prefix("http://example.com/").await.unwrap(),
            _ => handle.purge_all().await.unwrap(),
        }
        assert_eq!(get(&service, &[]).await.outcome(), "miss", "{how}");
        heat(&service, &[]).await;
        handle.soft_purge(&uri).await.unwrap();
        assert_eq!(get(&service, &[]).await.outcome(), "stale", "{how}");
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_replaces_them_is_found_at_once() {
    let origin = Origin::sends(&[("cache-control", "max-age=60"), ("vary", "x-a")]);
    let service = origin.behind(Cache::builder());
    for round in 0..3 {
        for value in ["1", "2"] {
            let first = get(&service, &[("x-a", value)]).await;
            assert_eq!(first.outcome(), "miss");
            heat(&service, &[("x-a", value)]).await;
            let hit = get(&service, &[("x-a", value)]).await;
            assert_eq!(hit.body, first.body, "{round} {value}");
        }
        heat(&service, &[("x-a", "1")]).await;
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(origin.calls(), 6);
}

#[tokio::test(start_paused = true)]
async fn they_stay_while_others_come_and_go_and_are_let_go_of_when_they_do() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let store = MemoryStore::new(64 << 10);
    let cache = Cache::builder().store(store).build().unwrap();
    let service = origin.behind_cache(&cache);
    get(&service, &[]).await;
    heat(&service, &[]).await;
    for other in 0..1000 {
        send(&service, request(Method::GET, &format!("http://example.com/{other}"), &[])).await;
        // Not all of these are told to moka, but enough are.
        assert_eq!(get(&service, &[]).await.outcome(), "hit", "{other}");
    }
    let statistics = cache.handle().statistics().store;
    assert!(statistics.evictions > 900 && statistics.bytes <= 64 << 10, "{statistics:?}");
    // Nobody asks for it any more, and others are asked for more often than it was.
    for other in 0..500 {
        let uri = format!("http://example.com/{}", other % 50);
        for _ in 0..30 {
            send(&service, request(Method::GET, &uri, &[])).await;
        }
    }
    assert_eq!(get(&service, &[]).await.outcome(), "miss");
}

use std::time::Duration;

use http::Method;
use tower_cache::{Cache, CacheLayer, MemoryStore};

use crate::support::{Origin, URI, get, request, send, settle};

#[tokio::test(start_paused = true)]
async fn by_uri_by_prefix_and_all() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = Cache::builder().build().unwrap();
    let (service, handle) = (origin.behind_cache(&cache), cache.handle());
    let other = || send(&service, request(Method::GET, "http://example.com/other", &[]));
    let uri = URI.parse().unwrap();
    let fill = || async {
        get(&service, &[]).await;
        other().await;
        assert_eq!((get(&service, &[]).await.outcome(), other().await.outcome()), ("hit", "hit"));
    };
    fill().await;
    handle.purge(&uri).await.unwrap();
    assert_eq!((get(&service, &[]).await.outcome(), other().await.outcome()), ("miss", "hit"));
    fill().await;
    handle.purge_prefix("http://example.com/ord").await.unwrap();
    assert_eq!((get(&service, &[]).await.outcome(), other().await.outcome()), ("miss", "hit"));
    fill().await;
    handle.purge_all().await.unwrap();
    assert_eq!((get(&service, &[]).await.outcome(), other().await.outcome()), ("miss", "miss"));
    assert!(handle.purge(&"/orders".parse().unwrap()).await.is_err(), "not absolute");
}

#[tokio::test(start_paused = true)]
async fn softly_it_becomes_stale() {
    let origin = Origin::sends(&[("cache-control", "max-age=60, stale-while-revalidate=60")]);
    let cache = Cache::builder().build().unwrap();
    let (service, handle) = (origin.behind_cache(&cache), cache.handle());
    for soft_purge in ["uri", "prefix", "all"] {
        get(&service, &[]).await;
        assert_eq!(get(&service, &[]).await.outcome(), "hit");
        match soft_purge {
            "uri" => handle.soft_purge(&URI.parse().unwrap()).await.unwrap(),
            "prefix" => handle.soft_purge_prefix("http://example.com/").await.unwrap(),
            _ => handle.soft_purge_all().await.unwrap(),
        }
        assert_eq!(get(&service, &[]).await.outcome(), "stale");
        settle().await;
        assert_eq!(get(&service, &[]).await.outcome(), "hit", "validated meanwhile");
    }
}

#[tokio::test(start_paused = true)]
async fn softly_it_is_validated_where_it_may_not_be_stale() {
    let origin = Origin::new(|parts| {
        let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        let mut response = crate::support::answer(&fields, "content");
        if parts.headers.contains_key("if-none-match") {
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        }
        response
    });
    let cache = Cache::builder().build().unwrap();
    let (service, handle) = (origin.behind_cache(&cache), cache.handle());
    get(&service, &[]).await;
    handle.soft_purge_all().await.unwrap();
    let validated = get(&service, &[]).await;
    assert_eq!((validated.outcome(), &*validated.body), ("revalidated", "content"));
    assert_eq!(get(&service, &[]).await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_began_before_a_soft_purge_never_lands_fresh() {
    for purge in ["uri", "prefix", "all"] {
        let fields = &[("cache-control", "max-age=60, stale-while-revalidate=60")];
        let origin = Origin { delay: Duration::from_secs(1), ..Origin::sends(fields) };
        let cache = Cache::builder().build().unwrap();
        let (service, handle) = (origin.behind_cache(&cache), cache.handle());
        get(&service, &[]).await;
        handle.purge_all().await.unwrap();
        let fill = tokio::spawn({
            let service = service.clone();
            async move { get(&service, &[]).await }
        });
        settle().await;
        match purge {
            "uri" => handle.soft_purge(&URI.parse().unwrap()).await.unwrap(),
            "prefix" => handle.soft_purge_prefix("http://example.com/").await.unwrap(),
            _ => handle.soft_purge_all().await.unwrap(),
        }
        assert_eq!(fill.await.unwrap().body, "2");
        // Of a prefix nobody knows what is being fetched: nothing of that is stored.
        let expected = if purge == "prefix" { "miss" } else { "stale" };
        assert_eq!(get(&service, &[]).await.outcome(), expected, "{purge}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_began_before_a_purge_never_lands_after_it() {
    for purge in ["uri", "prefix", "all"] {
        let origin =
            Origin { delay: Duration::from_secs(1), ..Origin::sends(&[("cache-control", "max-age=60")]) };
        let cache = Cache::builder().build().unwrap();
        let (service, handle) = (origin.behind_cache(&cache), cache.handle());
        let fill = tokio::spawn({
            let service = service.clone();
            async move { get(&service, &[]).await }
        });
        settle().await;
        match purge {
            "uri" => handle.purge(&URI.parse().unwrap()).await.unwrap(),
            "prefix" => handle.purge_prefix("http://example.com/").await.unwrap(),
            _ => handle.purge_all().await.unwrap(),
        }
        assert_eq!(fill.await.unwrap().outcome(), "miss");
        assert_eq!(get(&service, &[]).await.outcome(), "miss", "{purge}");
        assert_eq!(get(&service, &[]).await.outcome(), "hit");
    }
}

#[tokio::test(start_paused = true)]
async fn statistics_count_and_memory_is_bounded() {
    let origin =
        Origin::new(|_| crate::support::answer(&[("cache-control", "max-age=60")], &"x".repeat(10_000)));
    let layer = CacheLayer::shared(MemoryStore::new(1 << 20));
    let service = tower::Layer::layer(&layer, origin.clone());
    for page in 0..1000 {
        send(&service, request(Method::GET, &format!("http://example.com/{page}"), &[])).await;
    }
    get(&service, &[]).await;
    let statistics = layer.handle().statistics();
    assert_eq!((statistics.misses, statistics.bypassed), (1001, 0));
    assert!(statistics.store.bytes <= 1 << 20, "{statistics:?}");
    assert!(statistics.store.entries >= 50, "{statistics:?}");
}

#[tokio::test(start_paused = true)]
async fn purges_leave_what_is_stored_under_other_uris_alone() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = Cache::builder().store(tower_cache::MemoryStore::new(64 << 20)).build().unwrap();
    let (service, handle) = (origin.behind_cache(&cache), cache.handle());
    let get = |n: usize| {
        let service = service.clone();
        async move { send(&service, request(Method::GET, &format!("http://example.com/{n}"), &[])).await }
    };
    for n in 0..300 {
        get(n).await;
    }
    for n in 1000..1700 {
        handle.purge(&format!("http://example.com/{n}").parse().unwrap()).await.unwrap();
        handle.soft_purge(&format!("http://example.com/{n}").parse().unwrap()).await.unwrap();
    }
    for n in 0..300 {
        assert_eq!(get(n).await.outcome(), "hit", "{n}");
    }
}

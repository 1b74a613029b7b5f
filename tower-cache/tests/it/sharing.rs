use tower::Layer;
use tower_cache::{CacheLayer, MemoryStore};

use crate::support::{Origin, get};

#[tokio::test(start_paused = true)]
async fn a_thousand_services_of_a_layer_are_one_cache() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let layer = CacheLayer::shared(MemoryStore::new(1 << 20));
    for _ in 0..1000 {
        get(&layer.clone().layer(origin.clone()), &[]).await;
    }
    assert_eq!(origin.calls(), 1);
    assert_eq!(layer.handle().statistics().hits, 999);
}

#[tokio::test(start_paused = true)]
async fn queries_share_responses_where_they_are_told_to() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = tower_cache::Cache::builder().ignore_query(["utm_*"]).sort_query(true).build().unwrap();
    let service = origin.behind_cache(&cache);
    let ask = |uri: &'static str| {
        let request = crate::support::request(http::Method::GET, uri, &[]);
        crate::support::send(&service, request)
    };
    assert_eq!(ask("http://example.com/a?x=1&y=2&utm_source=mail").await.outcome(), "miss");
    assert_eq!(ask("http://example.com/a?y=2&utm_medium=web&x=1").await.outcome(), "hit");
    assert_eq!(ask("http://example.com/a?y=1&x=2").await.outcome(), "miss");
    cache.handle().purge(&"http://example.com/a?utm_x=1&y=2&x=1".parse().unwrap()).await.unwrap();
    assert_eq!(ask("http://example.com/a?x=1&y=2").await.outcome(), "miss", "purged by the same rules");
}

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

#![cfg(feature = "metrics")]

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_cache::Cache;

use crate::support::{Origin, get, request, send};

#[test]
fn requests_and_fills_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    // Made before there is a recorder: handles are taken when the first request comes.
    let cache = Cache::builder().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let origin = Origin::sends(&[("cache-control", "max-age=60")]);
            let service = origin.behind_cache(&cache);
            for _ in 0..3 {
                get(&service, &[]).await;
            }
            get(&service, &[("cache-control", "only-if-cached, no-cache")]).await;
            send(&service, request(http::Method::POST, crate::support::URI, &[])).await;
            assert_eq!(cache.handle().statistics().hits, 2);
        });
    });
    let mut counted = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let DebugValue::Counter(value) = value else { continue };
        if value > 0 {
            counted.insert(format!("{} {}", key.key().name(), labels.join(" ")).trim().to_owned(), value);
        }
    }
    let expected = [
        ("tower_cache_fills_total outcome=stored", 1),
        ("tower_cache_requests_total outcome=bypass", 1),
        ("tower_cache_requests_total outcome=hit", 2),
        ("tower_cache_requests_total outcome=miss", 1),
        ("tower_cache_requests_total outcome=not_cached", 1),
    ];
    assert_eq!(counted, expected.map(|(name, value)| (name.to_owned(), value)).into());
}

//! What is counted, and under which labels.
#![cfg(feature = "metrics")]

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_versioning::{Registry, Source, VersionLayer};

use crate::support::{V1, V2, day, get, name, send, with};

/// `name{label=value,…}` to count, without zeros.
fn counts(snapshotter: &metrics_util::debugging::Snapshotter) -> BTreeMap<String, u64> {
    let all = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
        let key = key.key().clone();
        let labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let DebugValue::Counter(count) = value else { panic!("{key:?}") };
        (format!("{}{{{}}}", key.name().trim_start_matches("tower_versioning_"), labels.join(",")), count)
    });
    all.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn labels_are_the_registered_versions_and_unsupported() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let registry = Registry::builder()
        .name("orders")
        .version(V1, |v| v.sunset(day(1)))
        .version(V2, |v| v)
        .build()
        .unwrap();
    let layer = VersionLayer::new(registry)
        .sources([Source::header(name("api-version"))])
        .neutral_path("/health")
        .wall_clock(|| day(2));
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for version in ["1", "1.0", "2", "3", "4", "x", "evil\"label"] {
                send(&layer, with("/x", &[("api-version", version)])).await;
            }
            send(&layer, with("/x", &[("api-version", "1"), ("api-version", "2")])).await;
            send(&layer, get("/x")).await;
            send(&layer, get("/health")).await;
        });
    });
    let expected = [
        ("past_sunset_total{api=orders,version=1}", 2),
        ("rejections_total{api=orders,reason=ambiguous}", 1),
        ("rejections_total{api=orders,reason=malformed}", 2),
        ("rejections_total{api=orders,reason=missing}", 1),
        ("rejections_total{api=orders,reason=unsupported}", 2),
        ("requests_total{api=orders,version=1}", 2),
        ("requests_total{api=orders,version=2}", 1),
        ("requests_total{api=orders,version=unsupported}", 6),
    ];
    assert_eq!(counts(&snapshotter), expected.map(|(key, count)| (key.to_owned(), count)).into());
}

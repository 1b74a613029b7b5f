//! Counters as a recorder sees them.
#![cfg(feature = "metrics")]

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use futures_util::FutureExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower_breaker::{Bulkhead, KeyedBreaker};

use crate::support::{touchy, trip};

const SECOND: Duration = Duration::from_secs(1);

/// Name and labels with what has changed since the last look.
fn seen(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let entry = |(key, _, _, value): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let key = key.key();
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(_) => 0.0,
        };
        (format!("{}{{{}}}", key.name(), labels.join(",")), value)
    };
    snapshotter.snapshot().into_vec().into_iter().map(entry).filter(|(_, value)| *value != 0.0).collect()
}

#[tokio::test(start_paused = true)]
async fn bulkheads_count_slots_queue_and_rejections() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let bulkhead = Bulkhead::builder("reports").limit(1).queue(1).max_wait(SECOND).build().unwrap();
    let held = bulkhead.try_acquire().unwrap();
    let mut waits = Box::pin(bulkhead.acquire());
    assert!(waits.as_mut().now_or_never().is_none());
    assert!(bulkhead.acquire().await.is_err());
    let expected = [
        ("tower_breaker_bulkhead_calls{bulkhead=reports,place=queue}", 1.0),
        ("tower_breaker_bulkhead_calls{bulkhead=reports,place=slot}", 1.0),
        ("tower_breaker_bulkhead_rejections_total{bulkhead=reports,reason=full}", 1.0),
    ];
    assert_eq!(seen(&snapshotter), expected.map(|(key, value)| (key.to_owned(), value)).into());
    assert!(waits.await.is_err());
    drop(held);
    let expected = [
        ("tower_breaker_bulkhead_calls{bulkhead=reports,place=queue}", -1.0),
        ("tower_breaker_bulkhead_calls{bulkhead=reports,place=slot}", -1.0),
        ("tower_breaker_bulkhead_rejections_total{bulkhead=reports,reason=timeout}", 1.0),
    ];
    assert_eq!(seen(&snapshotter), expected.map(|(key, value)| (key.to_owned(), value)).into());
}

#[tokio::test(start_paused = true)]
async fn families_count_keys_evictions_overflow_and_panic_without_naming_a_key() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let family: KeyedBreaker<&str> =
        KeyedBreaker::builder(touchy("partners")).capacity(2).max_ejected(0.5).build().unwrap();
    for key in ["a.example", "b.example"] {
        trip(&family.get(key));
        let _ = family.call(key, ready(Ok::<_, ()>(()))).await;
    }
    let _ = family.get("c.example");
    family.get("a.example").force_close();
    family.get("b.example").force_close();
    let _ = family.get("d.example");
    let seen = seen(&snapshotter);
    for (name, value) in [
        ("tower_breaker_keys{breaker=partners}", 2.0),
        ("tower_breaker_key_evictions_total{breaker=partners,reason=displaced}", 1.0),
        ("tower_breaker_overflow_calls_total{breaker=partners}", 1.0),
        ("tower_breaker_panic_calls_total{breaker=partners}", 1.0),
        ("tower_breaker_transitions_total{breaker=partners,to=open}", 2.0),
    ] {
        assert_eq!(seen.get(name), Some(&value), "{name} in {seen:?}");
    }
    assert!(!seen.keys().any(|key| key.contains("example")));
}

/// The hostile part: names of states and labels as keys, and every transition there is.
#[tokio::test(start_paused = true)]
async fn no_key_becomes_a_label_or_moves_a_gauge_of_state() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let alone = touchy("alone").build().unwrap();
    trip(&alone);
    let bulkhead = Bulkhead::builder("partners").limit(1);
    let family: KeyedBreaker<String> =
        KeyedBreaker::builder(touchy("partners")).capacity(64).bulkhead(bulkhead).build().unwrap();
    for number in 0..200 {
        let breaker = family.get(format!("key-{number}\",breaker=\"key"));
        trip(&breaker);
        breaker.disable();
        breaker.metrics_only();
        breaker.force_open();
        breaker.force_close();
        if number % 3 == 0 {
            trip(&breaker);
        }
        let _ = breaker.snapshot();
    }
    let _ = family.call("key".to_owned(), ready(Err::<(), _>(()))).await;
    let seen = seen(&snapshotter);
    assert_eq!(seen.get("tower_breaker_state{breaker=alone}"), Some(&2.0), "{seen:?}");
    assert!(seen["tower_breaker_transitions_total{breaker=partners,to=open}"] >= 200.0);
    assert!(!seen.contains_key("tower_breaker_state{breaker=partners}"));
    for key in seen.keys() {
        assert!(!key.contains("key-"), "{key}");
        assert!(
            key.contains("breaker=alone")
                || key.contains("breaker=partners")
                || key.contains("bulkhead=partners"),
            "{key}"
        );
    }
}

/// A slot is used again after ten others; what it held and nobody had been told is told then.
#[tokio::test(start_paused = true)]
async fn what_leaves_a_slot_reaches_the_recorder() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let breaker = touchy("orders").time_window(SECOND * 10).build().unwrap();
    for _ in 0..3 {
        for _ in 0..7 {
            breaker.try_acquire().unwrap().success();
        }
        // No call in the slots between: the next one begins the same word anew.
        tokio::time::advance(SECOND * 10).await;
    }
    assert_eq!(breaker.snapshot().calls, 0);
    breaker.try_acquire().unwrap().success();
    let _ = breaker.snapshot();
    let counted = "tower_breaker_calls_total{breaker=orders,outcome=success}";
    assert_eq!(seen(&snapshotter).get(counted), Some(&22.0));
}

#[tokio::test(start_paused = true)]
async fn what_would_have_opened_is_counted_once_per_crossing() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let breaker = touchy("orders").initial_state(tower_breaker::State::MetricsOnly).build().unwrap();
    for _ in 0..5 {
        breaker.try_acquire().unwrap().failure();
    }
    let seen = seen(&snapshotter);
    assert_eq!(seen["tower_breaker_would_open_total{breaker=orders}"], 1.0);
    assert!(!seen.keys().any(|key| key.starts_with("tower_breaker_transitions_total")));
}

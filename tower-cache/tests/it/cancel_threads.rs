//! The same on several threads: clients come and go at random while others read along.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tower::Layer;
use tower_cache::{Cache, CacheLayer, MemoryStore};

use crate::cancel_world::{Ending, Lazy, Pend, Seen, Stepping, client, whole};
use crate::dice::{Dice, rounds};

const CLIENTS: usize = 8;

/// A race would show as a client that hangs, or as a body that is not all of one response.
#[test]
fn clients_come_and_go_on_four_threads() {
    let rounds = rounds(1_000, 200_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let mut dice = Dice(7);
    let store = MemoryStore::default();
    let (mut whole_bodies, mut errors, mut left) = (0, 0, 0);
    for round in 0..rounds {
        let endings = [
            Ending::Whole,
            Ending::Announced,
            Ending::Trailers,
            Ending::Broken,
            Ending::Short,
            Ending::Refused,
        ];
        let inner = Stepping {
            fields: &[("cache-control", "max-age=60")],
            ending: dice.pick(&endings),
            pends: dice.below(4),
            not_modified: false,
            calls: Arc::new(AtomicUsize::new(0)),
        };
        let lazy = Lazy { inner: store.clone(), pends: dice.below(3) };
        let calls = Arc::clone(&inner.calls);
        let cache =
            runtime.block_on(async { CacheLayer::new(Cache::builder().store(lazy).build().unwrap()) });
        let service = cache.layer(inner);
        let clients = (0..CLIENTS).map(|_| {
            let (service, uri) = (service.clone(), format!("http://example.com/{round}"));
            let (begins, stays) = (dice.below(10), dice.below(40));
            runtime.spawn(async move {
                Pend(begins).await;
                tokio::select! {
                    biased;
                    seen = client(service, &uri) => Some(seen),
                    () = Pend(stays) => None,
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            let seen =
                runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), client).await });
            match seen.unwrap_or_else(|_| panic!("hung in round {round}")).unwrap() {
                Some(Seen::Ended { body, length_holds: true, .. }) => {
                    let calls = calls.load(Ordering::Relaxed);
                    assert!((0..calls).any(|call| body == whole(call)), "{body:?} in round {round}");
                    whole_bodies += 1;
                }
                // Its length gives it away, or it broke off.
                Some(Seen::Ended { length_holds: false, .. } | Seen::BrokeOff | Seen::Failed) => errors += 1,
                None => left += 1,
            }
        }
    }
    println!("{whole_bodies} whole bodies, {errors} errors, {left} left before the end");
    assert!(
        whole_bodies > rounds && errors > rounds / 20 && left > rounds / 2,
        "{whole_bodies} {errors} {left}"
    );
}

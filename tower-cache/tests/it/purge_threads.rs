//! Purges on several threads at once, against fills and hits on all of them, in a store that is too small: whoever asks
//! after a purge has returned gets nothing that was made before it began.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_cache::{Cache, CacheLayer, MemoryStore};

use crate::dice::{Dice, rounds};
use crate::support::request;

const KEYS: usize = 8;
const THREADS: usize = 4;

/// What there is, by key: the version now, and the least that may still be seen.
#[derive(Default)]
struct Versions {
    now: [AtomicUsize; KEYS],
    least: [AtomicUsize; KEYS],
}

impl Versions {
    /// Something changes; what to say when that has been purged.
    fn change(&self, keys: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
        keys.map(|key| (key, self.now[key].fetch_add(1, Ordering::SeqCst) + 1)).collect()
    }

    fn purged(&self, changed: &[(usize, usize)]) {
        for (key, version) in changed {
            self.least[*key].fetch_max(*version, Ordering::SeqCst);
        }
    }
}

fn uri(key: usize) -> String {
    format!("http://example.com/{}/{key}", ["even", "odd"][key % 2])
}

/// So many steps of one user. Returns how many hits there were.
async fn user(cache: Cache, versions: Arc<Versions>, mut dice: Dice, steps: usize) -> usize {
    let origin = {
        let versions = Arc::clone(&versions);
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            let key = request.uri().path().rsplit_once('/').unwrap().1.parse::<usize>().unwrap();
            let version = versions.now[key].load(Ordering::SeqCst);
            async move {
                tokio::task::yield_now().await;
                // Some are too large to stay for long.
                let mut content = version.to_string().into_bytes();
                content.resize(1000 * (1 + version % 40), b' ');
                let response = Response::builder().header("cache-control", "max-age=600");
                let response = response.header("cache-tag", ["even", "odd"][key % 2]);
                Ok::<_, Infallible>(response.body(Full::from(content)).unwrap())
            }
        })
    };
    let (service, handle) = (CacheLayer::new(cache.clone()).layer(origin), cache.handle());
    let mut hits = 0;
    for _ in 0..steps {
        let key = dice.below(KEYS);
        let alike = || (0..KEYS).filter(move |other| other % 2 == key % 2);
        let changed = match dice.below(40) {
            0 => {
                let changed = versions.change(std::iter::once(key));
                handle.purge(&uri(key).parse().unwrap()).await.unwrap();
                changed
            }
            1 => {
                let changed = versions.change(alike());
                handle.purge_prefix(uri(key).rsplit_once('/').unwrap().0).await.unwrap();
                changed
            }
            2 => {
                let changed = versions.change(0..KEYS);
                handle.purge_all().await.unwrap();
                changed
            }
            3 => {
                let changed = versions.change(std::iter::once(key));
                let _ = service.clone().oneshot(request(Method::DELETE, &uri(key), &[])).await.unwrap();
                changed
            }
            #[cfg(feature = "tags")]
            4 => {
                let changed = versions.change(alike());
                handle.purge_tag(["even", "odd"][key % 2]).await.unwrap();
                changed
            }
            _ => {
                let least = versions.least[key].load(Ordering::SeqCst);
                let response = service.clone().oneshot(request(Method::GET, &uri(key), &[])).await.unwrap();
                let outcome = response.extensions().get::<tower_cache::CacheOutcome>().unwrap().as_str();
                let content = response.into_body().collect().await.unwrap().to_bytes();
                let version = std::str::from_utf8(&content).unwrap().trim_end().parse::<usize>().unwrap();
                assert!(version >= least, "{outcome} with {version} of {key}, and {least} is the least");
                hits += usize::from(outcome == "hit");
                continue;
            }
        };
        versions.purged(&changed);
    }
    hits
}

#[test]
fn nobody_sees_what_was_purged_before() {
    let steps = rounds(300, 100_000);
    let store = MemoryStore::new(100_000);
    let cache = Cache::builder().store(store).build().unwrap();
    let versions = Arc::<Versions>::default();
    let hits: usize = std::thread::scope(|scope| {
        let users: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (cache, versions) = (cache.clone(), Arc::clone(&versions));
                scope.spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    runtime.block_on(user(cache, versions, Dice(thread as u64 + 1), steps))
                })
            })
            .collect();
        users.into_iter().map(|user| user.join().unwrap()).sum()
    });
    assert!(hits > 0);
    let statistics = cache.handle().statistics();
    assert!(statistics.store.entries <= KEYS as u64, "{statistics:?}");
    assert!(statistics.store.bytes <= 100_000, "{statistics:?}");
}

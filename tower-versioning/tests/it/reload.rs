//! Registries replaced while requests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tower_versioning::{Moment, Registry, VersionLayer};

use crate::support::{V1, V2, get, registry, send};

/// Two registries that differ in everything that is said: an answer is of one or of the other.
fn pair() -> (Registry, Registry) {
    let one = Registry::builder()
        .version(V1, |v| v.deprecated(Moment::utc(2000, 1, 1)).sunset(Moment::utc(2001, 1, 1)))
        .build();
    let two = Registry::builder().version(V1, |v| v).version(V2, |v| v).default_version(V2).build();
    (one.unwrap(), two.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_fails_and_mixes_no_request() {
    let (one, two) = pair();
    let shared = registry(&["1"]);
    shared.replace(&one);
    let layer = VersionLayer::new(shared.clone());
    let done = Arc::new(AtomicBool::new(false));
    let (swaps, stop) = (Arc::new(AtomicU64::new(0)), done.clone());
    let counted = swaps.clone();
    let swapper = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            shared.replace(&two);
            shared.replace(&one);
            counted.fetch_add(2, Ordering::Relaxed);
        }
    });
    let (mut first, mut second) = (0, 0);
    // 10⁶ requests when `TOWER_ASSURE` is set.
    let requests = if std::env::var_os("TOWER_ASSURE").is_some() { 1_000_000 } else { 20_000 };
    let mut sent = 0;
    // And until both have been seen, however the threads take turns.
    while sent < requests || first == 0 || second == 0 || swaps.load(Ordering::Relaxed) <= 10 {
        sent += 1;
        let answer = send(&layer, get("/v1/x")).await;
        assert_eq!(answer.body, "1 /x");
        let deprecation = answer.headers.contains_key("deprecation");
        let lists = (answer.all("api-supported-versions"), answer.all("api-deprecated-versions"));
        match (deprecation, answer.headers.contains_key("sunset"), lists.0.as_slice(), lists.1.as_slice()) {
            (true, true, [], ["1"]) => first += 1,
            (false, false, ["1, 2"], []) => second += 1,
            mixed => panic!("{mixed:?}"),
        }
    }
    done.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    println!("{first} requests with one, {second} with the other");
}

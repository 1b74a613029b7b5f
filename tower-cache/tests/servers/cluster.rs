//! A cluster of three nodes, one of which is lost.

use tower_cache::redis::RedisStore;

use crate::server::Cluster;
use crate::support::{Origin, Process};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_spread_and_a_lost_node_costs_calls_and_nothing_else() {
    let mut cluster = Cluster::start();
    let urls = cluster.urls();
    let origin = Origin::new(|request, call| {
        let body = format!("{} {call}", request.uri.path()).repeat(5000);
        crate::support::response(&[("cache-control", "max-age=600"), ("cache-tag", "a, b")], body)
    });
    let process = || {
        let store = RedisStore::cluster(urls.iter().map(String::as_str)).unwrap().build().unwrap();
        Process::with(tower_cache::Cache::builder().store(store), &origin)
    };
    let (one, other) = (process(), process());
    let uri = |n: usize| format!("http://example.com/{n}");
    for n in 0..60 {
        one.get(&uri(n), &[]).await;
    }
    for n in 0..60 {
        other.until_hit(&uri(n), &[]).await;
    }
    for node in &cluster.nodes {
        let keys: usize = redis::cmd("DBSIZE").query(&mut node.connection()).unwrap();
        assert!(keys > 20, "{keys}");
    }
    one.handle.purge_prefix("http://example.com/1").await.unwrap();
    assert_eq!(other.until_hit(&uri(2), &[]).await.status, 200);
    other.until_gone(&uri(1)).await;
    one.handle.purge_all().await.unwrap();
    other.until_gone(&uri(2)).await;

    for lost in 0..3 {
        cluster.nodes[lost].kill();
        for round in 0..3 {
            for n in 0..60 {
                let got = other.get(&uri(n), &[]).await;
                assert_eq!(got.status, 200, "node {lost}, round {round}");
                assert!(got.body.starts_with(&format!("/{n} ")));
            }
        }
        cluster.nodes[lost].restart();
        crate::server::rejoin(&cluster);
        for n in 0..60 {
            other.until_hit(&uri(n), &[]).await;
        }
    }
}

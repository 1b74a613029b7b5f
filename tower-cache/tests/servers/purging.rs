//! Purges reach every process, and nothing comes back after them.

use std::sync::Arc;

use crate::server::Server;
use crate::support::{Origin, Process, URI};

const OTHER: &str = "http://example.com/stock";

async fn purge(process: &Process, what: &str, soft: bool) {
    let (handle, uri) = (&process.handle, URI.parse().unwrap());
    match (what, soft) {
        ("uri", false) => handle.purge(&uri).await,
        ("uri", true) => handle.soft_purge(&uri).await,
        ("prefix", false) => handle.purge_prefix("http://example.com/ord").await,
        ("prefix", true) => handle.soft_purge_prefix("http://example.com/ord").await,
        ("all", _) => handle.purge_all().await,
        #[cfg(feature = "tags")]
        ("tag", false) => handle.purge_tag("orders").await,
        #[cfg(feature = "tags")]
        ("tag", true) => handle.soft_purge_tag("orders").await,
        _ => unreachable!(),
    }
    .unwrap();
}

fn kinds() -> Vec<(&'static str, bool)> {
    let mut kinds = vec![("uri", false), ("uri", true), ("prefix", false), ("prefix", true), ("all", false)];
    if cfg!(feature = "tags") {
        kinds.extend([("tag", false), ("tag", true)]);
    }
    kinds
}

fn origin() -> Origin {
    Origin::new(|request, call| {
        let tag = if request.uri.path() == "/orders" { "orders, all" } else { "stock" };
        crate::support::response(
            &[("cache-control", "max-age=600"), ("cache-tag", tag), ("etag", "\"a\"")],
            call.to_string(),
        )
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_in_one_process_is_one_in_all() {
    let server = Server::start();
    let origin = origin();
    let (one, other) = (Process::new(&server.url(), &origin), Process::new(&server.url(), &origin));
    for (what, soft) in kinds() {
        for uri in [URI, OTHER] {
            one.get(uri, &[]).await;
            one.until_hit(uri, &[]).await;
            assert_eq!(other.get(uri, &[]).await.outcome, "hit");
        }
        let calls = origin.calls();
        purge(&one, what, soft).await;
        let got = other.get(URI, &[]).await;
        assert_eq!((got.outcome, origin.calls()), ("miss", calls + 1), "{what} {soft}");
        assert_eq!(
            origin.last().contains_key("if-none-match"),
            soft,
            "{what}: only what is kept can be validated"
        );
        let expected = if what == "all" { "miss" } else { "hit" };
        assert_eq!(other.get(OTHER, &[]).await.outcome, expected, "{what} {soft}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_a_uri_is_one_of_all_its_partitions() {
    let server = Server::start();
    let origin = origin();
    let process = || {
        let store = tower_cache::redis::RedisStore::new(&server.url()).unwrap();
        let cache = tower_cache::Cache::builder().store(store).partition(|parts, key| {
            key.add_optional(parts.headers.get("x-tenant"));
        });
        Process::with(cache.store_timeout(std::time::Duration::from_secs(5)), &origin)
    };
    let (one, other) = (process(), process());
    for tenant in ["a", "b"] {
        assert_eq!(one.get(URI, &[("x-tenant", tenant)]).await.outcome, "miss");
        one.until_hit(URI, &[("x-tenant", tenant)]).await;
    }
    other.handle.purge(&URI.parse().unwrap()).await.unwrap();
    for tenant in ["a", "b"] {
        assert_eq!(one.get(URI, &[("x-tenant", tenant)]).await.outcome, "miss");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_began_before_a_purge_never_lands_after_it() {
    let server = Server::start();
    for (what, soft) in kinds() {
        let origin = origin();
        let (one, other) = (Process::new(&server.url(), &origin), Process::new(&server.url(), &origin));
        other.handle.purge_all().await.unwrap();
        let gate = Arc::clone(&origin.gate);
        let closed = gate.acquire_many(1000).await.unwrap();
        let fill = tokio::spawn({
            let one = one.clone();
            async move { one.get(URI, &[]).await }
        });
        while origin.calls() == 0 {
            tokio::task::yield_now().await;
        }
        purge(&other, what, soft).await;
        drop(closed);
        assert_eq!(fill.await.unwrap().outcome, "miss");
        // Whatever the fill stores, it has stored when its lock is free again, for which the next one waits.
        let got = other.get(URI, &[]).await;
        assert_eq!((got.outcome, &*got.body), ("miss", "2"), "{what} {soft}");
        assert_eq!(one.until_hit(URI, &[]).await.body, "2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_request_is_a_purge_for_all() {
    let server = Server::start();
    let origin = origin();
    let (one, other) = (Process::new(&server.url(), &origin), Process::new(&server.url(), &origin));
    one.get(URI, &[]).await;
    other.until_hit(URI, &[]).await;
    one.send("DELETE", URI, &[]).await;
    assert_eq!(other.get(URI, &[]).await.outcome, "miss", "when the response is there it has happened");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_purges_of_prefixes_become_one() {
    let server = Server::start();
    let origin = origin();
    let process = Process::new(&server.url(), &origin);
    process.get(URI, &[]).await;
    process.until_hit(URI, &[]).await;
    for n in 0..300 {
        process.handle.purge_prefix(&format!("http://elsewhere.example/{n}")).await.unwrap();
    }
    let fields: usize = redis::cmd("HLEN").arg("tower-cache:{log}").query(&mut server.connection()).unwrap();
    assert!(fields <= 256, "{fields}");
    assert_eq!(process.get(URI, &[]).await.outcome, "miss", "what is older than what was forgotten");
    process.until_hit(URI, &[]).await;
}

#[cfg(feature = "tags")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_tag_purged_does_not_come_back_when_the_tag_is_lost() {
    let server = Server::start();
    let origin = origin();
    let process = Process::new(&server.url(), &origin);
    process.get(URI, &[]).await;
    process.until_hit(URI, &[]).await;
    process.handle.purge_tag("all").await.unwrap();
    let mut connection = server.connection();
    for key in redis::Commands::keys::<_, Vec<String>>(&mut connection, "*:t:*").unwrap() {
        redis::cmd("DEL").arg(key).exec(&mut connection).unwrap();
    }
    // Another response brings the tags back.
    process.get("http://example.com/orders?other", &[]).await;
    process.until_hit("http://example.com/orders?other", &[]).await;
    assert_eq!(process.get(URI, &[]).await.outcome, "miss");
}

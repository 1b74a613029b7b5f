//! The server dies, hangs, and comes back while requests run: no request fails, none takes longer than the store's
//! timeout allows, and hits come back by themselves.

use tower_cache::Cache;
use tower_cache::redis::{RedisStore, RedisStoreBuilder};

use crate::load::{Load, STORE_TIMEOUT, origin};
use crate::server::{Cluster, Server, rejoin};
use crate::support::{Origin, Process};

fn process(store: RedisStoreBuilder, origin: &Origin) -> Process {
    Process::with(Cache::builder().store(store.build().unwrap()).store_timeout(STORE_TIMEOUT), origin)
}

fn two(server: &Server, origin: &Origin) -> [Process; 2] {
    [(); 2].map(|()| process(RedisStore::builder(&server.url()).unwrap(), origin))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again() {
    let mut server = Server::start();
    let load = Load::on(&two(&server, &origin()));
    load.until_hits().await;
    let usual = load.until_hits().await;
    server.kill();
    load.more(600).await.took_no_longer_than(&usual);
    server.restart();
    load.until_hits().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_continued() {
    let server = Server::start();
    let origin = origin();
    let load = Load::on(&two(&server, &origin));
    load.until_hits().await;
    let usual = load.until_hits().await;
    server.pause(true);
    let calls = origin.calls();
    load.more(600).await.took_no_longer_than(&usual);
    assert!(origin.calls() > calls, "the origin answers meanwhile");
    server.pause(false);
    load.until_hits().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refilled_with_rubbish() {
    let server = Server::start();
    let load = Load::on(&two(&server, &origin()));
    load.until_hits().await;
    let usual = load.until_hits().await;
    let mut connection = server.connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    for key in &keys {
        redis::pipe().del(key).set(key, "rubbish").exec(&mut connection).unwrap();
    }
    load.more(600).await.took_no_longer_than(&usual);
    load.until_hits().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_three_lost() {
    let mut cluster = Cluster::start();
    let origin = origin();
    let processes = [(); 2].map(|()| {
        let urls = cluster.urls();
        process(RedisStore::cluster(urls.iter().map(String::as_str)).unwrap(), &origin)
    });
    let load = Load::on(&processes);
    load.until_hits().await;
    let usual = load.until_hits().await;
    cluster.nodes[1].kill();
    load.more(600).await.took_no_longer_than(&usual);
    cluster.nodes[1].restart();
    rejoin(&cluster);
    load.until_hits().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_there_when_the_process_starts() {
    let mut server = Server::start();
    server.kill();
    let load = Load::on(&two(&server, &origin()));
    load.more(600).await;
    server.restart();
    load.until_hits().await;
    load.end().await;
}

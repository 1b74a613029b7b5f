//! The server dies, hangs, and comes back while requests run: none of them notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tower_cache::Cache;
use tower_cache::redis::RedisStore;

use crate::server::Server;
use crate::support::{Origin, Process};

/// Requests without pause, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    hits: Arc<AtomicUsize>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

const KEYS: usize = 20;

impl Load {
    fn on(process: &Process) -> Self {
        let (stop, sent, hits) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let workers = (0..8).map(|worker| {
            let (stop, sent, hits) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&hits));
            let process = process.clone();
            tokio::spawn(async move {
                let mut n = worker;
                while !stop.load(Ordering::Relaxed) {
                    n = (n + 7) % KEYS;
                    let got = process.get(&format!("http://example.com/{n}"), &[]).await;
                    assert_eq!((got.status.as_u16(), &*got.body), (200, &*format!("/{n}")));
                    sent.fetch_add(1, Ordering::Relaxed);
                    hits.fetch_add(usize::from(got.outcome == "hit"), Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        });
        let workers = workers.collect();
        Self { stop, sent, hits, workers }
    }

    /// Waits for so many more requests.
    async fn more(&self, requests: usize) {
        let until = self.sent.load(Ordering::Relaxed) + requests;
        while self.sent.load(Ordering::Relaxed) < until {
            assert!(self.workers.iter().all(|worker| !worker.is_finished()), "a request failed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nine of ten requests are hits.
    async fn until_hits(&self) {
        for _ in 0..200 {
            let (sent, hits) = (self.sent.load(Ordering::Relaxed), self.hits.load(Ordering::Relaxed));
            self.more(200).await;
            let (sent, hits) =
                (self.sent.load(Ordering::Relaxed) - sent, self.hits.load(Ordering::Relaxed) - hits);
            if hits * 10 >= sent * 9 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("hits do not come back");
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

fn origin() -> Origin {
    Origin::new(|request, _| {
        crate::support::response(&[("cache-control", "max-age=600")], request.uri.path().into())
    })
}

fn process(server: &Server, origin: &Origin) -> Process {
    let store = RedisStore::new(&server.url()).unwrap();
    Process::with(Cache::builder().store(store), origin)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again() {
    let mut server = Server::start();
    let load = Load::on(&process(&server, &origin()));
    load.until_hits().await;
    server.kill();
    load.more(500).await;
    server.restart();
    load.until_hits().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_continued() {
    let server = Server::start();
    let origin = origin();
    let load = Load::on(&process(&server, &origin));
    load.until_hits().await;
    server.pause(true);
    let calls = origin.calls();
    load.more(500).await;
    assert!(origin.calls() > calls, "the origin answers meanwhile");
    server.pause(false);
    load.until_hits().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refilled_with_rubbish() {
    let server = Server::start();
    let load = Load::on(&process(&server, &origin()));
    load.until_hits().await;
    let mut connection = server.connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    for key in &keys {
        redis::pipe().del(key).set(key, "rubbish").exec(&mut connection).unwrap();
    }
    load.until_hits().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_there_when_the_process_starts() {
    let mut server = Server::start();
    server.kill();
    let origin = origin();
    let process = process(&server, &origin);
    let load = Load::on(&process);
    load.more(500).await;
    server.restart();
    load.until_hits().await;
    load.end().await;
}

//! Several processes that miss the same response at once: one asks the origin.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{PATIENCE, Server, within};
use crate::support::{Origin, Process, URI};

/// What the processes ask: notes who comes, and answers when it is told to.
struct Gate {
    address: String,
    calls: Arc<AtomicUsize>,
    /// The number of the process that asks, for each call.
    callers: Receiver<String>,
    open: Sender<()>,
}

impl Gate {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (calls, (caller, callers), (open, opened)) =
            (Arc::<AtomicUsize>::default(), channel(), channel::<()>());
        let counter = Arc::clone(&calls);
        std::thread::spawn(move || {
            let waiting = Arc::new(std::sync::Mutex::new(opened));
            for stream in listener.incoming() {
                let (caller, counter, waiting) = (caller.clone(), Arc::clone(&counter), Arc::clone(&waiting));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut line = String::new();
                    BufReader::new(&stream).read_line(&mut line).unwrap();
                    counter.fetch_add(1, Ordering::SeqCst);
                    let _ = caller.send(line.trim().to_owned());
                    let _ = waiting.lock().unwrap().recv();
                    let _ = stream.write_all(b"the answer");
                });
            }
        });
        Self { address, calls, callers, open }
    }
}

/// Runs in a process of its own: asks once, and says what it got.
#[tokio::test]
async fn child() {
    let Ok(url) = std::env::var("TOWER_CACHE_TEST_STORE") else { return };
    let (gate, name) =
        (std::env::var("TOWER_CACHE_TEST_GATE").unwrap(), std::env::var("TOWER_CACHE_TEST_NAME").unwrap());
    let service = tower::service_fn(move |_: http::Request<String>| {
        let (gate, name) = (gate.clone(), name.clone());
        async move {
            let mut stream = tokio::net::TcpStream::connect(gate).await?;
            stream.write_all(format!("{name}\n").as_bytes()).await?;
            let mut body = String::new();
            stream.read_to_string(&mut body).await?;
            Response::builder()
                .header("cache-control", "max-age=600")
                .body(body)
                .map_err(std::io::Error::other)
        }
    });
    let store = tower_cache::redis::RedisStore::builder(&url).unwrap();
    let store = store.max_wait(PATIENCE).step_timeout(PATIENCE).build().unwrap();
    let cache = tower_cache::Cache::builder().store(store).store_timeout(PATIENCE).build().unwrap();
    let service = tower::Layer::layer(&tower_cache::CacheLayer::new(cache), service);
    println!("begins");
    let request = http::Request::get(URI).body(String::new()).unwrap();
    let response = tower::ServiceExt::oneshot(service.clone(), request).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    println!("got {}", std::str::from_utf8(&body).unwrap());
    // What is stored in the background is stored before the process ends.
    let stored = async {
        loop {
            let request = http::Request::get(URI).header("cache-control", "only-if-cached");
            let request = request.body(String::new()).unwrap();
            if tower::ServiceExt::oneshot(service.clone(), request).await.unwrap().status() == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, stored).await.expect("it is stored");
}

fn spawn(server: &Server, gate: &str, name: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "processes::child", "--nocapture", "--test-threads", "1"]);
    command.env("TOWER_CACHE_TEST_STORE", server.url()).env("TOWER_CACHE_TEST_GATE", gate);
    command.env("TOWER_CACHE_TEST_NAME", name.to_string()).stdout(Stdio::piped()).spawn().unwrap()
}

fn output(child: &mut Child) -> String {
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    let _ = child.wait();
    output
}

/// Processes that look at the lock, as the server counts: all but the holder do again and again.
fn wait_until_all_wait(server: &Server) {
    let looks = || -> usize {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut server.connection()).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap_or("0");
        line.split(',').next().unwrap().parse().unwrap()
    };
    assert!(within(PATIENCE, || looks() > 30), "nobody waits");
}

/// Runs a round until nothing but the test ended a lock: a holder that gets no processor for a second loses it, which
/// costs a call. A round says how many calls there were besides those that have to be, and how many locks ended by
/// themselves besides those that have to.
fn undisturbed(round: impl Fn() -> (usize, usize)) {
    for _ in 0..20 {
        let (calls, ended) = round();
        assert!(calls <= ended, "{calls} calls too many, {ended} locks that ended");
        if calls == 0 {
            return;
        }
    }
    panic!("locks end in each round");
}

#[test]
fn four_processes_are_one_call() {
    undisturbed(|| {
        let (server, Gate { address, calls, callers, open }) = (Server::start(), Gate::new());
        let mut children: Vec<Child> = (0..4).map(|name| spawn(&server, &address, name)).collect();
        callers.recv().unwrap();
        wait_until_all_wait(&server);
        open.send(()).unwrap();
        // Should one ask besides, it must not hang.
        drop(open);
        for child in &mut children {
            let output = output(child);
            assert!(output.contains("got the answer"), "{output}");
        }
        (calls.load(Ordering::SeqCst) - 1, server.expired())
    });
}

#[test]
fn a_holder_that_is_killed_costs_one_more_call() {
    undisturbed(|| {
        let (server, Gate { address, calls, callers, open }) = (Server::start(), Gate::new());
        let mut children: Vec<Child> = (0..4).map(|name| spawn(&server, &address, name)).collect();
        let holder: usize = callers.recv().unwrap().parse().unwrap();
        wait_until_all_wait(&server);
        children[holder].kill().unwrap();
        children[holder].wait().unwrap();
        callers.recv().unwrap();
        drop(open);
        for (name, child) in children.iter_mut().enumerate().filter(|(name, _)| *name != holder) {
            let output = output(child);
            assert!(output.contains("got the answer"), "{name}: {output}");
        }
        (calls.load(Ordering::SeqCst) - 2, server.expired() - 1)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shared_is_waited_for_by_nobody_for_long() {
    let server = Server::start();
    let origin = Origin::sends(&[("cache-control", "no-store")]);
    let processes: Vec<Process> = (0..4).map(|_| Process::new(&server.url(), &origin)).collect();
    processes[0].get(URI, &[]).await;
    let marked = || {
        let lock: Option<String> = redis::cmd("KEYS")
            .arg("*:l:*")
            .query::<Vec<String>>(&mut server.connection())
            .unwrap()
            .into_iter()
            .next()
            .and_then(|key| redis::cmd("GET").arg(key).query(&mut server.connection()).ok());
        lock.as_deref() == Some("-")
    };
    assert!(within(Duration::from_secs(10), marked));
    let closed = origin.gate.acquire_many(1000).await.unwrap();
    let asks: Vec<_> = processes[1..]
        .iter()
        .cloned()
        .map(|process| tokio::spawn(async move { process.get(URI, &[]).await }))
        .collect();
    // All of them are at the origin at once.
    while origin.calls() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(closed);
    for ask in asks {
        assert_eq!(ask.await.unwrap().outcome, "miss");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_in_every_process_get_what_one_fetched() {
    let runtime = tokio::runtime::Handle::current();
    let round = async || {
        let server = Server::start();
        let origin = Origin::sends(&[("cache-control", "max-age=600")]);
        let processes: Vec<Process> = (0..4).map(|_| Process::new(&server.url(), &origin)).collect();
        let closed = origin.gate.acquire_many(1000).await.unwrap();
        let asks: Vec<_> = (0..400)
            .map(|n| {
                let process = processes[n % 4].clone();
                tokio::spawn(async move { process.get(URI, &[]).await })
            })
            .collect();
        wait_until_all_wait(&server);
        drop(closed);
        let mut bodies = std::collections::HashSet::new();
        for ask in asks {
            let got = ask.await.unwrap();
            assert_eq!(got.status, 200);
            bodies.insert(got.body);
        }
        assert!(bodies.len() <= origin.calls() && bodies.contains("1"), "{bodies:?}");
        (origin.calls() - 1, server.expired())
    };
    tokio::task::block_in_place(|| undisturbed(|| runtime.block_on(round())));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_waiting_each_process_asks() {
    let server = Server::start();
    let origin = Origin::sends(&[("cache-control", "max-age=600")]);
    let closed = origin.gate.acquire_many(1000).await.unwrap();
    let asks: Vec<_> = (0..4)
        .map(|_| {
            let store = tower_cache::redis::RedisStore::builder(&server.url()).unwrap();
            let process = Process::of(store.max_wait(Duration::ZERO), &origin);
            tokio::spawn(async move { process.get(URI, &[]).await })
        })
        .collect();
    while origin.calls() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(closed);
    for ask in asks {
        assert_eq!(ask.await.unwrap().outcome, "miss");
    }
}

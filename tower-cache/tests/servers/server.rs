//! Real servers on free ports of the loopback, gone when the test is.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A `redis-server`, or what `TOWER_CACHE_SERVER` names: a `valkey-server`.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
        // Somebody else may take a port between the look and the start.
        for _ in 0..10 {
            let port = free_port();
            if let Some(child) = launch(port, folder.path(), &arguments) {
                return Self { child, port, folder, arguments };
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Again on the same port, empty.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = launch(self.port, self.folder.path(), &self.arguments).unwrap();
    }

    /// SIGSTOP and SIGCONT.
    pub(crate) fn pause(&self, pause: bool) {
        let signal = if pause { "-STOP" } else { "-CONT" };
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Keys that have ended by themselves.
    pub(crate) fn expired(&self) -> usize {
        let info: String = redis::cmd("INFO").arg("stats").query(&mut self.connection()).unwrap();
        let count = info.lines().find_map(|line| line.strip_prefix("expired_keys:")).unwrap();
        count.parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn program() -> String {
    std::env::var("TOWER_CACHE_SERVER").unwrap_or_else(|_| "redis-server".into())
}

fn launch(port: u16, folder: &Path, arguments: &[String]) -> Option<Child> {
    let program = program();
    let mut command = Command::new(&program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder).args(arguments).stdout(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let own = format!("process_id:{}\r\n", child.id());
    let came = within(PATIENCE, || {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        // It listens on all of its ports by then. Another server may have been faster, and this one is about to end.
        client.get_connection().is_ok_and(|mut connection| {
            let info = redis::cmd("INFO").arg("server").query::<String>(&mut connection);
            info.is_ok_and(|info| info.contains(&own))
        })
    });
    (came && child.try_wait().unwrap().is_none()).then_some(child)
}

/// Below the ports that the system hands out, so that no connection takes it while a server is away; each is given once.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Far from where a process beside this one begins.
    let start = (std::process::id() * 509 % 12_000) as u16;
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        // A cluster talks on a port 10,000 above.
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}

/// How long a busy machine may take for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until it is so; whether it was in time.
pub(crate) fn within(limit: Duration, mut check: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !check() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Three nodes that are one.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let settings = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            // The nodes that are left answer for what they have.
            "--cluster-require-full-coverage",
            "no",
        ];
        let nodes: Vec<Server> = (0..3).map(|_| Server::with(&settings)).collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(addresses).args([
            "--cluster-replicas",
            "0",
            "--cluster-yes",
        ]);
        assert!(create.stdout(Stdio::null()).status().expect("redis-cli is installed").success());
        let ready = || {
            nodes.iter().all(|node| {
                let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut node.connection()).unwrap();
                info.contains("cluster_state:ok")
            })
        };
        assert!(within(PATIENCE, ready), "the cluster does not come together");
        Self { nodes }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }
}

/// Waits until a node that was away is back among the others.
pub(crate) fn rejoin(cluster: &Cluster) {
    let whole = || {
        cluster.nodes.iter().all(|node| {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut node.connection()).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        })
    };
    assert!(within(PATIENCE, whole), "the cluster does not come together again");
}

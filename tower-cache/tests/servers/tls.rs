//! `rediss://`.
#![cfg(feature = "redis-tls")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tower_cache::redis::RedisStore;

use crate::server::{PATIENCE, Server, free_port, within};
use crate::support::{Origin, Process, URI};

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().expect("openssl is installed").success(), "openssl {arguments}");
}

/// An authority and a server that it vouches for.
struct Certified {
    folder: TempDir,
}

impl Certified {
    fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        for arguments in [
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
            "req -newkey rsa:2048 -nodes -keyout own.key -out own.csr -subj /CN=server",
            "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -days 2 -extfile names",
        ] {
            openssl(folder.path(), arguments);
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a client has to trust.
    fn trusted(&self) -> redis::TlsCertificates {
        let root_cert = Some(std::fs::read(self.file("ca.pem")).unwrap());
        redis::TlsCertificates { client_tls: None, root_cert }
    }

    /// A server on this port.
    fn server(&self, port: u16, more: &[&str]) -> Server {
        let file = |name: &str| self.file(name).to_str().unwrap().to_owned();
        let port = port.to_string();
        let (certificate, key, authority) = (file("own.pem"), file("own.key"), file("ca.pem"));
        let own = [
            ["--tls-port", &port],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-ca-cert-file", &authority],
            ["--tls-auth-clients", "no"],
        ];
        Server::with(&[own.as_flattened(), more].concat())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_trusted_where_its_certificate_is() {
    let certified = Certified::new();
    let port = free_port();
    let _server = certified.server(port, &[]);
    let url = format!("rediss://127.0.0.1:{port}");
    let origin = Origin::sends(&[("cache-control", "max-age=600")]);
    let client = redis::Client::build_with_tls(url.as_str(), certified.trusted()).unwrap();
    let process = Process::of(RedisStore::of_client(client), &origin);
    process.get(URI, &[]).await;
    process.until_hit(URI, &[]).await;

    let stranger = Process::of(RedisStore::builder(&url).unwrap(), &origin);
    let got = stranger.get(URI, &[]).await;
    assert_eq!((got.status.as_u16(), got.outcome), (200, "miss"), "nobody vouches for it");
    assert!(stranger.handle.purge_all().await.is_err());
}

/// Three nodes that talk to each other over TLS too, and their addresses.
fn cluster(certified: &Certified) -> (Vec<Server>, Vec<String>) {
    let settings = [
        ["--cluster-enabled", "yes"],
        ["--cluster-node-timeout", "1000"],
        ["--cluster-require-full-coverage", "no"],
        ["--tls-cluster", "yes"],
        ["--tls-replication", "yes"],
    ];
    let ports = [(); 3].map(|()| free_port());
    let nodes: Vec<Server> =
        ports.iter().map(|port| certified.server(*port, settings.as_flattened())).collect();
    let mut create = Command::new("redis-cli");
    create.arg("--tls").arg("--cacert").arg(certified.file("ca.pem")).args(["--cluster", "create"]);
    create.args(ports.map(|port| format!("127.0.0.1:{port}")));
    create.args(["--cluster-replicas", "0", "--cluster-yes"]);
    assert!(create.stdout(Stdio::null()).status().expect("redis-cli is installed").success());
    let ready = || {
        nodes.iter().all(|node| {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut node.connection()).unwrap();
            info.contains("cluster_state:ok")
        })
    };
    assert!(within(PATIENCE, ready), "the cluster does not come together");
    (nodes, ports.map(|port| format!("rediss://127.0.0.1:{port}")).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_a_cluster_whose_nodes_have_it() {
    let certified = Certified::new();
    let (mut nodes, urls) = cluster(&certified);
    let origin = Origin::sends(&[("cache-control", "max-age=600")]);
    let process = || {
        let client = redis::cluster::ClusterClientBuilder::new(urls.clone()).certs(certified.trusted());
        Process::of(RedisStore::of_cluster(client.build().unwrap()), &origin)
    };
    let (one, other) = (process(), process());
    let uri = |n: usize| format!("http://example.com/{n}");
    for n in 0..30 {
        one.get(&uri(n), &[]).await;
    }
    for n in 0..30 {
        other.until_hit(&uri(n), &[]).await;
    }
    for node in &nodes {
        let keys: usize = redis::cmd("DBSIZE").query(&mut node.connection()).unwrap();
        assert!(keys > 3, "{keys}");
    }
    one.handle.purge_all().await.unwrap();
    other.until_gone(&uri(2)).await;

    let stranger = RedisStore::cluster(urls.iter().map(String::as_str)).unwrap();
    let stranger = Process::of(stranger, &origin);
    let got = stranger.get(&uri(2), &[]).await;
    assert_eq!((got.status.as_u16(), got.outcome), (200, "miss"), "nobody vouches for it");

    nodes[0].kill();
    for n in 0..30 {
        assert_eq!(other.get(&uri(n), &[]).await.status, 200);
    }
}

//! `rediss://`.
#![cfg(feature = "redis-tls")]

use std::path::Path;
use std::process::{Command, Stdio};

use tower_cache::redis::RedisStore;

use crate::server::{Server, free_port};
use crate::support::{Origin, Process, URI};

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().expect("openssl is installed").success(), "openssl {arguments}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_trusted_where_its_certificate_is() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        folder.path(),
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
    );
    openssl(folder.path(), "req -newkey rsa:2048 -nodes -keyout own.key -out own.csr -subj /CN=server");
    openssl(
        folder.path(),
        "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -days 2 -extfile names",
    );
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let port = free_port().to_string();
    let (certificate, key, authority) = (file("own.pem"), file("own.key"), file("ca.pem"));
    let _server = Server::with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &authority,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://127.0.0.1:{port}");
    let certificates = |root_cert: Option<Vec<u8>>| redis::TlsCertificates { client_tls: None, root_cert };
    let origin = Origin::sends(&[("cache-control", "max-age=600")]);
    let root = std::fs::read(&authority).unwrap();
    let client = redis::Client::build_with_tls(url.as_str(), certificates(Some(root))).unwrap();
    let process = Process::of(RedisStore::of_client(client), &origin);
    process.get(URI, &[]).await;
    process.until_hit(URI, &[]).await;

    let stranger = Process::of(RedisStore::builder(&url).unwrap(), &origin);
    let got = stranger.get(URI, &[]).await;
    assert_eq!((got.status.as_u16(), got.outcome), (200, "miss"), "nobody vouches for it");
    assert!(stranger.handle.purge_all().await.is_err());
}

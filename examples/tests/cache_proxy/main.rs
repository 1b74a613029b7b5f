//! The caching reverse proxy as a program: what comes in, what goes out, how it ends.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod messages;

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start(upstream: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cache-proxy"));
        command
            .args(["--listen", "127.0.0.1:0", "--upstream", &format!("http://{upstream}")])
            .args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}"));
        Self { address: address.parse().unwrap(), child }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An origin that answers with its number of calls, and what it was sent last.
struct Origin {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    last: Arc<Mutex<HeaderMap>>,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, calls, last) =
            (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default(), Arc::default());
        let origin = Self { address, calls: Arc::clone(&calls), last: Arc::clone(&last) };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (calls, last) = (Arc::clone(&calls), Arc::clone(&last));
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (calls, last) = (Arc::clone(&calls), Arc::clone(&last));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body =
                            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                        *last.lock().unwrap() = parts.headers;
                        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
                        let response = Response::builder()
                            .header("cache-control", "max-age=600")
                            .header("connection", "x-hop")
                            .header("x-hop", "origin")
                            .body(Full::new(Bytes::from(format!("{call} {}", body.len()))));
                        Ok::<_, Infallible>(response.unwrap())
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move { connection.serve_connection(TokioIo::new(stream), service).await });
            }
        });
        origin
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn get(
    client: &Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
    uri: &str,
) -> (Response<()>, String) {
    let request = Request::get(uri).header("connection", "keep-alive").header("keep-alive", "timeout=5");
    let request = request.body(Full::default()).unwrap();
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn http1_and_http2_come_in_and_share_what_is_stored() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(origin.address, &["--max-bytes", "1000000"]);
    let one = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{}/a", proxy.address);
    let (response, body) = get(&one, &uri).await;
    assert_eq!((response.version(), &*body), (Version::HTTP_11, "1 0"));
    assert_eq!(response.headers()["via"], "1.1 cache-proxy");
    assert_eq!(response.headers()["cache-status"], "tower-cache; fwd=uri-miss; fwd-status=200; stored");
    assert!(!response.headers().contains_key("x-hop"), "it concerns the connection to the origin");
    let sent = origin.last.lock().unwrap().clone();
    assert_eq!((&sent["via"], sent.contains_key("keep-alive")), (&"1.1 cache-proxy".parse().unwrap(), false));
    let two = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::get(&uri).body(Full::<Bytes>::default()).unwrap();
    let response = two.request(request).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert!(response.headers()["cache-status"].to_str().unwrap().starts_with("tower-cache; hit"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "1 0");
    let large = Request::post(&uri).body(Full::new(Bytes::from(vec![0; 3_000_000]))).unwrap();
    let response = two.request(large).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "2 3000000");
    assert_eq!(origin.calls(), 2);
    assert_eq!(get(&one, &uri).await.1, "3 0", "a POST invalidates");
}

#[tokio::test]
async fn who_hangs_is_not_waited_for_and_what_may_be_stale_is_the_answer() {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(origin.local_addr().unwrap(), &["--timeout", "0.1"]);
    let hanging = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = origin.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            if held.is_empty() {
                let answer = "HTTP/1.1 200 OK\r\ncache-control: max-age=0, stale-if-error=600\r\nconnection: close\r\n\
                    content-length: 2\r\n\r\nhi";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            held.push(stream);
        }
    });
    let client = Client::builder(TokioExecutor::new()).build_http();
    let kept = format!("http://{}/kept", proxy.address);
    assert_eq!(get(&client, &kept).await.1, "hi");
    let (response, body) = get(&client, &format!("http://{}/other", proxy.address)).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (504, &"application/problem+json".parse().unwrap()),
        "{body}"
    );
    let (response, body) = get(&client, &kept).await;
    assert_eq!((response.status().as_u16(), &*body), (200, "hi"), "stale, as its origin allows");
    hanging.abort();
}

#[tokio::test]
async fn an_upload_takes_as_long_as_its_client() {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(origin.local_addr().unwrap(), &["--timeout", "0.1"]);
    let begun = Arc::new(tokio::sync::Notify::new());
    let seen = Arc::clone(&begun);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = origin.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let (mut buffer, mut request) = (vec![0; 4000], String::new());
                while !request.ends_with("first, second") {
                    let read = stream.read(&mut buffer).await.unwrap();
                    if read == 0 {
                        return;
                    }
                    request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                    if request.ends_with("first, ") {
                        seen.notify_one();
                    }
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            });
        }
    });
    let mut upload = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 13\r\n\r\nfirst, ";
    upload.write_all(head.as_bytes()).await.unwrap();
    begun.notified().await;
    // Asked for later, it has waited for the whole of the time.
    let answer = raw(&proxy, "GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    upload.write_all(b"second").await.unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn what_the_upstream_does_not_answer_is_502() {
    // Held, so that nobody else takes it, and nobody listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let proxy = Proxy::start(address, &["--private"]);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (response, _) = get(&client, &format!("http://{}/", proxy.address)).await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn interim_responses_pass_in_front_of_the_final_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), &[]);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 2000];
        let _ = stream.read(&mut buffer).await.unwrap();
        let hints =
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n";
        let last = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(format!("{hints}{last}").as_bytes()).await.unwrap();
        let _ = stream.read(&mut buffer).await;
    });
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let mut asked = String::new();
    for hinted in [true, false] {
        client.write_all(b"GET /a HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
        asked.clear();
        while !asked.ends_with("\r\n\r\nok") {
            let mut buffer = [0; 2000];
            let read = client.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "{asked}");
            asked.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        let hints = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert_eq!(asked.starts_with(hints), hinted, "{asked}");
        assert!(asked.contains("cache-status: tower-cache; "), "{asked}");
    }
    assert!(asked.starts_with("HTTP/1.1 200 OK\r\n") && asked.contains("tower-cache; hit"), "{asked}");
}

#[tokio::test]
async fn open_requests_end_before_it_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut proxy = Proxy::start(listener.local_addr().unwrap(), &[]);
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(b"GET /a HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 2000];
    let _ = upstream.read(&mut buffer).await.unwrap();
    let status = Command::new("kill").arg(proxy.child.id().to_string()).status().unwrap();
    assert!(status.success());
    while TcpStream::connect(proxy.address).await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 200 OK") && all.ends_with("ok"), "{all}");
    assert!(proxy.child.wait().unwrap().success());
}

#[test]
fn what_cannot_work_is_a_usage_error_that_names_the_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let redis = if cfg!(feature = "redis") { "redis://" } else { "redis://127.0.0.1:1" };
    for (flag, value) in [
        ("--listen", taken.as_str()),
        ("--listen", "localhost"),
        ("--upstream", "127.0.0.1:1"),
        ("--upstream", "https://127.0.0.1:1"),
        ("--upstream", "http://127.0.0.1:1/below"),
        ("--upstream", "http://me@127.0.0.1:1"),
        ("--store", "disk"),
        ("--store", redis),
        ("--max-bytes", "-1"),
        ("--timeout", "0"),
        ("--timeout", "soon"),
    ] {
        let mut arguments = vec![("--listen", "127.0.0.1:0"), ("--upstream", "http://127.0.0.1:1")];
        arguments.retain(|(name, _)| *name != flag);
        arguments.push((flag, value));
        let mut command = Command::new(env!("CARGO_BIN_EXE_cache-proxy"));
        let output =
            command.args(arguments.iter().map(|(name, value)| format!("{name}={value}"))).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag}={value}: {message}");
        assert!(message.contains(flag), "{flag}={value}: {message}");
    }
}

/// What comes back on a connection of its own, to its end.
async fn raw(proxy: &Proxy, request: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_for_one_host() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(origin.address, &[]);
    let ask = async |target: &str, fields: &str| {
        let answer =
            raw(&proxy, &format!("GET {target} HTTP/1.1\r\nConnection: close\r\n{fields}\r\n")).await;
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(ask("/a", "Host: a.example\r\n").await, "200");
    assert_eq!(origin.last.lock().unwrap()["host"], "a.example");
    assert_eq!(ask("/a", "").await, "400");
    assert_eq!(ask("/a", "Host: a.example\r\nHost: b.example\r\n").await, "400");
    assert_eq!(ask("/a", "Host: a.example\r\nConnection: X-Own\r\nX-Own: 1\r\n").await, "200");
    assert!(!origin.last.lock().unwrap().contains_key("x-own"), "it concerns the connection to the client");
    assert_eq!(raw(&proxy, "GET /b HTTP/1.0\r\n\r\n").await.split(' ').nth(1), Some("200"));
    assert_eq!(origin.calls(), 3, "what is refused goes nowhere");
    // The host of the target is the host, whatever Host says.
    assert_eq!(ask("http://c.example/c", "Host: evil.example\r\n").await, "200");
    assert_eq!(origin.last.lock().unwrap()["host"], "c.example");
    assert_eq!(ask("http://user@c.example/d", "Host: c.example\r\n").await, "200");
    assert_eq!(origin.last.lock().unwrap()["host"], "c.example");
}

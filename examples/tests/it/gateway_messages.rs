//! What the gateway passes on of a message, and what it does not: over raw connections on both sides.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use clap::Parser;
use examples::cli::{Arguments, Role};
use examples::component::Running;
use examples::launch;

/// Longer than any answer takes here; nothing waits for it unless it has failed.
const LONG: Duration = Duration::from_secs(10);

/// What the upstream answers to a request for the path, which is `/v2/orders/NAME`.
const SCRIPTS: &[(&str, &str)] = &[
    (
        "gzipped",
        "Transfer-Encoding: gzip, chunked\r\nCache-Control: public, max-age=60\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "chunked",
        "Transfer-Encoding: chunked\r\nCache-Control: public, max-age=60\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
];

/// A gateway without tokens, in front of one raw upstream.
struct Gateway {
    gateway: Running,
    received: Receiver<String>,
}

impl Gateway {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let sender = sender.clone();
                std::thread::spawn(move || answer(stream.unwrap(), &sender));
            }
        });
        let upstreams = [format!("orders={upstream}"), format!("inventory={upstream}")];
        let arguments = Arguments::parse_from([
            "gateway",
            "--role",
            "gateway",
            "--quiet",
            "--without",
            "auth",
            "--issuer",
            "http://127.0.0.1:1",
            "--upstream",
            &upstreams[0],
            "--upstream",
            &upstreams[1],
        ]);
        Self { gateway: launch::one(Role::Gateway, &arguments).unwrap(), received }
    }

    fn ask(&self, start: &str, rest: &str) -> String {
        ask(self.gateway.address, &format!("{start} HTTP/1.1\r\nConnection: close\r\n{rest}"))
    }

    /// What the upstream was sent, one by one.
    fn sent(&self) -> Option<String> {
        self.received.try_recv().ok()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.gateway.stop();
    }
}

/// Reads one request and answers it; what it read is told first.
fn answer(mut stream: TcpStream, sender: &Sender<String>) {
    let (mut buffer, mut request) = ([0; 4096], String::new());
    while !request.contains("\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => request.push_str(&String::from_utf8_lossy(&buffer[..read])),
            _ => return,
        }
    }
    let name =
        request.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned();
    let script = SCRIPTS.iter().find(|(known, _)| *known == name);
    let rest = script.map_or("Content-Length: 2\r\nConnection: close\r\n\r\nok", |(_, rest)| rest);
    let _ = sender.send(request);
    let start = if name == "changed" { "101 Switching Protocols\r\nUpgrade: own" } else { "200 OK" };
    let _ = stream.write_all(format!("HTTP/1.1 {start}\r\n{rest}").as_bytes());
}

pub(crate) fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[test]
fn what_no_gateway_can_pass_on_is_refused() {
    let gateway = Gateway::start();
    let post = |rest: &str| gateway.ask("POST /api/v2/orders", rest);
    assert_eq!(status(&post("Host: a:80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")), "200");
    assert!(gateway.sent().is_some());
    // RFC 9112 §6.1.
    for coding in ["gzip, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked"] {
        let answer = post(&format!("Host: a:80\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"));
        assert_eq!(status(&answer), "501", "{coding}");
    }
    // RFC 9112 §3.2.
    for host in ["", "Host: a:80\r\nHost: a:80\r\n", "Host: a b\r\n", "Host: u@a\r\n", "Host:\r\n"] {
        let answer = post(&format!("{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
        assert_eq!(status(&answer), "400", "{host}");
        assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains("\r\nx-request-id: "), "{answer}");
    }
    for target in ["/api/v2/orders", "a:443"] {
        assert_eq!(status(&gateway.ask(&format!("CONNECT {target}"), "Host: a:443\r\n\r\n")), "501");
    }
    // RFC 9110 §7.6.2.
    assert_eq!(status(&gateway.ask("OPTIONS /api/v2/orders", "Host: a\r\nMax-Forwards: 0\r\n\r\n")), "200");
    assert_eq!(status(&gateway.ask("TRACE /api/v2/orders", "Host: a\r\nMax-Forwards: 0\r\n\r\n")), "501");
    assert_eq!(gateway.sent(), None, "what is refused goes nowhere");
}

#[test]
fn content_that_cannot_be_read_is_no_failure_of_a_replica() {
    let gateway = Gateway::start();
    let post = |chunks: &str| {
        gateway.ask("POST /api/v2/orders", &format!("Host: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"))
    };
    assert_eq!(status(&post("2\r\nok\r\n0\r\n\r\n")), "200");
    for chunks in ["+2\r\nok\r\n0\r\n\r\n", "x\r\nok\r\n0\r\n\r\n", "10000000000000002\r\nok\r\n0\r\n\r\n"] {
        assert_eq!(status(&post(chunks)), "400", "{chunks}");
    }
}

#[test]
fn connection_names_nothing_that_the_gateway_adds() {
    let gateway = Gateway::start();
    let stamps = "x-request-id, traceparent, tracestate, via";
    for connection in ["", &format!("Connection: x-mine, {stamps}\r\n")] {
        let rest = format!("Host: a\r\nX-Mine: 1\r\nX-Request-Id: seven\r\n{connection}\r\n");
        assert_eq!(status(&gateway.ask("POST /api/v2/orders", &rest)), "200");
        let sent = gateway.sent().unwrap();
        for kept in ["x-request-id: seven\r\n", "traceparent: 00-", "via: 1.1 gateway-1\r\n"] {
            assert!(sent.contains(kept), "{kept} {sent}");
        }
        // RFC 9110 §7.6.1.
        assert_eq!(sent.contains("x-mine: 1\r\n"), connection.is_empty(), "{sent}");
        assert!(!sent.contains("connection: "), "{sent}");
    }
}

#[test]
fn paths_that_nobody_serves_are_404() {
    let gateway = Gateway::start();
    assert_eq!(status(&gateway.ask("GET /api/v2/orders", "Host: a\r\n\r\n")), "200");
    for path in ["/api/v2/nothing", "/api/v2", "/api/v2/orders;x", "/api/v1/v2/orders"] {
        let answer = gateway.ask(&format!("GET {path}"), "Host: a\r\n\r\n");
        assert_eq!(status(&answer), "404", "{path}");
        assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
    }
}

/// Whoever reads them as one (RFC 3986 §6.2.2) serves what nobody was allowed here.
#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let gateway = Gateway::start();
    for path in ["/api/v2/orders/..x", "/api/v2/orders/a..", "/api/v2/orders/...", "/api/v2/orders/x?../y"] {
        assert_eq!(status(&gateway.ask(&format!("GET {path}"), "Host: a\r\n\r\n")), "200", "{path}");
        assert!(gateway.sent().is_some());
    }
    for path in ["../stock", "%2e%2e/stock", ".%2E", "./x", "..", "..%2fstock", "..%5cstock", "..\\stock"] {
        let answer = gateway.ask(&format!("GET /api/v2/orders/{path}"), "Host: a\r\n\r\n");
        assert_eq!(status(&answer), "400", "{path}");
    }
    assert_eq!(gateway.sent(), None);
}

/// The gateway judges by method and path: nobody behind it is to take others for it.
#[test]
fn fields_that_name_another_method_or_target_end_at_the_gateway() {
    let gateway = Gateway::start();
    let fields = [
        "x-http-method-override: DELETE",
        "x-http-method: DELETE",
        "x-method-override: DELETE",
        "x-original-url: /v2/stock",
        "x-rewrite-url: /v2/stock",
    ];
    let rest = format!("Host: a\r\nX-Mine: 1\r\n{}\r\n\r\n", fields.join("\r\n"));
    assert_eq!(status(&gateway.ask("GET /api/v2/orders/disguised", &rest)), "200");
    let sent = gateway.sent().unwrap();
    assert!(sent.contains("x-mine: 1\r\n"), "{sent}");
    for field in fields {
        assert!(!sent.contains(field), "{sent}");
    }
}

/// RFC 9112 §3.2.2.
#[test]
fn the_host_that_was_asked_for_is_that_of_the_target() {
    let gateway = Gateway::start();
    for (target, host) in [("/api/v2/orders/1", "a"), ("http://b:80/api/v2/orders/2", "b:80")] {
        assert_eq!(status(&gateway.ask(&format!("GET {target}"), "Host: a\r\n\r\n")), "200");
        let sent = gateway.sent().unwrap();
        assert!(sent.contains(&format!("host: {host}\r\n")), "{sent}");
        assert!(sent.starts_with("GET /v2/orders/"), "{sent}");
    }
}

#[test]
fn what_a_replica_may_not_answer_is_502() {
    let gateway = Gateway::start();
    let get = |name: &str| gateway.ask(&format!("GET /api/v2/orders/{name}"), "Host: a\r\n\r\n");
    assert!(get("chunked").ends_with("2\r\nok\r\n0\r\n\r\n"));
    // Nobody asked for another protocol (RFC 9110 §7.8), nor could read that coding (RFC 9112 §7).
    for name in ["changed", "gzipped"] {
        assert_eq!(status(&get(name)), "502", "{name}");
    }
}

//! Messages as RFC 9110 and 9112 want an intermediary to pass them on, or not.

use super::*;

/// An upstream that answers each path in these octets, and then closes.
async fn scripted(scripts: &'static [(&'static str, &'static str)]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut buffer, mut request) = (vec![0; 4000], String::new());
                while !request.contains("\r\n\r\n") {
                    let read = stream.read(&mut buffer).await.unwrap();
                    request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                }
                let path = request.split(' ').nth(1).unwrap();
                let (_, script) = scripts.iter().find(|(known, _)| *known == path).unwrap();
                let _ = stream.write_all(script.as_bytes()).await;
            });
        }
    });
    address
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_intermediary_can_pass_on_is_refused() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(origin.address, &[]);
    let ask = async |start: &str, rest: &str| {
        let answer = raw(&proxy, &format!("{start} HTTP/1.1\r\nConnection: close\r\n{rest}")).await;
        status(&answer).to_owned()
    };
    assert_eq!(ask("POST /a", "Host: a:80\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n").await, "200");
    assert_eq!(origin.calls(), 1);
    // RFC 9112 §6.1.
    for coding in ["gzip, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked"] {
        let rest = format!("Host: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        assert_eq!(ask("POST /a", &rest).await, "501", "{coding}");
    }
    // RFC 9112 §3.2.
    for host in ["a b", "a/b", "u@a", "", "a:x", "a, b", "a?b", "a:99999"] {
        assert_eq!(ask("POST /a", &format!("Host: {host}\r\n\r\n")).await, "400", "{host}");
    }
    assert_eq!(ask("CONNECT a:443", "Host: a:443\r\n\r\n").await, "501");
    assert_eq!(origin.calls(), 1, "what is refused goes nowhere");
    // What the client sends cannot be read, which is no failure of the upstream.
    assert_eq!(ask("POST /a", "Host: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n").await, "400");
}

#[tokio::test(flavor = "multi_thread")]
async fn max_forwards_counts_down_and_ends_here() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(origin.address, &[]);
    let ask = async |method: &str, hops: &str| {
        let fields = format!("Connection: close\r\nHost: a\r\nMax-Forwards: {hops}\r\n");
        let answer = raw(&proxy, &format!("{method} /a HTTP/1.1\r\n{fields}\r\n")).await;
        let forwarded = origin.last.lock().unwrap().remove("max-forwards");
        (status(&answer).to_owned(), forwarded.map(|hops| hops.to_str().unwrap().to_owned()))
    };
    let passed = |hops: &str| ("200".to_owned(), Some(hops.to_owned()));
    for method in ["TRACE", "OPTIONS"] {
        assert_eq!(ask(method, "7").await, passed("6"));
        assert_eq!(ask(method, "many").await, passed("many"));
    }
    assert_eq!(ask("POST", "0").await, passed("0"), "it means nothing to other methods");
    assert_eq!(ask("OPTIONS", "0").await, ("200".into(), None));
    assert_eq!(ask("TRACE", "0").await, ("501".into(), None));
    assert_eq!(origin.calls(), 5);
}

const SCRIPTS: &[(&str, &str)] = &[
    ("/plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok"),
    ("/twice", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nCache-Control: max-age=60\r\n\r\nok"),
    (
        "/coded",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "/gzipped",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nCache-Control: max-age=60\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("/changed", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\nown"),
    (
        "/trailers",
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
    ),
];

async fn get_raw(proxy: &Proxy, path: &str, fields: &str) -> String {
    raw(proxy, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_not_that_of_the_content_goes_no_further() {
    let proxy = Proxy::start(scripted(SCRIPTS).await, &[]);
    // Passed on and stored: RFC 9110 §8.6, RFC 9112 §6.3.
    for path in ["/plain", "/twice", "/coded"] {
        let first = get_raw(&proxy, path, "").await;
        let length = first.contains("content-length: 2\r\n") && first.ends_with("\r\n\r\nok");
        let chunked =
            first.contains("transfer-encoding: chunked\r\n") && first.ends_with("2\r\nok\r\n0\r\n\r\n");
        assert!(if path == "/coded" { chunked } else { length }, "{path} {first}");
        let second = get_raw(&proxy, path, "").await;
        assert!(second.contains("tower-cache; hit") && second.ends_with("\r\n\r\nok"), "{path} {second}");
        assert!(second.contains("content-length: 2\r\n") && !second.contains("2, 2"), "{path} {second}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_changes_for_nobody_who_did_not_ask() {
    let proxy = Proxy::start(scripted(SCRIPTS).await, &[]);
    assert_eq!(status(&get_raw(&proxy, "/plain", "").await), "200");
    assert_eq!(status(&get_raw(&proxy, "/changed", "").await), "502");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_in_a_coding_that_nobody_asked_for_goes_no_further() {
    let proxy = Proxy::start(scripted(SCRIPTS).await, &[]);
    assert_eq!(status(&get_raw(&proxy, "/coded", "").await), "200");
    // Without its coding, which ends here, the content would be another (RFC 9112 §6.1 and §7).
    assert_eq!(status(&get_raw(&proxy, "/gzipped", "").await), "502");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_reach_those_who_take_them_from_the_upstream_and_from_the_store() {
    let proxy = Proxy::start(scripted(SCRIPTS).await, &[]);
    for outcome in ["fwd=uri-miss", "hit"] {
        let answer = get_raw(&proxy, "/trailers", "TE: trailers\r\n").await;
        assert!(answer.contains("\r\ntrailer: X-Sum\r\n") && answer.contains(outcome), "{answer}");
        assert!(answer.ends_with("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"), "{answer}");
    }
    let without = get_raw(&proxy, "/trailers", "").await;
    assert!(without.contains("hit") && !without.contains("x-sum: 7"), "{without}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_by_http2_goes_on_as_http1_wants_it() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(origin.address, &[]);
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let sent = async |fields: &[(&'static str, &'static str)]| {
        let mut request = Request::post(format!("http://{}/a", proxy.address));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from_static(b"content"))).unwrap();
        assert_eq!(client.request(request).await.unwrap().status(), 200);
        let all = origin.last.lock().unwrap().clone();
        move |name: &str| {
            let lines = all.get_all(name).iter().map(|line| line.to_str().unwrap().to_owned());
            lines.collect::<Vec<_>>()
        }
    };
    let plain = sent(&[("cookie", "a=1; b=2"), ("content-length", "7")]).await;
    assert_eq!((plain("cookie"), plain("content-length")), (vec!["a=1; b=2".into()], vec!["7".into()]));
    assert_eq!((plain("te"), plain("connection")), (vec![], vec![]));
    // RFC 9113 §8.2.3, RFC 9110 §8.6 and §10.1.4.
    let odd = [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("content-length", "7"),
        ("content-length", "7"),
        ("te", "trailers"),
    ];
    let odd = sent(&odd).await;
    assert_eq!(odd("cookie"), ["a=1; b=2"]);
    assert_eq!(odd("content-length"), ["7"]);
    assert_eq!((odd("te"), odd("connection")), (vec!["trailers".into()], vec!["TE".into()]));
}

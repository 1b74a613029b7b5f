//! How calls end, and what is written down of them.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Empty, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_correlation::CorrelationLayer;
use tower_correlation::observe::{CountRequestLayer, Observe, ObserveLayer};

use crate::observed::{Body, Recorded, lines, ok, request, with_method};

#[tokio::test(start_paused = true)]
async fn a_stream_is_recorded_with_its_whole_duration_and_size_once() {
    let recorded = Recorded::new();
    let _recorder = recorded.install();
    let (lines, builder) = lines();
    let service =
        ObserveLayer::server(builder.build().unwrap()).layer(service_fn(async |_: Request<Body>| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let chunks = stream::iter(0..3).then(async |_| {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"0123456789")))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(chunks)))
        }));
    let response = service.oneshot(request("/")).await.unwrap();
    assert!(lines.all().is_empty(), "not before the end of the body");
    let body = Box::pin(response.into_body());
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 30);
    let line = lines.one();
    let near = |field: &str, expected: f64| (line[field].as_f64().unwrap() - expected).abs() <= 1.0;
    assert!(near("duration_ms", 320.0) && near("ttfb_ms", 20.0), "{line}");
    assert_eq!(line["bytes_out"], 30);
    assert_eq!(line["outcome"], "complete");
    let durations: Vec<f64> = recorded
        .all()
        .into_iter()
        .filter(|(name, ..)| name == "http_server_request_duration_seconds")
        .flat_map(|(.., value)| match value {
            metrics_util::debugging::DebugValue::Histogram(values) => {
                values.iter().map(|value| **value).collect()
            }
            _ => Vec::new(),
        })
        .collect();
    assert!(durations.len() == 1 && (durations[0] - 0.320).abs() <= 0.001, "{durations:?}");
}

/// A body that yields its frames and then fails or never goes on.
#[derive(Clone, Copy)]
enum Then {
    Fail,
    Hang,
}

fn broken(then: Then) -> impl http_body::Body<Data = Bytes, Error = io::Error> + Unpin {
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"part")))]);
    let last = stream::once(async move {
        match then {
            Then::Fail => Err(io::Error::other("broken")),
            Then::Hang => std::future::pending().await,
        }
    });
    StreamBody::new(first.chain(last).boxed())
}

#[tokio::test]
async fn a_body_that_fails_is_an_error_and_one_given_up_is_dropped() {
    for (then, outcome) in [(Then::Fail, "error"), (Then::Hang, "dropped")] {
        let (lines, builder) = lines();
        let service = ObserveLayer::server(builder.build().unwrap()).layer(service_fn(
            move |_: Request<Body>| async move { Ok::<_, Infallible>(Response::new(broken(then))) },
        ));
        let mut body = service.oneshot(request("/")).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok());
        if matches!(then, Then::Fail) {
            assert!(body.frame().await.unwrap().is_err());
        }
        drop(body);
        let line = lines.one();
        assert_eq!(line["outcome"], outcome);
        assert_eq!(line["status"], 200);
        assert_eq!(line["bytes_out"], 4);
    }
}

#[tokio::test]
async fn an_error_and_a_call_given_up_before_the_head_have_no_status() {
    let recorded = Recorded::new();
    let _recorder = recorded.install();
    let (lines, builder) = lines();
    let layer = ObserveLayer::server(builder.build().unwrap());
    let failing =
        layer.layer(service_fn(async |_: Request<Body>| Err::<Response<Body>, _>(io::Error::other("x"))));
    assert_eq!(failing.oneshot(request("/")).await.unwrap_err().to_string(), "x");
    let hanging = layer.layer(service_fn(async |_: Request<Body>| {
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    }));
    drop(hanging.oneshot(request("/")));
    let hanging = layer.layer(service_fn(async |_: Request<Body>| {
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    }));
    let mut call = Box::pin(hanging.oneshot(request("/")));
    assert!(futures_util::FutureExt::now_or_never(call.as_mut()).is_none());
    drop(call);
    let all = lines.all();
    // The one that was never polled was never called.
    assert_eq!(
        all.iter().map(|line| line["outcome"].as_str().unwrap()).collect::<Vec<_>>(),
        ["error", "dropped"]
    );
    assert!(all.iter().all(|line| line.get("status").is_none()));
    let labels: Vec<_> = recorded.all().into_iter().flat_map(|(_, labels, _)| labels).collect();
    assert!(labels.iter().all(|(name, _)| name != "http_response_status_code"), "{labels:?}");
}

#[tokio::test]
async fn bodies_that_nobody_reads_to_the_end_are_complete_when_nothing_is_missing() {
    let answers: [(&str, StatusCode, &str); 4] = [
        ("GET", StatusCode::NO_CONTENT, ""),
        ("GET", StatusCode::OK, ""),
        // The size of what a GET would bring (RFC 9110 §9.3.2).
        ("HEAD", StatusCode::OK, "never sent"),
        ("GET", StatusCode::NOT_MODIFIED, "never sent"),
    ];
    for (method, status, body) in answers {
        let (lines, builder) = lines();
        let service = ObserveLayer::server(builder.build().unwrap()).layer(service_fn(
            move |_: Request<Body>| async move {
                Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(body)).unwrap())
            },
        ));
        drop(service.oneshot(with_method(method)).await.unwrap());
        assert_eq!(lines.one()["outcome"], "complete", "{method} {status}");
    }
    // The same with content that is missing.
    let (lines, builder) = lines();
    let service = ObserveLayer::server(builder.build().unwrap()).layer(service_fn(ok));
    drop(service.oneshot(request("/")).await.unwrap());
    assert_eq!(lines.one()["outcome"], "dropped");
}

/// A body of announced length that does not know its end by itself: after the last byte it is dropped, not polled.
struct Announced(Option<Bytes>);

impl http_body::Body for Announced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.len() as u64))
    }
}

#[tokio::test]
async fn a_known_length_body_that_hyper_drops_early_is_complete() {
    let (lines, builder) = lines();
    let observe = builder.build().unwrap();
    let app = axum::Router::new()
        .route(
            "/known",
            axum::routing::get(async || {
                Response::new(axum::body::Body::new(Announced(Some("0123456789".into()))))
            }),
        )
        .route("/full", axum::routing::get(async || "0123456789"))
        .layer(ObserveLayer::server(observe));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    for (number, (method, path)) in
        [("GET", "/known"), ("GET", "/full"), ("HEAD", "/known"), ("HEAD", "/full")].into_iter().enumerate()
    {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let call = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        client.write_all(call.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.to_ascii_lowercase().contains("content-length: 10"), "{answer}");
        assert_eq!(answer.ends_with("0123456789"), method == "GET");
        let line = lines.all().pop().unwrap();
        assert_eq!(lines.all().len(), number + 1);
        assert_eq!(line["outcome"], "complete", "{method} {path}: {line}");
        assert_eq!(line["bytes_out"], if method == "GET" { 10 } else { 0 });
    }
    server.abort();
}

#[tokio::test]
async fn the_grpc_status_comes_from_trailers_or_from_a_head_without_body() {
    for (in_head, status) in [(false, "13"), (true, "5")] {
        let (lines, builder) = lines();
        let service = ObserveLayer::server(builder.build().unwrap()).layer(service_fn(
            move |_: Request<Body>| async move {
                let mut fields = HeaderMap::new();
                fields.insert("grpc-status", HeaderValue::from_static(status));
                let mut response = Response::new(());
                let body = match in_head {
                    true => {
                        response.headers_mut().extend(fields);
                        Either::Left(Empty::new())
                    }
                    false => {
                        let data = Frame::data(Bytes::from_static(b"\0\0\0\0\0"));
                        let frames = [data, Frame::trailers(fields)].map(Ok::<_, Infallible>);
                        Either::Right(StreamBody::new(stream::iter(frames)))
                    }
                };
                Ok::<_, Infallible>(response.map(|()| body))
            },
        ));
        let body = service.oneshot(request("/pkg.Service/Method")).await.unwrap().into_body();
        body.collect().await.unwrap();
        let line = lines.one();
        assert_eq!(line["grpc_status"].to_string(), status);
        assert_eq!(line["outcome"], "complete");
        assert_eq!(line["status"], 200);
    }
}

#[tokio::test]
async fn request_bytes_are_the_announced_size_or_what_is_counted() {
    let (known, builder) = lines();
    let service =
        ObserveLayer::server(builder.build().unwrap()).layer(service_fn(async |request: Request<Body>| {
            request.into_body().collect().await.unwrap();
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }));
    service.oneshot(Request::new(Body::from("seven b"))).await.unwrap();
    assert_eq!(known.one()["bytes_in"], 7);

    let streamed = || {
        let chunks =
            [Bytes::from_static(b"abc"), Bytes::from_static(b"de"), Bytes::from_static(b"never read")];
        Request::new(StreamBody::new(stream::iter(chunks.map(|data| Ok::<_, Infallible>(Frame::data(data))))))
    };
    for counts in [false, true] {
        let (lines, builder) = lines();
        let service = ServiceBuilder::new()
            .layer(ObserveLayer::server(builder.count_requests(counts).build().unwrap()))
            .layer(CountRequestLayer::new())
            .service(service_fn(async |request: Request<_>| {
                let mut body = std::pin::pin!(request.into_body());
                http_body_util::BodyExt::frame(&mut body).await;
                http_body_util::BodyExt::frame(&mut body).await;
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }));
        service.oneshot(streamed()).await.unwrap();
        let counted = lines.one().get("bytes_in").cloned();
        assert_eq!(counted.map(|bytes| bytes.to_string()), counts.then(|| "5".to_owned()));
    }
}

#[tokio::test]
async fn a_line_has_all_fields() {
    let (lines, builder) = lines();
    let observe = builder
        .service("orders")
        .instance("orders-1")
        .version("1.2.0")
        .route(|extensions| extensions.get::<&'static str>().copied())
        .peer(|extensions| extensions.get::<std::net::IpAddr>().copied())
        .field("cache", |parts| Some(parts.headers.get("cache-status")?.to_str().ok()?.to_owned()))
        .field("absent", |_| None)
        .wall_clock(|| std::time::UNIX_EPOCH + Duration::from_micros(951_782_400_000_250))
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(CorrelationLayer::new())
        .layer(ObserveLayer::server(observe))
        .service(service_fn(async |_: Request<Body>| {
            let answer = Response::builder().status(201).header("cache-status", "x; hit");
            Ok::<_, Infallible>(answer.body(Full::<Bytes>::from("created")).unwrap())
        }));
    let mut call = Request::post("/orders").header("x-request-id", "id-1").body(Body::from("{}")).unwrap();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
    call.headers_mut().insert("traceparent", HeaderValue::from_static(parent));
    call.extensions_mut().insert("/orders");
    call.extensions_mut().insert(std::net::IpAddr::from([192, 0, 2, 7]));
    service.oneshot(call).await.unwrap().into_body().collect().await.unwrap();
    let mut line = lines.one();
    for (field, value) in [
        ("timestamp", "2000-02-29T00:00:00.000250Z"),
        ("level", "INFO"),
        ("message", "call"),
        ("service", "orders"),
        ("instance", "orders-1"),
        ("version", "1.2.0"),
        ("side", "server"),
        ("correlation_id", "id-1"),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("parent_span_id", "b7ad6b7169203331"),
        ("method", "POST"),
        ("route", "/orders"),
        ("outcome", "complete"),
        ("peer", "192.0.2.7"),
        ("kept", "rate"),
        ("cache", "x; hit"),
    ] {
        assert_eq!(line[field].take(), value, "{field}");
    }
    for (field, value) in [("status", 201), ("bytes_in", 2), ("bytes_out", 7), ("weight", 1)] {
        assert_eq!(line[field].take(), value, "{field}");
    }
    assert_eq!(line["span_id"].take().as_str().unwrap().len(), 16);
    assert!(line["duration_ms"].take().as_f64().unwrap() >= line["ttfb_ms"].take().as_f64().unwrap());
    let rest: Vec<&String> =
        line.as_object().unwrap().iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k).collect();
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn server_timing_is_added_on_request_alone() {
    for tell in [false, true] {
        let observe = Observe::builder().server_timing(tell).build().unwrap();
        let inner = service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(
                Response::builder().header("server-timing", "db;dur=5").body(Body::default()).unwrap(),
            )
        });
        let server = ObserveLayer::server(observe.clone()).layer(inner);
        let response = server.oneshot(request("/")).await.unwrap();
        let values: Vec<_> = response.headers().get_all("server-timing").iter().collect();
        assert_eq!(values.len(), 1 + usize::from(tell));
        assert_eq!(values[0], "db;dur=5");
        assert!(!tell || values[1].to_str().unwrap().starts_with("total;dur="));
        let client = ObserveLayer::client(observe).layer(inner);
        let response = client.oneshot(request("/")).await.unwrap();
        assert_eq!(response.headers().get_all("server-timing").iter().count(), 1);
    }
}

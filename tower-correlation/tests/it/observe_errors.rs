//! `error_type` and its like: what the metrics call an error, by OpenTelemetry's conventions.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_correlation::observe::{Observe, ObserveLayer};

use crate::observed::{Body, Recorded, request};

/// The labels of the one series of durations there is, besides method and route.
fn labels(recorded: &Recorded) -> String {
    let all = recorded.all().into_iter();
    let durations: Vec<_> = all.filter(|(name, ..)| name.ends_with("_request_duration_seconds")).collect();
    assert_eq!(durations.len(), 1, "{durations:?}");
    let own =
        durations[0].1.iter().filter(|(name, _)| !matches!(&**name, "http_request_method" | "http_route"));
    own.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn layers() -> [ObserveLayer; 2] {
    let observe = Observe::builder().build().unwrap();
    [ObserveLayer::server(observe.clone()), ObserveLayer::client(observe)]
}

#[tokio::test]
async fn a_status_is_an_error_on_the_side_that_is_told_so() {
    let (code, error) = ("http_response_status_code", "error_type");
    for (status, failed) in [
        (200, [false, false]),
        (101, [false, false]),
        (304, [false, false]),
        (404, [false, true]),
        (499, [false, true]),
        (500, [true, true]),
        (503, [true, true]),
        (799, [true, true]),
    ] {
        for (layer, failed) in layers().into_iter().zip(failed) {
            let recorded = Recorded::new();
            let _recorder = recorded.install();
            let answer = service_fn(move |_: Request<Body>| async move {
                Response::builder().status(status).body(Body::default())
            });
            drop(layer.layer(answer).oneshot(request("/")).await.unwrap());
            let expected =
                if failed { format!("{code}={status} {error}={status}") } else { format!("{code}={status}") };
            assert_eq!(labels(&recorded), expected, "{layer:?}");
        }
    }
}

/// A body that fails, or that nobody waits for any more, after a first frame.
async fn broken(
    status: u16,
    fails: bool,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = io::Error> + Unpin>, Infallible> {
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"part")))]);
    let last = stream::once(async move {
        if fails { Err(io::Error::other("broken")) } else { std::future::pending().await }
    });
    Ok(Response::builder().status(status).body(StreamBody::new(first.chain(last).boxed())).unwrap())
}

#[tokio::test]
async fn what_ends_before_its_end_is_an_error_whatever_its_status() {
    for (status, fails, expected) in [
        (200, true, "http_response_status_code=200 error_type=error"),
        (200, false, "http_response_status_code=200 error_type=dropped"),
        // The status has said it.
        (500, true, "http_response_status_code=500 error_type=500"),
        (500, false, "http_response_status_code=500 error_type=500"),
    ] {
        for layer in layers() {
            let recorded = Recorded::new();
            let _recorder = recorded.install();
            let service = layer.layer(service_fn(move |_: Request<Body>| broken(status, fails)));
            let mut body = service.oneshot(request("/")).await.unwrap().into_body();
            assert!(body.frame().await.unwrap().is_ok());
            assert!(!fails || body.frame().await.unwrap().is_err());
            drop(body);
            assert_eq!(labels(&recorded), expected);
        }
    }
}

#[tokio::test]
async fn without_a_response_there_is_no_status() {
    for layer in layers() {
        let recorded = Recorded::new();
        let _recorder = recorded.install();
        let failing = service_fn(async |_: Request<Body>| Err::<Response<Body>, _>(io::Error::other("x")));
        assert!(layer.layer(failing).oneshot(request("/")).await.is_err());
        assert_eq!(labels(&recorded), "error_type=error");
    }
    for layer in layers() {
        let recorded = Recorded::new();
        let _recorder = recorded.install();
        let hanging = service_fn(async |_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        });
        drop(layer.layer(hanging).call(request("/")));
        assert_eq!(labels(&recorded), "error_type=dropped");
    }
}

/// Which of them are errors is a table of the conventions for gRPC; a code that nobody knows is `UNKNOWN` (gRPC's own rule).
#[tokio::test]
async fn grpc_says_it_by_a_status_of_its_own() {
    let names = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
        "UNKNOWN",
    ];
    for (number, name) in names.into_iter().enumerate() {
        for in_trailers in [true, false] {
            for (layer, server) in layers().into_iter().zip([true, false]) {
                let recorded = Recorded::new();
                let _recorder = recorded.install();
                let answer = service_fn(move |_: Request<Body>| async move {
                    let mut response = Response::new(());
                    let mut trailers = HeaderMap::new();
                    let status = if in_trailers { &mut trailers } else { response.headers_mut() };
                    status.insert("grpc-status", number.into());
                    let body =
                        Body::default().with_trailers(async move { in_trailers.then_some(Ok(trailers)) });
                    // Without a body the head is all there is.
                    Ok::<_, Infallible>(
                        response.map(|()| if in_trailers { body.boxed() } else { Body::default().boxed() }),
                    )
                });
                let response = layer.layer(answer).oneshot(request("/")).await.unwrap();
                response.into_body().collect().await.unwrap();
                let failed = if server { matches!(number, 2 | 4 | 12..=15 | 17..) } else { number != 0 };
                let mut expected = format!("http_response_status_code=200 rpc_response_status_code={name}");
                if failed {
                    expected += &format!(" error_type={name}");
                }
                assert_eq!(labels(&recorded), expected, "{number} {layer:?}");
            }
        }
    }
}

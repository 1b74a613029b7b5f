//! Ends that the transport does not ask for, and ends that nobody wanted.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_correlation::observe::{CountRequestLayer, Observe, ObserveLayer, RequestBody};
use tower_http::catch_panic::CatchPanicLayer;

use crate::observed::{Body, Lines, Recorded, lines, request, with_method};

/// Transports send the trailers and drop the body: nothing may come behind them.
#[tokio::test]
async fn a_body_ends_with_its_trailers() {
    for (trailers, outcome) in [(true, "complete"), (false, "dropped")] {
        let (lines, builder) = lines();
        let answer = service_fn(move |_: Request<Body>| async move {
            let mut fields = HeaderMap::new();
            fields.insert("grpc-status", HeaderValue::from_static("13"));
            let last = if trailers { Frame::trailers(fields) } else { Frame::data(Bytes::from_static(b"d")) };
            let frames = [Ok(Frame::data(Bytes::from_static(b"abc"))), Ok::<_, Infallible>(last)];
            Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
        });
        let service = ObserveLayer::server(builder.build().unwrap()).layer(answer);
        let mut body = service.oneshot(request("/")).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert_eq!(body.frame().await.unwrap().unwrap().is_trailers(), trailers);
        drop(body);
        let line = lines.one();
        assert_eq!(line["outcome"], outcome, "of what comes without trailers nobody knows the end");
        assert_eq!(line.get("grpc_status").is_some(), trailers);
    }
}

fn panicking(
    at: &'static str,
) -> impl Service<
    Request<Body>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin>,
    Error = Infallible,
    Future: Send,
> + Clone {
    service_fn(move |_: Request<Body>| {
        assert_ne!(at, "call");
        async move {
            assert_ne!(at, "head");
            let frames = stream::iter([1]).map_body(at);
            Ok::<_, Infallible>(Response::new(frames))
        }
    })
}

/// A body whose first frame panics where that is said.
trait MapBody {
    fn map_body(self, at: &'static str) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin;
}

impl<S: stream::Stream<Item = i32> + Unpin + Send + 'static> MapBody for S {
    fn map_body(self, at: &'static str) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin {
        StreamBody::new(futures_util::StreamExt::map(self, move |_| {
            assert_ne!(at, "body");
            Ok(Frame::data(Bytes::from_static(b"x")))
        }))
    }
}

fn observed(recorded: &Recorded) -> (Lines, Observe) {
    assert!(recorded.all().is_empty());
    let (lines, builder) = lines();
    (lines, builder.build().unwrap())
}

/// The one who failed is the service, wherever the panic is caught.
#[tokio::test]
async fn a_panic_is_an_error_and_not_a_caller_who_gave_up() {
    for at in ["nowhere", "call", "head", "body"] {
        let recorded = Recorded::new();
        let _recorder = recorded.install();
        let (lines, observe) = observed(&recorded);
        let service = ObserveLayer::server(observe).layer(panicking(at));
        let call = async {
            let mut body = service.oneshot(request("/")).await.unwrap().into_body();
            while let Some(frame) = body.frame().await {
                drop(frame);
            }
        };
        let panicked = AssertUnwindSafe(call).catch_unwind().await.is_err();
        assert_eq!(panicked, at != "nowhere");
        let line = lines.one();
        assert_eq!(line["outcome"], if panicked { "error" } else { "complete" }, "{at}");
        assert_eq!(line.get("status").is_some(), matches!(at, "nowhere" | "body"), "{at}");
    }
}

/// A catcher of panics keeps what panicked until it has answered: the panic is over by then.
#[tokio::test]
async fn a_panic_that_is_caught_outside_is_an_error() {
    let (lines, builder) = lines();
    let service = ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(ObserveLayer::server(builder.build().unwrap()))
        .service(panicking("head"));
    let response = service.oneshot(request("/")).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(lines.one()["outcome"], "error");
}

/// A handle that was told that requests are counted, where nobody counts: what was announced is still known.
#[tokio::test]
async fn a_count_that_nobody_made_is_not_nothing() {
    for counts in [true, false] {
        let (lines, builder) = lines();
        let layer = ObserveLayer::server(builder.count_requests(true).build().unwrap());
        let unread = service_fn(async |_: Request<RequestBody<Body>>| {
            Ok::<_, Infallible>(Response::new(Body::default()))
        });
        let answer = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::default())));
        let call = Request::new(Body::from("five!"));
        if counts {
            drop(layer.layer(CountRequestLayer::new().layer(unread)).oneshot(call).await.unwrap());
        } else {
            drop(layer.layer(answer).oneshot(call).await.unwrap());
        }
        assert_eq!(lines.one()["bytes_in"], if counts { 0 } else { 5 }, "counted: {counts}");
    }
}

/// Bodies that nobody looks at, whatever they would have been.
#[tokio::test]
async fn a_body_dropped_before_its_first_frame_is_what_it_announced() {
    let stream = |status: u16| {
        let frames = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"abc")))]);
        Response::builder().status(status).body(StreamBody::new(frames).boxed()).unwrap()
    };
    let sized = |status: u16, body: &'static str| {
        Response::builder().status(status).body(Body::from(body).boxed()).unwrap()
    };
    for (method, answer, outcome) in [
        ("GET", stream(200), "dropped"),
        ("GET", sized(200, "abc"), "dropped"),
        ("GET", sized(500, "abc"), "dropped"),
        ("GET", sized(200, ""), "complete"),
        ("GET", sized(101, ""), "complete"),
        // What these are followed by is no body (RFC 9110 §6.4.1).
        ("GET", stream(101), "complete"),
        ("GET", stream(204), "complete"),
        ("GET", sized(304, "abc"), "complete"),
        ("HEAD", stream(200), "complete"),
        ("HEAD", sized(500, "abc"), "complete"),
    ] {
        let (lines, builder) = lines();
        let status = answer.status();
        let mut answer = Some(answer);
        let mut service =
            ObserveLayer::server(builder.build().unwrap()).layer(service_fn(move |_: Request<Body>| {
                std::future::ready(Ok::<_, Infallible>(answer.take().unwrap()))
            }));
        drop(service.call(with_method(method)).await.unwrap());
        let line = lines.one();
        assert_eq!((&line["outcome"], &line["bytes_out"]), (&outcome.into(), &0.into()), "{method} {status}");
    }
}

//! Response bodies that are read in other ways than to their end.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::{BoxError, Breaker, HttpBreakerLayer};

use crate::support::{Piece, response};

/// There is nothing to read, whatever body the service gives it (RFC 9110 §9.3.2): hyper drops it unread.
#[tokio::test(start_paused = true)]
async fn an_answer_to_head_is_whole_with_its_head() {
    for (method, calls) in [(Method::GET, 0), (Method::HEAD, 1)] {
        let breaker = Breaker::builder("orders").build().unwrap();
        let streamed = service_fn(|_: Request<()>| {
            let fields = [("content-length", "5")];
            ready(Ok::<_, BoxError>(response(200, &fields, &[Piece::Data("01234")])))
        });
        let known = service_fn(|_: Request<()>| {
            ready(Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(b"01234")))))
        });
        let request = || Request::builder().method(method.clone()).body(()).unwrap();
        let layer = HttpBreakerLayer::new(breaker.clone());
        drop(layer.layer(streamed).oneshot(request()).await.unwrap());
        drop(layer.layer(known).oneshot(request()).await.unwrap());
        assert_eq!((breaker.snapshot().calls, breaker.snapshot().failures), (2 * calls, 0));
    }
}

/// Patience is for one frame, not for all of them.
#[tokio::test(start_paused = true)]
async fn a_slow_stream_that_keeps_coming_has_not_stalled_when_it_is_dropped() {
    let breaker = Breaker::builder("orders").build().unwrap();
    let millis = Duration::from_millis;
    let inner = service_fn(|_: Request<()>| {
        let frames = futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(millis(600)).await;
            Some((Ok::<_, &str>(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        ready(Ok::<_, BoxError>(Response::new(StreamBody::new(Box::pin(frames)))))
    });
    let service = HttpBreakerLayer::new(breaker.clone()).layer(inner);
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    for _ in 0..3 {
        assert!(body.frame().await.unwrap().unwrap().is_data());
    }
    assert!(tokio::time::timeout(millis(500), body.frame()).await.is_err());
    drop(body);
    assert_eq!((breaker.snapshot().calls, breaker.snapshot().failures), (0, 0));
}

/// hyper asks a body whose length it knows for nothing more, and drops it.
#[tokio::test(start_paused = true)]
async fn a_body_of_which_all_that_was_promised_has_come_is_a_success() {
    for (promised, expected) in [("5", (1, 0)), ("10", (0, 0))] {
        let breaker = Breaker::builder("orders").build().unwrap();
        let inner = service_fn(|_: Request<()>| {
            ready(Ok::<_, BoxError>(response(
                200,
                &[("content-length", promised)],
                &[Piece::Data("01234"), Piece::Data("01234")],
            )))
        });
        let service = HttpBreakerLayer::new(breaker.clone()).layer(inner);
        let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        drop(body);
        let seen = breaker.snapshot();
        assert_eq!((seen.calls, seen.failures), expected, "{promised}");
    }
}

use std::convert::Infallible;
use std::future::{pending, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_fn;
use futures_util::{FutureExt, StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Bulkhead, BulkheadLayer, Error, HttpBulkheadLayer, RejectReason, Rejected, find_rejection,
};

fn bulkhead(limit: usize, queue: usize) -> Bulkhead {
    let wait = Duration::from_millis(50);
    Bulkhead::builder("reports").limit(limit).queue(queue).max_wait(wait).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_full_one_rejects_at_once_and_a_free_slot_lets_the_next_in() {
    let bulkhead = bulkhead(2, 0);
    let (first, second) = (bulkhead.try_acquire().unwrap(), bulkhead.acquire().await.unwrap());
    let start = tokio::time::Instant::now();
    let rejected = bulkhead.acquire().await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!((rejected.reason(), rejected.breaker()), (RejectReason::Full, "reports"));
    assert_eq!(rejected.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(rejected.to_string(), "bulkhead `reports` is full; next call in 1s");
    assert_eq!(bulkhead.in_use(), 2);
    drop(first);
    let third = bulkhead.try_acquire().unwrap();
    drop((second, third));
    assert_eq!(bulkhead.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_length_and_time_and_in_order() {
    let bulkhead = bulkhead(1, 2);
    let held = bulkhead.try_acquire().unwrap();
    let mut first = Box::pin(bulkhead.acquire());
    let mut second = Box::pin(bulkhead.acquire());
    assert!(first.as_mut().now_or_never().is_none());
    tokio::time::advance(Duration::from_millis(20)).await;
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(bulkhead.waiting(), 2);
    assert_eq!(bulkhead.acquire().await.unwrap_err().reason(), RejectReason::Full);
    drop(held);
    // Whoever asks now does not pass those who wait.
    assert!(bulkhead.try_acquire().is_err());
    let held = first.await.unwrap();
    assert!(second.as_mut().now_or_never().is_none());
    tokio::time::advance(Duration::from_millis(50)).await;
    assert_eq!(second.await.unwrap_err().reason(), RejectReason::Full);
    assert_eq!((bulkhead.waiting(), bulkhead.in_use()), (0, 1));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_the_queue_and_loses_no_slot() {
    let bulkhead = bulkhead(1, 1);
    let held = bulkhead.try_acquire().unwrap();
    let mut waits = Box::pin(bulkhead.acquire());
    assert!(waits.as_mut().now_or_never().is_none());
    // The slot is on its way to the one who waits, who is gone before it looks.
    drop(held);
    drop(waits);
    assert_eq!((bulkhead.waiting(), bulkhead.in_use()), (0, 0));
    assert!(bulkhead.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_guarded_future_holds_its_slot_until_it_ends_is_dropped_or_panics() {
    let bulkhead = bulkhead(1, 0);
    assert_eq!(bulkhead.call(ready(Ok::<_, Infallible>(7))).await.unwrap(), 7);
    let mut hangs = Box::pin(bulkhead.call(pending::<Result<(), Infallible>>()));
    assert!(hangs.as_mut().now_or_never().is_none());
    assert_eq!(bulkhead.in_use(), 1);
    drop(hangs);
    assert_eq!(bulkhead.in_use(), 0);
    let panics = async { panic!("on purpose") };
    let _ = std::panic::AssertUnwindSafe(bulkhead.call::<_, (), Infallible>(panics)).catch_unwind().await;
    assert_eq!(bulkhead.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_service_is_ready_while_full_and_its_error_is_typed() {
    let bulkhead = bulkhead(1, 1);
    let inner = service_fn(|wait: u64| async move {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        Ok::<_, std::io::Error>(wait)
    });
    let mut service = BulkheadLayer::new(bulkhead.clone()).layer(inner);
    let mut calls = Vec::new();
    for wait in [30, 40, 0] {
        assert!(poll_fn(|cx| service.poll_ready(cx)).now_or_never().unwrap().is_ok());
        calls.push(service.call(wait));
    }
    let results = futures_util::future::join_all(calls).await;
    assert_eq!(results[0].as_ref().unwrap(), &30);
    assert_eq!(results[1].as_ref().unwrap(), &40);
    let Err(Error::Rejected(rejected)) = &results[2] else { panic!("{results:?}") };
    assert_eq!(rejected.reason(), RejectReason::Full);
    let boxed = tower_breaker::BoxError::from(Error::<std::io::Error>::Rejected(rejected.clone()));
    assert_eq!(find_rejection(&*boxed), Some(rejected));
    assert_eq!(bulkhead.in_use(), 0);
}

/// Answers with one chunk and no end, unless asked for an empty body.
async fn streams(
    request: Request<()>,
) -> Result<Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    Ok(Response::new(if request.uri().path() == "/empty" {
        Empty::new().boxed_unsync()
    } else {
        let chunk = stream::iter([Ok(http_body::Frame::data(Bytes::from_static(b"chunk")))]);
        StreamBody::new(chunk.chain(stream::pending())).boxed_unsync()
    }))
}

#[tokio::test(start_paused = true)]
async fn over_http_a_slot_is_held_until_the_body_ends_and_full_is_503() {
    let bulkhead = bulkhead(1, 0);
    let service = HttpBulkheadLayer::new(bulkhead.clone()).layer(service_fn(streams));
    let ask = |path: &str, grpc: bool| {
        let mut request = Request::get(path).body(()).unwrap();
        if grpc {
            request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        }
        service.clone().oneshot(request)
    };
    drop(ask("/empty", false).await.unwrap());
    assert_eq!(bulkhead.in_use(), 0);
    let mut first = ask("/", false).await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "chunk");
    assert_eq!(bulkhead.in_use(), 1);

    let full = ask("/", false).await.unwrap();
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(full.headers()["retry-after"], "1");
    assert_eq!(full.extensions().get::<Rejected>().unwrap().reason(), RejectReason::Full);
    let problem = full.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&problem).contains("tower_breaker/#bulkhead-full"));
    let full = ask("/", true).await.unwrap();
    assert_eq!((full.status(), &full.headers()["grpc-status"]), (StatusCode::OK, &"14".parse().unwrap()));
    assert_eq!(full.headers()["grpc-retry-pushback-ms"], "1000");

    drop(first);
    assert_eq!(bulkhead.in_use(), 0);
    assert_eq!(ask("/", false).await.unwrap().status(), StatusCode::OK);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let fine = || Bulkhead::builder("reports").limit(1).queue(1);
    assert!(fine().build().is_ok());
    assert_eq!(fine().limit(0).build().unwrap_err().field(), "limit");
    assert_eq!(fine().max_wait(Duration::ZERO).build().unwrap_err().field(), "max_wait");
    assert_eq!(fine().retry_after(Duration::ZERO).build().unwrap_err().field(), "retry_after");
    assert_eq!(Bulkhead::builder("").build().unwrap_err().field(), "name");
}

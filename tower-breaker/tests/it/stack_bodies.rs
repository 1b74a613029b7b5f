//! The standard stack and bodies that stream: what its timeouts, its bulkhead, its retries and its breaker make of them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::BoxError;
use tower_breaker::retry::{BoxedErrors, ReplayBody, TimedOut};
use tower_breaker::stack::StandardLayer;

use crate::retry_support::{ReqBody, ResBody, Upstream, Whole, data, request, then_well};

const MS: Duration = Duration::from_millis(1);

/// An attempt has 300 ms, all of them have 500.
fn layer() -> StandardLayer<BoxedErrors> {
    let builder = StandardLayer::builder("inventory").attempt_timeout(MS * 300).total_timeout(MS * 500);
    builder.retry(|retry| retry.backoff(MS)).build().unwrap().boxed_errors()
}

/// One frame each `pause`, and then what `last` says: an error, or silence for ever.
fn slowly(count: usize, pause: Duration, last: Option<Result<(), &'static str>>) -> ResBody {
    let frames = futures_util::stream::iter(0..count).then(move |_| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, BoxError>(data("frame"))
    });
    let end = futures_util::stream::once(async move {
        match last {
            Some(Err(error)) => Err(error.into()),
            Some(Ok(())) => Ok(data("")),
            None => std::future::pending().await,
        }
    });
    StreamBody::new(frames.chain(end)).boxed_unsync()
}

/// An upstream that answers each request with such a body at once, and how often it was asked.
#[allow(clippy::type_complexity, reason = "a service without a name")]
fn upstream(
    body: impl Fn() -> ResBody + Clone + Send + 'static,
) -> (
    impl Service<
        Request<ReplayBody<ReqBody>>,
        Response = Response<ResBody>,
        Error = BoxError,
        Future: Send + 'static,
    > + Clone,
    Arc<Mutex<u32>>,
) {
    let asked = Arc::new(Mutex::new(0));
    let counts = Arc::clone(&asked);
    let service = service_fn(move |_: Request<ReplayBody<ReqBody>>| {
        *counts.lock().unwrap() += 1;
        std::future::ready(Ok::<_, BoxError>(Response::new(body())))
    });
    (service, asked)
}

#[tokio::test(start_paused = true)]
async fn a_body_streams_on_past_both_timeouts_and_holds_its_slot() {
    let (client, _) = upstream(|| slowly(5, MS * 400, Some(Ok(()))));
    let layer = layer();
    let response = layer.layer(client).oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!((response.status().as_u16(), layer.bulkhead().in_use()), (200, 1));
    assert_eq!(layer.breaker().snapshot().calls, 0);
    let started = tokio::time::Instant::now();
    let content = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((content.len(), started.elapsed()), (25, MS * 2000));
    assert_eq!(layer.bulkhead().in_use(), 0);
    assert_eq!((layer.breaker().snapshot().calls, layer.breaker().snapshot().failures), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_counts_as_a_failure_and_is_not_asked_for_again() {
    let (client, asked) = upstream(|| slowly(2, MS * 400, Some(Err("reset"))));
    let layer = layer();
    let response = layer.layer(client).oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
    assert_eq!((*asked.lock().unwrap(), layer.bulkhead().in_use()), (1, 0));
    assert_eq!((layer.breaker().snapshot().calls, layer.breaker().snapshot().failures), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_hangs_is_its_readers_to_give_up_which_frees_the_slot() {
    // Given up at once, it says nothing; after a second of silence it is a failure.
    for (patience, failures) in [(MS * 500, 0), (MS * 5000, 1)] {
        let (client, _) = upstream(|| slowly(1, MS * 10, None));
        let layer = layer();
        let response = layer.layer(client).oneshot(request(Method::GET, "")).await.unwrap();
        assert_eq!(layer.bulkhead().in_use(), 1);
        assert!(tokio::time::timeout(patience, response.into_body().collect()).await.is_err());
        assert_eq!(layer.bulkhead().in_use(), 0);
        assert_eq!(layer.breaker().snapshot().failures, failures, "after {patience:?}");
    }
}

/// A POST that may be repeated, whose content comes in frames of `octets` each.
fn keyed(frames: usize, octets: usize, pause: Duration) -> Request<ReqBody> {
    let content = futures_util::stream::iter(0..frames).then(move |number| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from(vec![number as u8; octets])))
    });
    let (mut parts, _) = request(Method::POST, "").into_parts();
    parts.headers.insert("idempotency-key", "7f3a".parse().unwrap());
    Request::from_parts(parts, StreamBody::new(content).boxed_unsync())
}

#[tokio::test(start_paused = true)]
async fn a_keyed_post_is_repeated_while_all_of_it_is_kept_and_sent_once_beyond() {
    for (octets, status, attempts) in [(32 << 10, 200, 2), ((32 << 10) + 1, 503, 1)] {
        let client = Upstream::new(then_well(|| Whole(503, &[])));
        let answer = layer().layer(client.clone()).oneshot(keyed(2, octets, Duration::ZERO)).await.unwrap();
        assert_eq!((answer.status().as_u16(), client.count()), (status, attempts));
        for seen in client.seen() {
            let content = seen.content.unwrap();
            assert_eq!((content.len(), content[0], content[octets]), (2 * octets, 0, 1));
        }
    }
    // Without the key it is sent once, however short.
    let client = Upstream::new(then_well(|| Whole(503, &[])));
    let mut unkeyed = keyed(2, 10, Duration::ZERO);
    unkeyed.headers_mut().remove("idempotency-key");
    let answer = layer().layer(client.clone()).oneshot(unkeyed).await.unwrap();
    assert_eq!((answer.status().as_u16(), client.count()), (503, 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_content_was_sent_leaves_the_rest_to_the_next_attempt() {
    let contents = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&contents);
    let client = service_fn(move |request: Request<ReplayBody<ReqBody>>| {
        let seen = Arc::clone(&seen);
        async move {
            let mut body = request.into_body();
            if seen.lock().unwrap().is_empty() {
                // Unavailable after the first of three frames.
                let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
                seen.lock().unwrap().push(first);
                return Ok::<_, BoxError>(Response::builder().status(503).body(ResBody::default()).unwrap());
            }
            let whole = body.collect().await?.to_bytes();
            seen.lock().unwrap().push(whole);
            Ok(Response::new(ResBody::default()))
        }
    });
    let answer = layer().layer(client).oneshot(keyed(3, 2, MS * 20)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(*contents.lock().unwrap(), [&[0, 0][..], &[0, 0, 1, 1, 2, 2]]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_has_the_time_of_its_attempt_and_of_the_whole() {
    // 200 ms for each frame: the first attempt ends within the second frame, the second has both and reads on.
    let client = Upstream::new(|_| Whole(200, &[]));
    let answer = layer().layer(client.clone()).oneshot(keyed(2, 10, MS * 200)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(client.seen().last().unwrap().content.as_ref().unwrap().len(), 20);
    // Three of them take longer than the whole may.
    let started = tokio::time::Instant::now();
    let answer = layer().layer(Upstream::new(|_| Whole(200, &[]))).oneshot(keyed(3, 10, MS * 200)).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status().as_u16(), started.elapsed()), (504, MS * 500));
    assert_eq!(answer.extensions().get::<TimedOut>(), Some(&TimedOut::Total));
}

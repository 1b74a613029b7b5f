//! Corners of the retry that are seldom reached, each of which somebody would notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::BoxError;
use tower_breaker::retry::{HttpPolicy, ReplayBody};

use crate::retry_support::*;

const MS: Duration = Duration::from_millis(1);

/// Answers first with 503 and so many frames of so many octets, then with 200 and nothing; counts its calls, and the frames
/// that were read.
fn failing_first(frames: usize, octets: usize) -> (Failing, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (calls, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (asked, counted) = (calls.clone(), read.clone());
    let upstream = service_fn(move |_: Request<ReplayBody<ReqBody>>| {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        let (status, frames) = if first { (503, frames) } else { (200, 0) };
        let counted = counted.clone();
        let frames = stream::iter(0..frames).map(move |_| {
            assert!(counted.fetch_add(1, Ordering::Relaxed) < 100_000, "read for ever");
            Ok::<_, BoxError>(Frame::data(Bytes::from(vec![0; octets])))
        });
        let body = StreamBody::new(frames).boxed_unsync();
        std::future::ready(Ok::<_, BoxError>(Response::builder().status(status).body(body).unwrap()))
    });
    (BoxCloneSyncService::new(upstream), calls, read)
}

type Failing = BoxCloneSyncService<Request<ReplayBody<ReqBody>>, Response<ResBody>, BoxError>;

/// A failed body that comes without a pause and without an end is read for as long as its connection is worth.
#[tokio::test(start_paused = true)]
async fn no_more_than_64_kib_of_a_failed_body_are_read() {
    let (upstream, calls, read) = failing_first(1_000, 4096);
    let layer = retrying(HttpPolicy::builder().backoff(Duration::ZERO));
    let answer = layer.layer(upstream).oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!((answer.status().as_u16(), calls.load(Ordering::Relaxed)), (200, 2));
    assert_eq!(read.load(Ordering::Relaxed), 16 + 1);
}

/// Frames without octets take time and memory too: a failed body of nothing else is not read for ever.
#[tokio::test(start_paused = true)]
async fn empty_frames_of_a_failed_body_end_somewhere() {
    let (upstream, calls, read) = failing_first(usize::MAX, 0);
    let layer = retrying(HttpPolicy::builder().backoff(Duration::ZERO));
    let answer = layer.layer(upstream).oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!((answer.status().as_u16(), calls.load(Ordering::Relaxed)), (200, 2));
    assert!(read.load(Ordering::Relaxed) <= 1_025);
}

/// It has ended with its error; and kept, it is the answer when no other attempt can be made.
#[tokio::test(start_paused = true)]
async fn a_body_that_broke_is_not_polled_again() {
    struct Breaks(bool);
    impl Body for Breaks {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            assert!(!std::mem::replace(&mut self.0, true), "polled after its error");
            std::task::Poll::Ready(Some(Err("reset".into())))
        }
    }
    let upstream =
        service_fn(async |_: Request<ReplayBody<ReqBody>>| Ok::<_, BoxError>(Response::new(Breaks(false))));
    let call = with(request(Method::GET, ""), "content-type", "application/grpc");
    let layer = retrying(HttpPolicy::builder().backoff(Duration::ZERO));
    let answer = layer.layer(upstream).oneshot(call).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap_err().to_string(), "reset");
}

#[tokio::test(start_paused = true)]
async fn a_failed_body_is_not_read_beyond_the_deadline() {
    let upstream = service_fn(async |_: Request<ReplayBody<ReqBody>>| {
        let endless = stream::pending::<Result<Frame<Bytes>, BoxError>>();
        Ok::<_, BoxError>(Response::builder().status(503).body(StreamBody::new(endless)).unwrap())
    });
    let started = Instant::now();
    let policy = HttpPolicy::builder().backoff(Duration::ZERO).total_timeout(MS * 30);
    let answer = retrying(policy).layer(upstream).oneshot(request(Method::GET, ""));
    answer.await.unwrap();
    assert_eq!(started.elapsed(), MS * 30);
}

/// There is nothing to be repeated after the last attempt, so nobody waits for its trailers.
#[tokio::test(start_paused = true)]
async fn the_head_of_the_last_attempt_is_not_held_back() {
    let calls = Arc::new(AtomicUsize::new(0));
    let asked = calls.clone();
    let upstream = service_fn(move |_: Request<ReplayBody<ReqBody>>| {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        let endless = stream::pending::<Result<Frame<Bytes>, BoxError>>();
        let mut response = Response::new(StreamBody::new(endless));
        if first {
            response.headers_mut().insert("grpc-status", "14".parse().unwrap());
        }
        std::future::ready(Ok::<_, BoxError>(response))
    });
    let started = Instant::now();
    let policy = HttpPolicy::builder().backoff(Duration::ZERO).peek_for(MS * 700);
    let call = with(request(Method::GET, ""), "content-type", "application/grpc");
    retrying(policy).layer(upstream).oneshot(call).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    // What the failed body was given, and no more.
    assert_eq!(started.elapsed(), MS * 100);
}

/// After the last attempt nobody reads the content again, so none of it is kept.
#[tokio::test(start_paused = true)]
async fn the_last_attempt_keeps_nothing_of_the_content() {
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = kept.clone();
    let upstream = service_fn(move |request: Request<ReplayBody<ReqBody>>| {
        seen.lock().unwrap().push(request.body().replayable());
        std::future::ready(Ok::<_, BoxError>(
            Response::builder().status(503).body(http_body_util::Full::<Bytes>::default()).unwrap(),
        ))
    });
    for (attempts, expected) in [(3, &[true, true, false][..]), (1, &[false])] {
        let policy = HttpPolicy::builder().max_attempts(attempts).backoff(Duration::ZERO);
        let call = request(Method::PUT, "content");
        retrying(policy).layer(upstream.clone()).oneshot(call).await.unwrap();
        assert_eq!(std::mem::take(&mut *kept.lock().unwrap()), expected);
    }
}

/// It would be an answer whose body breaks off.
#[tokio::test(start_paused = true)]
async fn a_failed_answer_that_was_not_read_to_its_end_is_no_answer_when_no_attempt_can_be_made() {
    for (octets, expected) in [(64 << 10, 503), (65 << 10, 504)] {
        let policy = HttpPolicy::builder().backoff(Duration::ZERO).total_timeout(MS * 800);
        let (mut service, mut handle) =
            tower_test::mock::spawn_layer::<Request<ReplayBody<ReqBody>>, Response<ResBody>, _>(retrying(
                policy,
            ));
        handle.allow(1);
        assert!(service.poll_ready::<Request<ReqBody>>().is_ready());
        let call = tokio::spawn(service.call(request(Method::GET, "")));
        let (_, reply) = handle.next_request().await.unwrap();
        let chunks = (0..octets >> 10).map(|_| Frame::data(Bytes::from(vec![0; 1 << 10])));
        reply.send_response(Response::builder().status(503).body(frames(chunks.collect())).unwrap());
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.status(), expected);
        if expected == 503 {
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), octets);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_count_among_the_octets_that_are_kept() {
    let sent = |sum: &'static str| {
        let frames = vec![data("four"), trailers(&[("x-sum", sum)])];
        let body = StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, std::convert::Infallible>)));
        request(Method::PUT, "").map(|_| body.boxed_unsync())
    };
    let policy = || HttpPolicy::builder().max_body(16);
    let fails = || then_well(|| Whole(503, &[]));
    assert_eq!(outcome(policy(), fails(), sent("1234567")).await, (Some(200), 2));
    assert_eq!(outcome(policy(), fails(), sent("12345678")).await, (Some(503), 1));
}

/// A proxy that passes the answer on sends it with its length.
#[tokio::test(start_paused = true)]
async fn frames_that_were_looked_at_are_part_of_the_length() {
    let upstream = service_fn(async |_: Request<ReplayBody<ReqBody>>| {
        Ok::<_, BoxError>(Response::new(http_body_util::Full::new(Bytes::from_static(b"seven"))))
    });
    let call = with(request(Method::GET, ""), "content-type", "application/grpc");
    let answer = retrying(HttpPolicy::builder()).layer(upstream).oneshot(call).await.unwrap();
    assert_eq!(answer.body().size_hint().exact(), Some(5));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "seven");
}

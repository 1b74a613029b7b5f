//! Time, readiness, cancellation and the budget, on a paused clock.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use proptest::prelude::*;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_breaker::BoxError;
use tower_breaker::retry::{
    AttemptTimeoutLayer, BoxedErrors, Deadline, HttpPolicy, HttpPolicyBuilder, ReplayBody, Retry, TimedOut,
    TotalTimeoutLayer,
};
use tower_test::mock::{Handle, Mock, Spawn, spawn_layer};

use crate::retry_support::*;

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_hanging_attempt_is_cut_and_repeated() {
    let policy = || HttpPolicy::builder().attempt_timeout(MS * 500);
    let started = Instant::now();
    assert_eq!(outcome(policy(), then_well(|| Hangs), request(Method::GET, "")).await, (Some(200), 2));
    assert!((MS * 500..MS * 600).contains(&started.elapsed()), "{:?}", started.elapsed());
    let upstream = Upstream::new(|_| Hangs);
    let answer = send(policy(), &upstream, request(Method::POST, "x")).await.unwrap();
    assert_eq!((answer.status().as_u16(), upstream.count()), (504, 1));
    assert_eq!(answer.extensions().get(), Some(&TimedOut::Attempt));
    assert!(String::from_utf8_lossy(answer.body()).contains("tower_breaker/#timed-out"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_has_no_more_time_than_is_left_of_the_whole() {
    let policy = HttpPolicy::builder().attempt_timeout(MS * 700).total_timeout(MS * 1000).max_attempts(5);
    let started = Instant::now();
    let upstream = Upstream::new(|_| Hangs);
    let answer = send(policy, &upstream, request(Method::GET, "")).await.unwrap();
    assert_eq!((answer.status().as_u16(), upstream.count()), (504, 2));
    assert_eq!(answer.extensions().get(), Some(&TimedOut::Total));
    assert_eq!(started.elapsed(), MS * 1000);
}

#[test]
fn a_time_of_zero_is_refused() {
    const LEAST: Duration = Duration::from_nanos(1);
    assert!(AttemptTimeoutLayer::new(LEAST).is_ok() && TotalTimeoutLayer::new(LEAST).is_ok());
    let policy = HttpPolicy::builder().attempt_timeout(LEAST).total_timeout(LEAST);
    assert_eq!(AttemptTimeoutLayer::new(Duration::ZERO).unwrap_err().field(), "attempt_timeout");
    assert_eq!(TotalTimeoutLayer::new(Duration::ZERO).unwrap_err().field(), "total_timeout");
    assert!(policy.clone().build().is_ok());
    let field = |policy: HttpPolicyBuilder| policy.build().unwrap_err().field().to_owned();
    assert_eq!(field(policy.clone().attempt_timeout(Duration::ZERO)), "attempt_timeout");
    assert_eq!(field(policy.total_timeout(Duration::ZERO)), "total_timeout");
}

#[tokio::test(start_paused = true)]
async fn the_attempt_timeout_below_follows_the_deadline_above() {
    let upstream = Upstream::new(|_| Late(MS * 300, 200));
    let below = AttemptTimeoutLayer::new(MS * 400).unwrap().layer(upstream);
    let answer = below.clone().oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let started = Instant::now();
    let mut hurried = request(Method::GET, "");
    hurried.extensions_mut().insert(Deadline::at((Instant::now() + MS * 200).into_std()));
    let answer = below.oneshot(hurried).await.unwrap();
    assert_eq!((answer.status().as_u16(), started.elapsed()), (504, MS * 200));
}

#[tokio::test(start_paused = true)]
async fn a_total_timeout_answers_in_the_protocol_of_the_request() {
    let service = TotalTimeoutLayer::new(MS * 100).unwrap().layer(Upstream::new(|_| Hangs));
    let answer = service.clone().oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.extensions().get()), (504, Some(&TimedOut::Total)));
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let call = with(request(Method::POST, ""), "content-type", "application/grpc");
    let answer = service.oneshot(call).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"4".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_body_that_does_not_end_is_given_up() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let upstream = tower::service_fn(move |_: Request<ReplayBody<ReqBody>>| {
        let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            let endless = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, BoxError>>();
            let status = if first { 503 } else { 200 };
            Ok::<_, BoxError>(Response::builder().status(status).body(StreamBody::new(endless)).unwrap())
        }
    });
    let started = Instant::now();
    let policy = HttpPolicy::builder().backoff(Duration::ZERO);
    let answer = retrying(policy).layer(upstream).oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!((answer.status().as_u16(), calls.load(Ordering::Relaxed)), (200, 2));
    assert_eq!(started.elapsed(), MS * 100);
}

#[tokio::test(start_paused = true)]
async fn a_slow_grpc_stream_is_not_held_back_longer_than_the_look_ahead() {
    let upstream = tower::service_fn(async |_: Request<ReplayBody<ReqBody>>| {
        let endless = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, BoxError>>();
        Ok::<_, BoxError>(Response::new(StreamBody::new(endless)))
    });
    let call = || with(request(Method::GET, ""), "content-type", "application/grpc");
    let started = Instant::now();
    let policy = HttpPolicy::builder().peek_for(MS * 30);
    retrying(policy).layer(upstream).oneshot(call()).await.unwrap();
    assert_eq!(started.elapsed(), MS * 30);
}

#[tokio::test(start_paused = true)]
async fn the_instance_that_was_polled_ready_makes_the_first_attempt() {
    let (mut service, mut handle) = mocked(HttpPolicy::builder());
    handle.allow(0);
    assert!(service.poll_ready::<Request<Full<Bytes>>>().is_pending());
    handle.allow(1);
    assert!(service.poll_ready::<Request<Full<Bytes>>>().is_ready());
    // The only readiness there is belongs to the first attempt.
    let mut call = by_hand(service.get_mut().call(Request::new(Full::default())));
    assert!(call.poll().is_pending());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(status(503));
    assert!(call.poll().is_pending());
    let mut next = pin!(handle.next_request());
    assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[tokio::test(start_paused = true)]
async fn when_no_attempt_can_be_made_the_failed_answer_is_the_answer() {
    let (mut service, mut handle) = mocked(HttpPolicy::builder().total_timeout(MS * 800));
    handle.allow(1);
    assert!(service.poll_ready::<Request<Full<Bytes>>>().is_ready());
    let started = Instant::now();
    let call = tokio::spawn(service.get_mut().call(Request::new(Full::default())));
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(status(503));
    // Never ready again: the deadline ends the wait.
    let answer = call.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), started.elapsed()), (503, MS * 800));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "503");
}

fn status(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(Bytes::from(status.to_string()))).unwrap()
}

/// What becomes ready together with the end of the time is not ready in time.
#[tokio::test(start_paused = true)]
async fn no_attempt_begins_when_the_time_is_over() {
    for (late, attempts) in [(799, 2), (800, 1)] {
        let (mut service, mut handle) = mocked(HttpPolicy::builder().total_timeout(MS * 800));
        handle.allow(1);
        assert!(service.poll_ready::<Request<Full<Bytes>>>().is_ready());
        let mut call = by_hand(service.get_mut().call(Request::new(Full::default())));
        assert!(call.poll().is_pending());
        let (_, reply) = handle.next_request().await.unwrap();
        reply.send_response(status(503));
        assert!(call.poll().is_pending());
        tokio::time::advance(MS * late).await;
        handle.allow(1);
        let answer = call.poll();
        assert_eq!(answer.is_ready(), attempts == 1, "{late}");
        if let Poll::Ready(answer) = answer {
            assert_eq!(answer.unwrap().status(), 503);
            assert!(by_hand(handle.next_request()).poll().is_pending());
        } else {
            handle.next_request().await.unwrap();
        }
    }
}

type Sent = Request<ReplayBody<Full<Bytes>>>;
type Answered = Response<Full<Bytes>>;
type Mocked = Retry<Mock<Sent, Answered>, BoxedErrors>;

/// An upstream whose readiness and answers are given by hand, behind a layer of this policy that waits for nothing else.
fn mocked(policy: HttpPolicyBuilder) -> (Spawn<Mocked>, Handle<Sent, Answered>) {
    spawn_layer(retrying(policy.backoff(Duration::ZERO)))
}

/// A future that is polled by hand.
struct ByHand<F>(std::pin::Pin<Box<F>>);

fn by_hand<F: Future>(future: F) -> ByHand<F> {
    ByHand(Box::pin(future))
}

impl<F: Future> ByHand<F> {
    fn poll(&mut self) -> Poll<F::Output> {
        self.0.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }
}

/// Counts the futures that are alive.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One step of time after each poll, dropped after so many polls.
#[tokio::test(start_paused = true)]
async fn dropped_at_any_await_a_call_leaves_nothing_behind() {
    let mut completed = 0;
    let mut reached = std::collections::BTreeSet::new();
    for polls in 0..450 {
        let (alive, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, started) = (alive.clone(), calls.clone());
        let upstream = tower::service_fn(move |request: Request<ReplayBody<ReqBody>>| {
            let guard = Alive::new(&counted);
            let number = started.fetch_add(1, Ordering::Relaxed);
            async move {
                let content = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(content, "content");
                tokio::time::sleep(MS * 20).await;
                let held = futures_util::stream::once(async move {
                    tokio::time::sleep(MS * 20).await;
                    drop(guard);
                    Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(b"end")))
                });
                let status = if number < 2 { 503 } else { 200 };
                let body = StreamBody::new(held).boxed_unsync();
                Ok::<_, BoxError>(Response::builder().status(status).body(body).unwrap())
            }
        });
        let policy = HttpPolicy::builder().max_attempts(3).backoff(MS * 100);
        let mut call = by_hand(retrying(policy).layer(upstream).oneshot(request(Method::PUT, "content")));
        let mut done = false;
        for _ in 0..polls {
            if call.poll().is_ready() {
                done = true;
                break;
            }
            tokio::time::advance(MS).await;
        }
        reached.insert((calls.load(Ordering::Relaxed), alive.load(Ordering::Relaxed)));
        drop(call);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "after {polls} polls");
        if done {
            completed += 1;
        }
    }
    assert!(completed > 0, "the call never came to its end");
    // During each of the three attempts and their bodies, and in both waits.
    for point in [(1, 1), (1, 0), (2, 1), (2, 0), (3, 1)] {
        assert!(reached.contains(&point), "never at {point:?}: {reached:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("TOWER_ASSURE").is_some() { 20_000 } else { 128 }))]

    /// Whatever the upstream does, the answer is there by the deadline.
    #[test]
    fn the_deadline_is_never_exceeded(
        total in 1_u64..3000,
        attempt in 1_u64..1500,
        attempts in 1_u32..8,
        backoff in 0_u64..1000,
        script in proptest::collection::vec((0_u8..5, 0_u64..2000), 8),
    ) {
        let policy = HttpPolicy::builder()
            .max_attempts(attempts)
            .budget(100, 1000)
            .total_timeout(MS * total as u32)
            .attempt_timeout(MS * attempt as u32)
            .retry_after_up_to(Duration::from_secs(5))
            .backoff(MS * backoff as u32);
        let upstream = Upstream::new(move |number| match script[number] {
            (0, time) => Late(MS * time as u32, 200),
            (1, time) => Late(MS * time as u32, 503),
            (2, _) => Hangs,
            (3, _) => Whole(503, &[("retry-after", "1")]),
            _ => Fails(std::io::ErrorKind::ConnectionReset),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (elapsed, sent) = runtime.block_on(async {
            let started = Instant::now();
            let _ = send(policy, &upstream, request(Method::PUT, "content")).await;
            (started.elapsed(), upstream.count())
        });
        prop_assert!(elapsed <= MS * total as u32, "{elapsed:?} of {total} ms");
        prop_assert!((1..=attempts as usize).contains(&sent));
    }

    /// An upstream that only fails sees a fifth more than it would without retries, and the minimum.
    #[test]
    fn a_budget_of_a_fifth_never_sends_more_than_a_fifth_more(
        calls in 1_usize..300,
        gaps in proptest::collection::vec(0_u64..200, 8),
        per_second in 0_u32..5,
        attempts in 2_u32..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (sent, seconds) = runtime.block_on(async {
            let started = Instant::now();
            let upstream = Upstream::new(|_| Whole(503, &[]));
            let policy = HttpPolicy::builder().max_attempts(attempts).budget(20, per_second);
            let service = retrying(policy).layer(upstream.clone());
            for call in 0..calls {
                service.clone().oneshot(request(Method::GET, "")).await.unwrap();
                tokio::time::advance(MS * gaps[call % gaps.len()] as u32).await;
            }
            (upstream.count(), started.elapsed().as_secs_f64())
        });
        let minimum = f64::from(per_second) * (1.0 + seconds);
        prop_assert!(sent as f64 <= 1.2 * calls as f64 + minimum, "{sent} for {calls} calls in {seconds} s");
        prop_assert!(sent >= calls);
    }
}

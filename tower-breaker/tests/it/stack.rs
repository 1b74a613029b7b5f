//! The standard stack: every stage acts, in its place.

use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_breaker::retry::{BoxedErrors, Deadline, TimedOut};
use tower_breaker::stack::{StandardBuilder, StandardLayer};
use tower_breaker::{Breaker, CancelPolicy, HttpBreakerLayer, RejectReason, Rejected, State};

use crate::retry_support::*;

const MS: Duration = Duration::from_millis(1);

/// The upstream's errors are boxes.
fn built(builder: StandardBuilder) -> StandardLayer<BoxedErrors> {
    builder.build().unwrap().boxed_errors()
}

fn stack() -> StandardBuilder {
    StandardLayer::builder("inventory")
}

async fn send<S, B>(service: S, request: Request<ReqBody>) -> Response<B>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
{
    service.oneshot(request).await.unwrap()
}

fn get() -> Request<ReqBody> {
    request(Method::GET, "")
}

#[tokio::test(start_paused = true)]
async fn a_get_is_retried_and_a_post_is_sent_once() {
    let layer = StandardLayer::new("inventory").unwrap().boxed_errors();
    let upstream = Upstream::new(then_well(|| Whole(503, &[])));
    assert_eq!(send(layer.layer(upstream.clone()), get()).await.status(), 200);
    assert_eq!(upstream.count(), 2);
    let upstream = Upstream::new(then_well(|| Whole(503, &[])));
    assert_eq!(send(layer.layer(upstream.clone()), request(Method::POST, "x")).await.status(), 503);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_and_the_whole_are_cut_in_time() {
    let upstream = Upstream::new(then_well(|| Hangs));
    let layer = built(stack().attempt_timeout(MS * 100));
    assert_eq!(send(layer.layer(upstream.clone()), get()).await.status(), 200);
    assert_eq!(upstream.count(), 2);
    // The breaker has seen the attempt fail.
    assert_eq!(layer.breaker().snapshot().failures, 1);
    let started = Instant::now();
    let layer = built(stack().attempt_timeout(MS * 300).total_timeout(MS * 500));
    let answer = send(layer.layer(Upstream::new(|_| Hangs)), get()).await;
    assert_eq!((answer.status().as_u16(), started.elapsed()), (504, MS * 500));
    assert!(answer.extensions().get::<TimedOut>().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_answers_at_once_and_asks_nobody() {
    let layer = built(stack().bulkhead(|bulkhead| bulkhead.limit(1)));
    let upstream = Upstream::new(|_| Hangs);
    let held = tokio::spawn(layer.layer(upstream.clone()).oneshot(get()));
    tokio::task::yield_now().await;
    let started = Instant::now();
    let answer = send(layer.layer(upstream.clone()), get()).await;
    assert_eq!((answer.status().as_u16(), started.elapsed(), upstream.count()), (503, Duration::ZERO, 1));
    assert_eq!(answer.extensions().get::<Rejected>().unwrap().reason(), RejectReason::Full);
    held.abort();
    let _ = held.await;
    assert_eq!(layer.bulkhead().in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_answers_at_once_and_is_not_retried() {
    let layer = built(stack());
    let upstream = Upstream::new(|_| Whole(500, &[]));
    for _ in 0..10 {
        assert_eq!(layer.breaker().state(), State::Closed);
        assert_eq!(send(layer.layer(upstream.clone()), get()).await.status(), 500);
    }
    assert_eq!(layer.breaker().state(), State::Open);
    let started = Instant::now();
    let answer = send(layer.layer(upstream.clone()), get()).await;
    assert_eq!((answer.status().as_u16(), started.elapsed(), upstream.count()), (503, Duration::ZERO, 10));
    assert_eq!(answer.extensions().get::<Rejected>().unwrap().reason(), RejectReason::Open);
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_dead_upstream_end_with_the_budget() {
    let layer = built(stack().breaker(|breaker| breaker.consecutive_failures(u32::MAX)));
    layer.breaker().disable();
    let upstream = Upstream::new(|_| Whole(503, &[]));
    let started = Instant::now();
    for _ in 0..500 {
        send(layer.layer(upstream.clone()), get()).await;
    }
    let least = 10.0 * (1.0 + started.elapsed().as_secs_f64());
    assert!(upstream.count() as f64 <= 600.0 + least, "{} in {:?}", upstream.count(), started.elapsed());
}

#[test]
fn debug_names_every_stage() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let layer = format!("{:?}", stack().build().unwrap());
    for stage in [
        "total_timeout: TotalTimeoutLayer { limit: 30s }",
        "bulkhead: ",
        "retry: ",
        "max_attempts: 3",
        "breaker: ",
        "attempt_timeout: AttemptTimeoutLayer { limit: 10s }",
    ] {
        assert!(layer.contains(stage), "{stage} is not in {layer}");
    }
}

#[test]
fn each_stage_can_be_set_and_names_itself_when_it_is_wrong() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    assert!(stack().max_attempts(1).retry(|retry| retry.backoff(MS)).build().is_ok());
    let field = |builder: StandardBuilder| builder.build().unwrap_err().field().to_owned();
    assert_eq!(field(stack().total_timeout(Duration::ZERO)), "total_timeout");
    assert_eq!(field(stack().attempt_timeout(Duration::ZERO)), "attempt_timeout");
    assert_eq!(field(stack().attempt_timeout(MS * 30_001)), "attempt_timeout");
    assert_eq!(field(stack().bulkhead(|bulkhead| bulkhead.limit(0))), "limit");
    assert_eq!(field(stack().breaker(|breaker| breaker.failure_rate(2.0))), "failure_rate");
    assert_eq!(field(stack().max_attempts(0)), "max_attempts");
    assert_eq!(field(stack().retry(|retry| retry.budget(101, 0))), "budget");
}

/// The call that waited has 50 ms left for an upstream that takes 100: that says nothing about the upstream.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_the_end_of_the_whole_cuts_short_is_a_cancelled_call() {
    let layer = built(
        stack()
            .total_timeout(MS * 500)
            .attempt_timeout(MS * 400)
            .bulkhead(|bulkhead| bulkhead.limit(1).queue(1).max_wait(MS * 500)),
    );
    let upstream = Upstream::new(|_| Late(MS * 100, 200));
    let ask = || tokio::spawn(layer.layer(upstream.clone()).oneshot(get()));
    let (held, calls) = (layer.bulkhead().try_acquire().unwrap(), ask());
    tokio::time::sleep(MS * 450).await;
    drop(held);
    let answer = calls.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), upstream.count()), (504, 1));
    assert_eq!(answer.extensions().get::<TimedOut>(), Some(&TimedOut::Total));
    let seen = layer.breaker().snapshot();
    assert_eq!((seen.calls, seen.failures), (0, 0));
    // In time, it is a success.
    drop(answer);
    let answer = ask().await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    assert_eq!(layer.breaker().snapshot().calls, 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_had_half_of_its_time_and_hangs_has_failed() {
    // As long as the whole; more than half of its time; older than `on_cancel` says.
    for (attempt, total, wait) in [(500, 500, 0), (400, 500, 299), (10_000, 10_000, 8_999)] {
        let layer = built(
            stack()
                .total_timeout(MS * total)
                .attempt_timeout(MS * attempt)
                .bulkhead(|bulkhead| bulkhead.limit(1).queue(1).max_wait(MS * total)),
        );
        let held = layer.bulkhead().try_acquire().unwrap();
        let call = tokio::spawn(layer.layer(Upstream::new(|_| Hangs)).oneshot(get()));
        tokio::time::sleep(MS * wait).await;
        drop(held);
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.extensions().get::<TimedOut>(), Some(&TimedOut::Total));
        assert_eq!(layer.breaker().snapshot().failures, 1, "{attempt} of {total} after {wait}");
    }
}

/// Given the caller's own patience, a hanging upstream still opens the breaker when the settings say so.
#[tokio::test(start_paused = true)]
async fn what_an_impatient_caller_cuts_counts_by_the_policy_of_cancelled_calls() {
    for (policy, failures) in [(CancelPolicy::Ignore, 0), (CancelPolicy::Failure, 1)] {
        let layer = built(stack().breaker(|breaker| breaker.on_cancel(policy)));
        let mut request = get();
        request.extensions_mut().insert(Deadline::at((Instant::now() + MS * 50).into_std()));
        // So it does for each breaker that stands above the timeout.
        let above = Breaker::builder("above").on_cancel(policy).build().unwrap();
        let service = HttpBreakerLayer::new(above.clone()).layer(layer.layer(Upstream::new(|_| Hangs)));
        assert_eq!(send(service, request).await.status(), 504);
        assert_eq!([layer.breaker(), &above].map(|breaker| breaker.snapshot().failures), [failures; 2]);
    }
}

//! `grpc-timeout`: the caller's patience, which is for all attempts together.

use std::time::Duration;

use http::{Method, Request};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_breaker::retry::{
    AttemptTimeoutLayer, Deadline, HttpPolicy, HttpPolicyBuilder, TimedOut, TotalTimeoutLayer,
};
use tower_breaker::{HttpBreakerLayer, State};

use crate::retry_support::*;
use crate::support::touchy;

const MS: Duration = Duration::from_millis(1);

fn call(timeout: &'static str) -> Request<ReqBody> {
    let call = with(request(Method::POST, "x"), "content-type", "application/grpc");
    with(with(call, "idempotency-key", "1"), "grpc-timeout", timeout)
}

fn many() -> HttpPolicyBuilder {
    HttpPolicy::builder().attempt_timeout(MS * 400).max_attempts(9).backoff(MS * 10)
}

/// What each attempt was told, after so many milliseconds.
fn told(upstream: &Upstream, began: Instant) -> Vec<(u64, String)> {
    let seen = upstream.seen().into_iter();
    let after = |at: Instant| u64::try_from((at - began).as_millis()).unwrap();
    seen.map(|seen| (after(seen.at), seen.headers["grpc-timeout"].to_str().unwrap().to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_call_is_for_all_attempts_and_each_is_told_what_is_left() {
    for (timeout, micros) in [("1S", 1_000_000), ("1000m", 1_000_000), ("900000u", 900_000)] {
        let (upstream, began) = (Upstream::new(|_| Hangs), Instant::now());
        let answer = send(many(), &upstream, call(timeout)).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_micros(micros), "{timeout}");
        assert_eq!(answer.headers()["grpc-status"], "4");
        assert_eq!(answer.extensions().get(), Some(&TimedOut::Total));
        let told = told(&upstream, began);
        assert_eq!((told.len(), &*told[0].1), (3, timeout));
        for (after, left) in &told[1..] {
            let expected = micros - after * 1000;
            let finest = if expected < 100_000 { format!("{expected}000n") } else { format!("{expected}u") };
            assert_eq!(*left, finest, "{timeout}");
        }
    }
    // The field means nothing elsewhere, and one that cannot be read is none.
    for other in [with(call("1S"), "content-type", "text/plain"), call("1 S"), call("100000000S")] {
        let (upstream, began) = (Upstream::new(|_| Hangs), Instant::now());
        let policy = many().max_attempts(4);
        let timeout = other.headers()["grpc-timeout"].clone();
        let answer = send(policy, &upstream, other).await.unwrap();
        assert!(began.elapsed() >= MS * 1600);
        assert_eq!(answer.extensions().get(), Some(&TimedOut::Attempt));
        assert!(told(&upstream, began).iter().all(|(_, told)| *told == timeout));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_told_no_more_than_the_whole_has_left() {
    let mut hurried = call("1S");
    hurried.extensions_mut().insert(Deadline::at((Instant::now() + MS * 300).into_std()));
    let (upstream, began) = (Upstream::new(|_| Whole(200, &[])), Instant::now());
    assert_eq!(send(many(), &upstream, hurried).await.unwrap().status(), 200);
    assert_eq!(told(&upstream, began), [(0, "300000u".to_owned())]);
    // One that has longer leaves the caller's word as it is.
    let mut patient = call("1S");
    patient.extensions_mut().insert(Deadline::at((Instant::now() + MS * 3000).into_std()));
    let (upstream, began) = (Upstream::new(|_| Whole(200, &[])), Instant::now());
    assert_eq!(send(many(), &upstream, patient).await.unwrap().status(), 200);
    assert_eq!(told(&upstream, began), [(0, "1S".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn the_timeouts_of_one_attempt_and_of_the_whole_heed_it_too() {
    for (timeout, ends) in [("1S", 1000), ("9S", 5000)] {
        let began = Instant::now();
        let total = TotalTimeoutLayer::new(MS * 5000).unwrap().layer(Upstream::new(|_| Hangs));
        let answer = total.oneshot(call(timeout)).await.unwrap();
        assert_eq!((answer.extensions().get(), began.elapsed()), (Some(&TimedOut::Total), MS * ends));
        let began = Instant::now();
        let attempt = AttemptTimeoutLayer::new(MS * 5000).unwrap().layer(Upstream::new(|_| Hangs));
        let answer = attempt.oneshot(call(timeout)).await.unwrap();
        let kind = if ends == 1000 { TimedOut::Total } else { TimedOut::Attempt };
        assert_eq!((answer.extensions().get(), began.elapsed()), (Some(&kind), MS * ends));
        assert_eq!(answer.headers()["grpc-status"], "4");
    }
}

/// What three layers answer to the call, and how often the upstream was asked.
async fn thrice(call: impl Fn() -> Request<ReqBody>) -> [(Option<TimedOut>, usize); 3] {
    let upstreams = [(); 3].map(|()| Upstream::new(|_| Whole(200, &[])));
    let total = TotalTimeoutLayer::new(MS * 500).unwrap().layer(upstreams[0].clone());
    let attempt = AttemptTimeoutLayer::new(MS * 500).unwrap().layer(upstreams[1].clone());
    let ends = [
        total.oneshot(call()).await.unwrap().extensions().get().copied(),
        attempt.oneshot(call()).await.unwrap().extensions().get().copied(),
        send(many(), &upstreams[2], call()).await.unwrap().extensions().get().copied(),
    ];
    std::array::from_fn(|index| (ends[index], upstreams[index].count()))
}

/// Nobody waits for the answer any more.
#[tokio::test(start_paused = true)]
async fn a_call_whose_time_is_over_is_not_made() {
    let began = Instant::now();
    assert_eq!(thrice(|| call("1n")).await, [(None, 1); 3]);
    assert_eq!(thrice(|| call("0S")).await, [(Some(TimedOut::Total), 0); 3]);
    let until = |moment: Instant| {
        move || {
            let mut call = with(call("1S"), "content-type", "text/plain");
            call.extensions_mut().insert(Deadline::at(moment.into_std()));
            call
        }
    };
    assert_eq!(thrice(until(Instant::now() + MS)).await, [(None, 1); 3]);
    assert_eq!(thrice(until(Instant::now())).await, [(Some(TimedOut::Total), 0); 3]);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// The impatience of callers opens no circuit, and their calls cost nothing of the budget.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_not_made_says_nothing_about_the_upstream() {
    let breaker = touchy("upstream").build().unwrap();
    let upstream = Upstream::new(|_| Whole(503, &[]));
    let attempt = AttemptTimeoutLayer::new(MS * 500).unwrap().layer(upstream.clone());
    let service = HttpBreakerLayer::new(breaker.clone()).layer(attempt);
    for _ in 0..9 {
        assert_eq!(service.clone().oneshot(call("0n")).await.unwrap().headers()["grpc-status"], "4");
    }
    assert_eq!((breaker.state(), breaker.snapshot().calls, upstream.count()), (State::Closed, 0, 0));
    service.oneshot(call("1n")).await.unwrap();
    assert_eq!((breaker.snapshot().calls, upstream.count()), (1, 1));
    // A call gives a fifth of an attempt to the budget: ten of them would give two.
    let layer = retrying(many().budget(20, 0).max_attempts(2));
    for timeout in ["0n"; 9].into_iter().chain(["1S"]) {
        layer.layer(upstream.clone()).oneshot(call(timeout)).await.unwrap();
    }
    assert_eq!(upstream.count(), 2);
}

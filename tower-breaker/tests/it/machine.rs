use std::time::Duration;

use tower_breaker::{Breaker, RejectReason, State};

fn breaker() -> Breaker {
    let second = Duration::from_secs(1);
    Breaker::builder("test").min_calls(4).open_for(second).probes(2).build().unwrap()
}

fn trip(breaker: &Breaker) {
    for _ in 0..2 {
        breaker.try_acquire().unwrap().success();
    }
    for _ in 0..2 {
        assert_eq!(breaker.state(), State::Closed);
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn opens_at_the_threshold_probes_after_the_period_and_closes() {
    let breaker = breaker();
    trip(&breaker);
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!((rejected.reason(), rejected.breaker()), (RejectReason::Open, "test"));
    tokio::time::advance(Duration::from_secs(1)).await;
    let (first, second) = (breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap());
    assert_eq!(breaker.try_acquire().unwrap_err().reason(), RejectReason::ProbesTaken);
    first.success();
    second.success();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_result_from_before_the_trip_does_not_decide_the_probe() {
    let breaker = breaker();
    let late = breaker.try_acquire().unwrap();
    trip(&breaker);
    tokio::time::advance(Duration::from_secs(1)).await;
    let probe = breaker.try_acquire().unwrap();
    late.failure();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.snapshot().calls, 0);
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_slot_back_and_a_hung_one_fails() {
    let breaker = breaker();
    trip(&breaker);
    tokio::time::advance(Duration::from_secs(1)).await;
    for _ in 0..10 {
        drop(breaker.try_acquire().unwrap());
    }
    let _hung = breaker.try_acquire().unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn rates_that_cannot_work_are_refused() {
    assert!(Breaker::builder("test").failure_rate(1.0).build().is_ok());
    for rate in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY] {
        assert_eq!(Breaker::builder("test").failure_rate(rate).build().unwrap_err().field(), "failure_rate");
    }
}

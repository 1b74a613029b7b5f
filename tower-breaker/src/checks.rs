//! Six defects of other breakers, each put back and each found: the checks below pass without them and fail with them.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::defect::{Defect, with};
use crate::{Breaker, BreakerBuilder, CancelPolicy, State};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> BreakerBuilder {
    Breaker::builder("checked").min_calls(4).open_for(SECOND).probes(2)
}

fn paused(check: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(check);
}

fn trip(breaker: &Breaker) {
    for _ in 0..4 {
        let _ = breaker.try_acquire().map(crate::Permit::failure);
    }
    assert_eq!(breaker.state(), State::Open);
}

async fn old_successes_leave_the_count_window() {
    let breaker = settings().count_window(10).build().unwrap();
    for _ in 0..1_000 {
        breaker.try_acquire().unwrap().success();
    }
    for _ in 0..5 {
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(breaker.state(), State::Open);
}

async fn a_probe_phase_ends() {
    let breaker = settings().build().unwrap();
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    let hung = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
    let mut passed = 0;
    for _ in 0..100 {
        tokio::time::advance(SECOND * 5).await;
        if let Ok(permit) = breaker.try_acquire() {
            permit.success();
            passed += 1;
        }
    }
    assert!(passed > 50, "{passed} of 100 calls passed");
    drop(hung);
}

async fn results_from_before_the_trip_decide_nothing() {
    let breaker = settings().build().unwrap();
    let late = [(); 2].map(|()| breaker.try_acquire().unwrap());
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    let probe = breaker.try_acquire().unwrap();
    late.into_iter().for_each(crate::Permit::failure);
    assert_eq!(breaker.state(), State::HalfOpen);
    probe.success();
}

async fn cancelled_calls_that_hung_open_it() {
    let breaker = settings().on_cancel(CancelPolicy::FailureIfOlderThan(SECOND)).build().unwrap();
    for _ in 0..4 {
        let call = breaker.call(std::future::pending::<Result<(), ()>>());
        let _ = tokio::time::timeout(SECOND, call).await.unwrap_err();
    }
    assert_eq!(breaker.state(), State::Open);
}

async fn a_layer_applied_twice_is_one_breaker() {
    let breaker = settings().build().unwrap();
    let twice = [breaker.clone(), breaker.clone()];
    trip(&twice[0]);
    assert_eq!(twice[1].state(), State::Open);
}

async fn paused_time_ends_an_open_period() {
    let breaker = settings().build().unwrap();
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    assert!(breaker.try_acquire().is_ok());
}

fn all() {
    paused(old_successes_leave_the_count_window());
    paused(a_probe_phase_ends());
    paused(results_from_before_the_trip_decide_nothing());
    paused(cancelled_calls_that_hung_open_it());
    paused(a_layer_applied_twice_is_one_breaker());
    paused(paused_time_ends_an_open_period());
}

fn found(defect: Defect) -> bool {
    catch_unwind(AssertUnwindSafe(|| with(Some(defect), all))).is_err()
}

#[test]
fn each_of_six_defects_put_back_is_found() {
    with(None, all);
    for defect in [
        Defect::WindowNeverEvicts,
        Defect::HalfOpenForEver,
        Defect::StaleResults,
        Defect::CancelledUnrecorded,
        Defect::ClonesApart,
        Defect::SystemClock,
    ] {
        assert!(found(defect), "{defect:?} is not found");
        // The switch is off again, also after a panic.
        with(None, all);
    }
}

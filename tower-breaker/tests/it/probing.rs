//! What ends a probe phase, and how.

use std::time::Duration;

use tower_breaker::{OpenPeriod, State, Verdict};

use crate::support::{touchy, trip};

const SECOND: Duration = Duration::from_secs(1);

/// Else a stream of ignored probes would keep it half open for ever.
#[tokio::test(start_paused = true)]
async fn the_limit_of_a_phase_begins_with_its_first_probe_and_not_anew_with_each() {
    let breaker = touchy("test").half_open_limit(SECOND * 3).build().unwrap();
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    for _ in 0..3 {
        breaker.try_acquire().unwrap().ignore();
        assert_eq!(breaker.state(), State::HalfOpen);
        tokio::time::advance(SECOND).await;
    }
    assert_eq!(breaker.state(), State::Open);
}

/// It has begun well, and is merely long; one that has not begun has failed.
#[tokio::test(start_paused = true)]
async fn a_probe_that_was_answered_is_a_success_when_its_lease_is_over() {
    for (answered, then) in [(true, State::Closed), (false, State::Open)] {
        let breaker = touchy("test").probe_lease(SECOND * 2).build().unwrap();
        trip(&breaker);
        tokio::time::advance(SECOND).await;
        let mut probe = breaker.try_acquire().unwrap();
        if answered {
            probe.answered();
        }
        tokio::time::advance(SECOND * 2 - Duration::from_millis(1)).await;
        assert_eq!(breaker.state(), State::HalfOpen);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(breaker.state(), then);
        // Late, it says nothing more.
        probe.failure();
        assert_eq!(breaker.state(), then);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_hint_of_the_probes_sets_the_period() {
    let period = OpenPeriod::fixed(SECOND).retry_after_up_to(SECOND * 60);
    let breaker = touchy("test").open_for(period).probes(3).failure_rate(1.0).build().unwrap();
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    let probes = [0; 3].map(|_| breaker.try_acquire().unwrap());
    for (probe, hint) in probes.into_iter().zip([Some(2), Some(7), None]) {
        probe.record(Verdict::FAILURE.with_retry_after(hint.map(|seconds| SECOND * seconds)));
    }
    assert_eq!(breaker.snapshot().retry_after, Some(SECOND * 7));
}

#[tokio::test(start_paused = true)]
async fn a_probe_stays_one_while_the_settings_change() {
    let breaker = touchy("test").build().unwrap();
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    let probe = breaker.try_acquire().unwrap();
    breaker.reconfigure(&touchy("test").min_calls(9)).unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    probe.success();
    assert_eq!(breaker.state(), State::Closed);
}

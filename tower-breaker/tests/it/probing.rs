//! What ends a probe phase, and how.

use std::future::ready;
use std::time::Duration;

use tower::Layer;
use tower_breaker::{BoxError, BreakerLayer, Mode, OpenPeriod, RejectReason, State, Verdict};
use tower_test::mock;

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

/// Else who waits at the gate would wait for the lease of the probe that is under way.
#[tokio::test(start_paused = true)]
async fn settings_with_more_probes_wake_who_waits_at_the_gate_and_with_fewer_who_would_be_refused() {
    let inner = tower::service_fn(|_: ()| ready(Ok::<_, BoxError>(())));
    let breaker = touchy("test").probes(1).build().unwrap();
    let mut gate = mock::Spawn::new(BreakerLayer::new(breaker.clone()).mode(Mode::Gate).layer(inner));
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    let probe = breaker.try_acquire().unwrap();
    assert!(gate.poll_ready().is_pending() && !gate.is_woken());
    breaker.reconfigure(&touchy("test").probes(3)).unwrap();
    assert!(gate.is_woken() && gate.poll_ready().is_ready());

    let (mut busy, mut handle) = mock::spawn_layer::<(), (), _>(BreakerLayer::new(breaker.clone()));
    handle.allow(0);
    assert!(busy.poll_ready().is_pending());
    breaker.reconfigure(&touchy("test").probes(1)).unwrap();
    assert!(busy.is_woken() && busy.poll_ready().is_ready());
    drop(probe);
}

/// The probe that hangs is the last that can tell: nobody calls any more, and who waits behind it hears that it opened.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_inner_service_hears_that_a_lease_has_run_out() {
    let breaker = touchy("test").probes(2).probe_lease(SECOND * 2).build().unwrap();
    let (mut service, mut handle) = mock::spawn_layer::<(), (), _>(BreakerLayer::new(breaker.clone()));
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    let hangs = breaker.try_acquire().unwrap();
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    tokio::time::sleep(SECOND * 2 + Duration::from_millis(1)).await;
    assert!(service.is_woken() && service.poll_ready().is_ready());
    let rejected = service.call(()).await.unwrap_err();
    assert_eq!(rejected.rejection().unwrap().reason(), RejectReason::Open);
    drop(hangs);
}

//! What users of other breakers try first: Resilience4j, Polly, Envoy's outlier detection.

use std::future::{pending, ready};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::classify::IgnoreRejections;
use tower_breaker::{
    BoxError, Breaker, BreakerLayer, Bulkhead, BulkheadLayer, Error, HttpBreakerLayer, RejectReason, State,
};

use crate::behaviours::{SECOND, due, pass, settings, tell};
use crate::support::{response, touchy, trip};

/// A guarded call with a result.
async fn call<E: 'static>(breaker: &Breaker, result: Result<(), E>) {
    let _ = breaker.call(ready(result)).await;
}

#[tokio::test(start_paused = true)]
async fn slow_calls_have_a_window_beside_failures_in_a_row() {
    let breaker = settings().consecutive_failures(50).slow_calls(SECOND, 0.5).build().unwrap();
    let slow: Vec<_> = (0..4).map(|_| breaker.try_acquire().unwrap()).collect();
    pass(SECOND).await;
    slow.into_iter().for_each(tower_breaker::Permit::success);
    assert_eq!(breaker.state(), State::Open);
    // Without either, failures in a row are all that counts.
    let breaker = settings().consecutive_failures(50).build().unwrap();
    tell(&breaker, &"F".repeat(49));
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_further_in_is_no_failure_of_the_upstream() {
    let breaker = touchy("orders").build().unwrap();
    let bulkhead = Bulkhead::builder("orders").limit(1).build().unwrap();
    let slot = bulkhead.try_acquire().unwrap();
    for _ in 0..5 {
        let call = bulkhead.call(ready(Ok::<_, std::io::Error>(())));
        let error = breaker.call_with(IgnoreRejections, call).await.unwrap_err();
        assert!(matches!(error, Error::Inner(Error::Rejected(_))));
    }
    // The same as layers, with an error of a type and with boxes.
    let upstream = service_fn(|()| ready(Err::<(), _>(std::io::Error::other("down"))));
    let typed = BreakerLayer::new(breaker.clone())
        .classify(IgnoreRejections)
        .layer(BulkheadLayer::new(bulkhead.clone()).layer(upstream));
    let boxed = BreakerLayer::new(breaker.clone())
        .classify(IgnoreRejections)
        .layer(BulkheadLayer::new(bulkhead).layer(upstream).map_err(BoxError::from));
    for _ in 0..5 {
        assert!(typed.clone().oneshot(()).await.is_err() && boxed.clone().oneshot(()).await.is_err());
    }
    assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0));
    drop(slot);
    assert!(typed.oneshot(()).await.is_err());
    assert_eq!(breaker.snapshot().failures, 1);
    assert!(boxed.oneshot(()).await.is_err());
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn over_http_a_typed_rejection_in_a_box_is_none_either() {
    let breaker = touchy("orders").build().unwrap();
    let shut = touchy("below").initial_state(State::ForcedOpen).build().unwrap();
    let upstream = service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(response(200, &[], &[]))));
    let below = BreakerLayer::new(shut).layer(upstream);
    let service = HttpBreakerLayer::new(breaker.clone()).layer(below.clone());
    let boxed = HttpBreakerLayer::new(breaker.clone()).layer(below.map_err(Error::into_box));
    for _ in 0..5 {
        let typed = service.clone().oneshot(Request::new(())).await;
        assert!(matches!(typed, Err(Error::Rejected(_))));
        assert!(boxed.clone().oneshot(Request::new(())).await.is_err());
    }
    assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0));
}

/// Resilience4j: each rate has its own threshold, while half open too.
#[tokio::test(start_paused = true)]
async fn failing_and_slow_probes_are_not_added_up() {
    for (outcomes, state) in [("SFS", State::Closed), ("SFF", State::Open)] {
        let breaker = due(settings().probes(4).failure_rate(0.5).slow_calls(SECOND, 0.5)).await;
        let slow = breaker.try_acquire().unwrap();
        pass(SECOND).await;
        slow.success();
        tell(&breaker, outcomes);
        assert_eq!(breaker.state(), state);
    }
}

/// Resilience4j: the minimum of the window is none for the probes.
#[tokio::test(start_paused = true)]
async fn fewer_probes_than_the_minimum_decide() {
    for (outcome, state) in [("SS", State::Closed), ("F", State::Open)] {
        let breaker = due(settings().min_calls(100).consecutive_failures(3).time_window(SECOND * 10)).await;
        tell(&breaker, outcome);
        assert_eq!(breaker.state(), state);
    }
}

/// Polly: a failure rate of 100 % opens nothing while the throughput is below the minimum, however long it lasts.
#[tokio::test(start_paused = true)]
async fn a_trickle_of_failures_never_opens() {
    let breaker = settings().time_window(SECOND).build().unwrap();
    for _ in 0..1_000 {
        call(&breaker, Err("down")).await;
        pass(SECOND / 2).await;
    }
    assert_eq!(breaker.snapshot().generation, 0);
}

/// Polly: the break after a failed probe is a whole one, from the moment of the failure on.
#[tokio::test(start_paused = true)]
async fn a_failed_probe_begins_a_whole_period() {
    let breaker = due(settings().probes(1)).await;
    let probe = breaker.try_acquire().unwrap();
    pass(SECOND / 2).await;
    probe.failure();
    assert_eq!(breaker.snapshot().retry_after, Some(SECOND));
    pass(SECOND - Duration::from_nanos(1)).await;
    assert_eq!(breaker.try_acquire().unwrap_err().reason(), RejectReason::Open);
    pass(Duration::from_nanos(1)).await;
    assert!(breaker.try_acquire().is_ok());
}

/// Polly: isolated by hand in any state, a breaker stays so, and closing it forgets what was.
#[tokio::test(start_paused = true)]
async fn a_hand_overrules_every_state_and_whatever_is_under_way() {
    for state in [State::Closed, State::Open, State::HalfOpen, State::Disabled, State::MetricsOnly] {
        let breaker = settings().probes(1).initial_state(state).build().unwrap();
        let under_way = breaker.try_acquire().ok();
        breaker.force_open();
        if let Some(call) = under_way {
            call.success();
        }
        pass(SECOND * 1_000).await;
        assert_eq!(breaker.try_acquire().unwrap_err().reason(), RejectReason::ForcedOpen, "from {state}");
        breaker.force_close();
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0));
        tell(&breaker, "FFF");
        assert_eq!(breaker.state(), State::Closed);
    }
}

/// Envoy: an answer of any kind but a 5xx ends the run of failures; and 501 is no failure here.
#[tokio::test(start_paused = true)]
async fn answers_that_are_no_5xx_end_a_run_of_failures() {
    for status in [200, 301, 404, 429, 501] {
        let breaker = Breaker::builder("host").consecutive_failures(5).build().unwrap();
        let ask = async |status| {
            let upstream =
                service_fn(move |_: Request<()>| ready(Ok::<_, BoxError>(response(status, &[], &[]))));
            let answer: Response<_> = HttpBreakerLayer::new(breaker.clone())
                .layer(upstream)
                .oneshot(Request::new(()))
                .await
                .unwrap();
            crate::support::read(answer.into_body()).await.unwrap();
        };
        for status in [503, 503, 503, 503, status, 503, 503, 503, 503] {
            ask(status).await;
            assert_eq!(breaker.state(), State::Closed, "after {status}");
        }
        ask(500).await;
        assert_eq!(breaker.state(), State::Open);
    }
}

/// gobreaker, opossum: what outlives the breaker's handles harms nobody.
#[tokio::test(start_paused = true)]
async fn permits_services_and_waits_outlive_the_handle() {
    let breaker = settings().build().unwrap();
    let permit = breaker.try_acquire().unwrap();
    let mut service = BreakerLayer::new(breaker.clone())
        .mode(tower_breaker::Mode::Gate)
        .layer(service_fn(|()| pending::<Result<(), BoxError>>()));
    let timer = breaker.timed_transitions();
    let mut states = breaker.subscribe();
    trip(&breaker);
    drop(breaker);
    permit.failure();
    assert!(service.ready().now_or_never().is_none());
    tokio::time::timeout(SECOND, service.ready()).await.unwrap().unwrap();
    drop(service);
    timer.now_or_never().expect("the last handle is gone");
    assert!(states.changed().await.is_ok() && states.changed().await.is_err());
}

#[test]
fn an_error_and_its_sources_say_each_thing_once() {
    fn said(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
        std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
    }
    let down = Error::Inner(Error::Inner(std::io::Error::other("down")));
    assert_eq!(said(&down), ["the call failed", "the call failed", "down"]);
    let breaker = touchy("orders").build().unwrap();
    breaker.force_open();
    let rejected = Error::<std::io::Error>::Rejected(breaker.try_acquire().unwrap_err());
    assert_eq!(said(&rejected), ["the call was not made", "circuit breaker `orders` was opened by hand"]);
}

//! Client-side throttling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt};
use tower_breaker::throttle::{HttpThrottleLayer, Throttle, ThrottleLayer};
use tower_breaker::{Bulkhead, Error, HttpBulkheadLayer, Outcome, RejectReason, Rejected};

/// The middle: a share above one half rejects.
fn even() -> u64 {
    1 << 63
}

fn throttle() -> Throttle {
    Throttle::builder("upstream").window(Duration::from_secs(10)).random_with(even).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_healthy_upstream_is_never_throttled() {
    let throttle = throttle();
    for call in 0..10_000 {
        let pass = throttle.try_acquire().unwrap();
        // One half may fail.
        if call % 2 == 0 { pass.accepted() } else { pass.refused() }
    }
    let seen = throttle.snapshot();
    assert_eq!((seen.requests, seen.accepts, seen.rejected_share), (10_000, 5_000, 0.0));
}

/// A client that was quiet sends many at once, of which none can be accepted before it is answered.
#[tokio::test(start_paused = true)]
async fn calls_under_way_are_held_against_nobody() {
    let throttle = throttle();
    let passes: Vec<_> = (0..100).map(|_| throttle.try_acquire().unwrap()).collect();
    assert_eq!(throttle.snapshot().rejected_share, 0.0);
    passes.into_iter().for_each(tower_breaker::throttle::Pass::accepted);
    let seen = throttle.snapshot();
    assert_eq!((seen.requests, seen.accepts), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn a_failing_upstream_is_throttled_and_its_recovery_is_seen() {
    let throttle = throttle();
    while let Ok(pass) = throttle.try_acquire() {
        pass.refused();
    }
    // requests / (requests + 8) is above one half.
    assert_eq!(throttle.snapshot().requests, 10);
    let rejected = throttle.try_acquire().unwrap_err();
    assert_eq!((rejected.reason(), rejected.breaker()), (RejectReason::Throttled, "upstream"));
    tokio::time::advance(Duration::from_secs(11)).await;
    throttle.try_acquire().unwrap().accepted();
    assert_eq!(throttle.snapshot().rejected_share, 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_or_ignored_call_counts_nothing() {
    let throttle = throttle();
    for _ in 0..1000 {
        drop(throttle.try_acquire().unwrap());
        throttle.try_acquire().unwrap().record(Outcome::Ignored);
    }
    assert_eq!(throttle.snapshot().requests, 0);
    let hanging = throttle.call(std::future::pending::<Result<(), ()>>());
    assert!(tokio::time::timeout(Duration::from_secs(1), hanging).await.is_err());
    assert_eq!(throttle.snapshot().requests, 0);
    assert!(throttle.call(async { Ok::<_, ()>(1) }).await.is_ok());
    assert_eq!(throttle.snapshot().accepts, 1);
}

#[tokio::test(start_paused = true)]
async fn with_real_randomness_a_dead_upstream_sees_little_and_a_living_one_everything() {
    let throttle = Throttle::builder("upstream").build().unwrap();
    let mut sent = 0;
    for _ in 0..10_000 {
        if let Ok(pass) = throttle.try_acquire() {
            sent += 1;
            pass.refused();
        }
    }
    // Its expectation is the sum of 8 / (n + 8): about 60.
    assert!((20..200).contains(&sent), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn the_typed_form_rejects_with_its_own_error_and_keeps_readiness() {
    let (mut service, mut handle) =
        tower_test::mock::spawn_layer::<u8, u8, _>(ThrottleLayer::new(throttle()));
    handle.allow(10);
    for _ in 0..9 {
        assert!(service.poll_ready().is_ready());
        let call = service.call(1);
        handle.next_request().await.unwrap().1.send_error("overloaded");
        assert!(matches!(call.await, Err(Error::Inner(_))));
    }
    for _ in 0..3 {
        assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
        let error = service.call(1).await.unwrap_err();
        assert_eq!(error.rejection().unwrap().reason(), RejectReason::Throttled);
    }
    // The one readiness that is left was not used up by the rejections.
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(service.poll_ready().is_ready());
    let call = service.call(2);
    handle.next_request().await.unwrap().1.send_response(3);
    assert_eq!(call.await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_http_form_answers_503_and_layers_of_one_throttle_share_it() {
    let (failing, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (fails, counted) = (failing.clone(), calls.clone());
    let upstream = tower::service_fn(move |_: Request<Full<Bytes>>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let status = if fails.load(Ordering::Relaxed) { 429 } else { 404 };
        let response = Response::builder().status(status).body(Full::new(Bytes::from("theirs"))).unwrap();
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let layer = HttpThrottleLayer::new(throttle());
    let send = async || {
        let mut service = layer.layer(upstream.clone());
        service.ready().await.unwrap().call(Request::new(Full::default())).await.unwrap()
    };
    for _ in 0..9 {
        assert_eq!(send().await.status(), 429);
    }
    let answer = send().await;
    assert_eq!((answer.status().as_u16(), calls.load(Ordering::Relaxed)), (503, 9));
    assert_eq!(answer.extensions().get::<Rejected>().unwrap().reason(), RejectReason::Throttled);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    failing.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(11)).await;
    for _ in 0..100 {
        assert_eq!(send().await.status(), 404);
    }
}

/// A bulkhead further in is full: the upstream has refused nothing.
#[tokio::test(start_paused = true)]
async fn rejections_from_below_are_no_refusals_of_the_upstream() {
    let throttle = throttle();
    let bulkhead = Bulkhead::builder("below").limit(1).build().unwrap();
    let upstream = tower::service_fn(|_: Request<Full<Bytes>>| {
        let response = Response::builder().status(503).body(Full::<Bytes>::default()).unwrap();
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let below = HttpBulkheadLayer::new(bulkhead.clone()).layer(upstream);
    let service = HttpThrottleLayer::new(throttle.clone()).layer(below);
    let ask = async || service.clone().oneshot(Request::new(Full::default())).await.unwrap().status();
    assert_eq!((ask().await.as_u16(), throttle.snapshot().requests), (503, 1));
    let slot = bulkhead.try_acquire().unwrap();
    for _ in 0..20 {
        assert_eq!((ask().await.as_u16(), throttle.snapshot().requests), (503, 1));
    }
    drop(slot);
}

/// So in an error: a rejection, or a client that says that the request's own content broke off.
#[tokio::test(start_paused = true)]
async fn errors_of_this_side_are_no_refusals_of_the_upstream() {
    let bulkhead = Bulkhead::builder("below").limit(1).build().unwrap();
    let _slot = bulkhead.try_acquire().unwrap();
    let rejected = bulkhead.try_acquire().unwrap_err();
    let hyper =
        ["error from user's Body stream", "stream error sent by user: unexpected internal error encountered"];
    let own: [tower_breaker::BoxError; 3] = [rejected.into(), hyper[0].into(), hyper[1].into()];
    for (error, requests) in own.into_iter().map(|own| (own, 0)).chain([("reset by peer".into(), 1)]) {
        let (throttle, text) = (throttle(), error.to_string());
        let mut error = Some(error);
        let upstream = tower::service_fn(move |_: Request<()>| {
            std::future::ready(Err::<Response<Full<Bytes>>, _>(error.take().unwrap()))
        });
        let service = HttpThrottleLayer::new(throttle.clone()).layer(upstream);
        assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().to_string(), text);
        assert_eq!(throttle.snapshot().requests, requests, "{text}");
    }
}

/// As to a breaker, what the caller's own patience cut short says nothing.
#[cfg(feature = "retry")]
#[tokio::test(start_paused = true)]
async fn a_hang_is_a_refusal_unless_the_caller_had_no_time() {
    use tower_breaker::retry::{AttemptTimeoutLayer, Deadline};

    let upstream = tower::service_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<Full<Bytes>>, std::convert::Infallible>>()
    });
    let ms = Duration::from_millis;
    for (left, requests) in [(None, 1), (Some(ms(300)), 1), (Some(ms(100)), 0)] {
        let throttle = throttle();
        let attempt = AttemptTimeoutLayer::new(ms(400)).unwrap().layer(upstream);
        let mut request = Request::new(());
        if let Some(left) = left {
            let deadline = tokio::time::Instant::now() + left;
            request.extensions_mut().insert(Deadline::at(deadline.into_std()));
        }
        let answer = HttpThrottleLayer::new(throttle.clone()).layer(attempt).oneshot(request).await.unwrap();
        let seen = throttle.snapshot();
        assert_eq!((answer.status().as_u16(), seen.requests, seen.accepts), (504, requests, 0), "{left:?}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let builder = || Throttle::builder("upstream");
    assert!(builder().ratio(1.0).padding(1).window(Duration::from_nanos(1)).build().is_ok());
    for ratio in [0.99, 0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(builder().ratio(ratio).build().unwrap_err().field(), "ratio");
    }
    assert_eq!(builder().window(Duration::ZERO).build().unwrap_err().field(), "window");
    assert_eq!(builder().padding(0).build().unwrap_err().field(), "padding");
    assert_eq!(Throttle::builder("").build().unwrap_err().field(), "name");
}

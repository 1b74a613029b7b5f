//! What counts as a success, a failure, or nothing.

use std::future::{pending, ready};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::classify::{ClassifyHttp, Head, HttpClassifier};
use tower_breaker::{
    BoxError, Breaker, BreakerLayer, Bulkhead, CancelPolicy, Error, HttpBreakerLayer, HttpBulkheadLayer,
    OpenPeriod, Outcome, State, Verdict,
};

use crate::support::{Piece, TestBody, read, response, script, touchy, trip};

const DATA: Piece = Piece::Data("01234");

/// The counted calls and failures after one exchange whose body is read to its end.
async fn exchange(answer: Response<TestBody>) -> (u64, u64) {
    exchange_as(Method::GET, HttpClassifier::new(), answer).await
}

async fn exchange_as<C>(method: Method, classify: C, answer: Response<TestBody>) -> (u64, u64)
where
    C: ClassifyHttp + Clone + Send + 'static,
{
    let breaker = Breaker::builder("orders").build().unwrap();
    let answer = std::sync::Mutex::new(Some(answer));
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(answer.lock().unwrap().take().unwrap())));
    let service = HttpBreakerLayer::new(breaker.clone()).classify(classify).layer(inner);
    let request = Request::builder().method(method).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let _ = read(response.into_body()).await;
    let seen = breaker.snapshot();
    (seen.calls, seen.failures)
}

const SUCCESS: (u64, u64) = (1, 0);
const FAILURE: (u64, u64) = (1, 1);
const NOTHING: (u64, u64) = (0, 0);

#[tokio::test(start_paused = true)]
async fn the_status_decides() {
    for (status, expected) in
        [(200, SUCCESS), (404, SUCCESS), (429, SUCCESS), (500, FAILURE), (501, SUCCESS), (503, FAILURE)]
    {
        assert_eq!(exchange(response(status, &[], &[DATA])).await, expected, "{status}");
    }
    let throttled = HttpClassifier::new().failing_status(|status| status == StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(exchange_as(Method::GET, throttled, response(429, &[], &[])).await, FAILURE);
    assert_eq!(exchange_as(Method::GET, throttled, response(500, &[], &[])).await, SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_a_failure() {
    let breaker = touchy("orders").build().unwrap();
    let fails = service_fn(|_: Request<()>| ready(Err::<Response<TestBody>, BoxError>("refused".into())));
    let service = HttpBreakerLayer::new(breaker.clone()).layer(fails);
    assert_eq!(service.clone().oneshot(Request::new(())).await.unwrap_err().to_string(), "refused");
    assert_eq!(breaker.state(), State::Closed);
    assert!(service.clone().oneshot(Request::new(())).await.is_err());
    assert_eq!(breaker.state(), State::Open);
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

#[tokio::test(start_paused = true)]
async fn grpc_status_in_the_header_block() {
    for (code, expected) in [("0", SUCCESS), ("5", SUCCESS), ("13", FAILURE), ("14", FAILURE), ("x", FAILURE)]
    {
        assert_eq!(exchange(response(200, &[GRPC, ("grpc-status", code)], &[])).await, expected, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_status_in_the_trailers() {
    for (code, expected) in [("0", SUCCESS), ("7", SUCCESS), ("14", FAILURE), ("15", FAILURE)] {
        let pieces = [DATA, Piece::Trailers("grpc-status", code)];
        assert_eq!(exchange(response(200, &[GRPC], &pieces)).await, expected, "{code}");
    }
    let lenient = HttpClassifier::new().failing_grpc_code(|code| code == 7);
    let pieces = [DATA, Piece::Trailers("grpc-status", "14")];
    assert_eq!(exchange_as(Method::GET, lenient, response(200, &[GRPC], &pieces)).await, SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_answer_without_status_is_unknown_but_for_grpc_web() {
    assert_eq!(exchange(response(200, &[GRPC], &[DATA])).await, FAILURE);
    assert_eq!(exchange(response(200, &[("content-type", "application/grpc-web")], &[DATA])).await, SUCCESS);
    assert_eq!(exchange(response(200, &[("content-type", "text/plain")], &[DATA])).await, SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn a_body_error_after_200_is_a_failure() {
    assert_eq!(exchange(response(200, &[], &[DATA])).await, SUCCESS);
    assert_eq!(exchange(response(200, &[], &[DATA, Piece::Error])).await, FAILURE);
}

#[tokio::test(start_paused = true)]
async fn a_body_shorter_than_its_content_length_is_a_failure() {
    let length = |length| response(200, &[("content-length", length)], &[DATA]);
    assert_eq!(exchange(length("5")).await, SUCCESS);
    assert_eq!(exchange(length("6")).await, FAILURE);
    // These promise what a GET would have brought (RFC 9110 §8.6).
    let empty = |status| response(status, &[("content-length", "6")], &[]);
    assert_eq!(exchange_as(Method::HEAD, HttpClassifier::new(), empty(200)).await, SUCCESS);
    assert_eq!(exchange(empty(304)).await, SUCCESS);
    assert_eq!(exchange(empty(200)).await, FAILURE);
    let mut at_end = response(200, &[("content-length", "6")], &[]);
    *at_end.body_mut() = http_body_util::Empty::new().map_err(|e| match e {}).boxed_unsync();
    assert_eq!(exchange(at_end).await, FAILURE);
}

/// The counts after a body of which one frame was read, and then `after` waited for the next.
async fn dropped(policy: CancelPolicy, pieces: &[Piece], after: Duration) -> (u64, u64) {
    let breaker = Breaker::builder("orders").on_cancel(policy).build().unwrap();
    let pieces = pieces.to_vec();
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(response(200, &[], &pieces))));
    let service = HttpBreakerLayer::new(breaker.clone()).layer(inner);
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    if !after.is_zero() {
        assert!(tokio::time::timeout(after, body.frame()).await.is_err());
    }
    drop(body);
    let seen = breaker.snapshot();
    (seen.calls, seen.failures)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_drops_a_healthy_body_says_nothing() {
    let second = Duration::from_secs(1);
    for policy in [CancelPolicy::FailureIfOlderThan(second), CancelPolicy::Failure, CancelPolicy::Ignore] {
        assert_eq!(dropped(policy, &[DATA, DATA], Duration::ZERO).await, NOTHING, "{policy:?}");
    }
    let patient = CancelPolicy::FailureIfOlderThan(second);
    assert_eq!(dropped(patient, &[DATA, Piece::Hang], second / 2).await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalled_before_it_was_dropped_is_a_failure() {
    let (second, stalls) = (Duration::from_secs(1), [DATA, Piece::Hang]);
    assert_eq!(dropped(CancelPolicy::FailureIfOlderThan(second), &stalls, second).await, FAILURE);
    assert_eq!(dropped(CancelPolicy::Ignore, &stalls, second).await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn time_decides_slow_calls() {
    let breaker = touchy("orders").slow_calls(Duration::from_secs(1), 0.5).build().unwrap();
    let sleeps = |wait: u64| async move {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        Ok::<_, BoxError>(())
    };
    let service = BreakerLayer::new(breaker.clone()).layer(service_fn(sleeps));
    service.clone().oneshot(999).await.unwrap();
    assert_eq!(breaker.snapshot().slow, 0);
    service.clone().oneshot(1000).await.unwrap();
    assert_eq!(breaker.state(), State::Open);
}

/// Answers after so many milliseconds; then the reader takes its time, also with the last of the body.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_no_slow_call_but_a_late_head_is() {
    let second = Duration::from_secs(1);
    let breaker = touchy("orders").slow_calls(second, 0.5).build().unwrap();
    let inner = service_fn(async |request: Request<u64>| {
        tokio::time::sleep(Duration::from_millis(*request.body())).await;
        Ok::<_, BoxError>(response(200, &[], &[DATA, DATA]))
    });
    let service = HttpBreakerLayer::new(breaker.clone()).layer(inner);
    let exchange = async |wait: u64| {
        let mut body = service.clone().oneshot(Request::new(wait)).await.unwrap().into_body();
        for _ in 0..2 {
            tokio::time::advance(second * 2).await;
            body.frame().await.unwrap().unwrap();
        }
        tokio::time::advance(second * 2).await;
        assert!(body.frame().await.is_none());
    };
    exchange(999).await;
    exchange(0).await;
    let seen = breaker.snapshot();
    assert_eq!((seen.state, seen.calls, seen.slow), (State::Closed, 2, 0));
    exchange(1000).await;
    assert_eq!(breaker.state(), State::Open);
    // A probe is measured in the same way.
    tokio::time::advance(second).await;
    exchange(0).await;
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_was_answered_is_measured_until_then() {
    let second = Duration::from_secs(1);
    let breaker = Breaker::builder("orders").slow_calls(second, 1.0).build().unwrap();
    for (before, slow) in [(second - Duration::from_millis(1), 0), (second, 1)] {
        let mut permit = breaker.try_acquire().unwrap();
        tokio::time::advance(before).await;
        permit.answered();
        tokio::time::advance(second).await;
        permit.answered();
        permit.success();
        assert_eq!(breaker.snapshot().slow, slow);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_counts_by_its_policy() {
    let second = Duration::from_secs(1);
    for (policy, age, failures) in [
        (CancelPolicy::Ignore, second * 9, NOTHING),
        (CancelPolicy::Failure, Duration::ZERO, FAILURE),
        (CancelPolicy::FailureIfOlderThan(second), second - Duration::from_millis(1), NOTHING),
        (CancelPolicy::FailureIfOlderThan(second), second, FAILURE),
    ] {
        let breaker = Breaker::builder("orders").on_cancel(policy).build().unwrap();
        let hangs = service_fn(|()| pending::<Result<(), BoxError>>());
        let service = BreakerLayer::new(breaker.clone()).layer(hangs);
        let mut call = Box::pin(service.oneshot(()));
        assert!(call.as_mut().now_or_never().is_none());
        tokio::time::advance(age).await;
        drop(call);
        let seen = breaker.snapshot();
        assert_eq!((seen.calls, seen.failures), failures, "{policy:?} {age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_that_an_outer_timeout_cuts_opens_the_breaker() {
    let breaker = touchy("orders").build().unwrap();
    let hangs = service_fn(|()| pending::<Result<(), BoxError>>());
    let service = BreakerLayer::new(breaker.clone()).layer(hangs);
    for _ in 0..2 {
        assert_eq!(breaker.state(), State::Closed);
        let call = service.clone().oneshot(());
        assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_wherever_it_is_caught() {
    let breaker = touchy("orders").build().unwrap();
    let panics = service_fn(|what: u8| async move {
        assert!(what != 1, "on purpose");
        Ok::<_, BoxError>(what)
    });
    let service = BreakerLayer::new(breaker.clone()).layer(panics);
    assert_eq!(service.clone().oneshot(0).await.unwrap(), 0);
    // Caught within the task: the future is dropped after the unwinding.
    let mut call = Box::pin(service.clone().oneshot(1));
    assert!(AssertUnwindSafe(&mut call).catch_unwind().await.is_err());
    drop(call);
    assert_eq!((breaker.snapshot().failures, breaker.state()), (0, State::Open));
    breaker.reset();
    assert!(tokio::spawn(service.oneshot(1)).await.unwrap_err().is_panic());
    assert_eq!(breaker.snapshot().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_classifier_that_panics_hurts_its_own_call_only() {
    let breaker = Breaker::builder("orders").build().unwrap();
    let judge = |result: Result<&u8, &BoxError>| {
        assert!(*result.unwrap() != 1, "on purpose");
        Outcome::Success
    };
    let inner = service_fn(|what: u8| ready(Ok::<_, BoxError>(what)));
    let service = BreakerLayer::new(breaker.clone()).classify(judge).layer(inner);
    service.clone().oneshot(0).await.unwrap();
    assert!(tokio::spawn(service.clone().oneshot(1)).await.is_err());
    service.oneshot(2).await.unwrap();
    assert_eq!((breaker.snapshot().calls, breaker.snapshot().failures), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn closures_judge_both_forms() {
    let breaker = Breaker::builder("orders").build().unwrap();
    let judge = |result: Result<&u8, &BoxError>| match result {
        Ok(0) => Outcome::Success,
        Ok(_) => Outcome::Failure,
        Err(_) => Outcome::Ignored,
    };
    let inner = service_fn(|what: u8| ready(if what < 2 { Ok(what) } else { Err(BoxError::from("mine")) }));
    let service = BreakerLayer::new(breaker.clone()).classify(judge).layer(inner);
    for what in 0..3 {
        let _: Result<u8, Error<BoxError>> = service.clone().oneshot(what).await;
    }
    assert_eq!((breaker.snapshot().calls, breaker.snapshot().failures), (2, 1));

    let teapot = |status: StatusCode, fields: &HeaderMap| match status.as_u16() {
        418 => Outcome::Failure,
        _ if fields.contains_key("x-cached") => Outcome::Ignored,
        _ => Outcome::Success,
    };
    assert_eq!(exchange_as(Method::GET, teapot, response(500, &[], &[])).await, SUCCESS);
    assert_eq!(exchange_as(Method::GET, teapot, response(418, &[], &[])).await, FAILURE);
    assert_eq!(exchange_as(Method::GET, teapot, response(200, &[("x-cached", "1")], &[])).await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn a_judge_keeps_what_the_head_said_until_the_end() {
    #[derive(Clone)]
    struct Checksum(Option<String>);
    impl ClassifyHttp for Checksum {
        fn head(&mut self, response: &Response<()>) -> Head {
            self.0 = response.headers().get("expects").map(|value| value.to_str().unwrap().to_owned());
            Head::AtEnd
        }
        fn end(&mut self, trailers: Option<&HeaderMap>) -> Verdict {
            let sum = trailers.and_then(|trailers| trailers.get("sum")).map(|sum| sum.to_str().unwrap());
            if self.0.as_deref() == sum { Verdict::SUCCESS } else { Verdict::FAILURE }
        }
    }
    let answer = |sum| response(200, &[("expects", "7")], &[DATA, Piece::Trailers("sum", sum)]);
    assert_eq!(exchange_as(Method::GET, Checksum(None), answer("7")).await, SUCCESS);
    assert_eq!(exchange_as(Method::GET, Checksum(None), answer("8")).await, FAILURE);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_from_below_says_nothing_about_the_upstream() {
    let breaker = touchy("orders").build().unwrap();
    let bulkhead = Bulkhead::builder("orders").limit(1).build().unwrap();
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(Response::new(script(&[DATA])))));
    let service =
        HttpBreakerLayer::new(breaker.clone()).layer(HttpBulkheadLayer::new(bulkhead.clone()).layer(inner));
    let slot = bulkhead.try_acquire().unwrap();
    for _ in 0..5 {
        assert_eq!(service.clone().oneshot(Request::new(())).await.unwrap().status(), 503);
    }
    assert_eq!(breaker.snapshot().calls, 0);
    drop(slot);
    read(service.clone().oneshot(Request::new(())).await.unwrap().into_body()).await.unwrap();
    assert_eq!(breaker.snapshot().calls, 1);
}

#[tokio::test(start_paused = true)]
async fn the_upstreams_retry_after_sets_the_open_period_when_it_may() {
    let cap = Duration::from_secs(30);
    let period = OpenPeriod::fixed(Duration::from_secs(1)).retry_after_up_to(cap);
    for (field, value, expected) in [
        ("retry-after", "7", 7),
        ("retry-after", "60", 30),
        ("grpc-retry-pushback-ms", "9000", 9),
        ("x", "7", 1),
    ] {
        let breaker = touchy("orders").open_for(period).build().unwrap();
        let inner =
            service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(response(503, &[(field, value)], &[]))));
        let service = HttpBreakerLayer::new(breaker.clone()).layer(inner);
        for _ in 0..2 {
            service.clone().oneshot(Request::new(())).await.unwrap();
        }
        assert_eq!(breaker.snapshot().retry_after, Some(Duration::from_secs(expected)), "{field}: {value}");
    }
}

#[cfg(feature = "tower-http")]
#[tokio::test(start_paused = true)]
async fn classifiers_of_tower_http_judge() {
    use tower_breaker::classify::TowerHttp;
    use tower_http::classify::{GrpcErrorsAsFailures, StatusInRangeAsFailures};

    let status = || TowerHttp::new(StatusInRangeAsFailures::new(400..=499));
    assert_eq!(exchange_as(Method::GET, status(), response(200, &[], &[DATA])).await, SUCCESS);
    assert_eq!(exchange_as(Method::GET, status(), response(404, &[], &[DATA])).await, FAILURE);
    assert_eq!(exchange_as(Method::GET, status(), response(200, &[], &[DATA, Piece::Error])).await, FAILURE);
    let grpc = || TowerHttp::new(GrpcErrorsAsFailures::new());
    let trailers = |code| response(200, &[], &[DATA, Piece::Trailers("grpc-status", code)]);
    assert_eq!(exchange_as(Method::GET, grpc(), trailers("0")).await, SUCCESS);
    assert_eq!(exchange_as(Method::GET, grpc(), trailers("14")).await, FAILURE);
    assert_eq!(exchange_as(Method::GET, grpc(), response(200, &[("grpc-status", "2")], &[])).await, FAILURE);
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_decided_at_the_end_of_its_body() {
    let breaker = touchy("orders").build().unwrap();
    let inner = service_fn(|fails: bool| {
        let last = if fails { Piece::Error } else { DATA };
        ready(Ok::<_, BoxError>(response(200, &[], &[DATA, last])))
    });
    let service = HttpBreakerLayer::new(breaker.clone())
        .layer(inner.map_request(|request: Request<bool>| *request.body()));
    for (fails, then) in [(true, State::Open), (false, State::Closed)] {
        if breaker.state() == State::Closed {
            trip(&breaker);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        let answer = service.clone().oneshot(Request::new(fails)).await.unwrap();
        assert_eq!(breaker.state(), State::HalfOpen);
        let _ = read(answer.into_body()).await;
        assert_eq!(breaker.state(), then);
    }
}

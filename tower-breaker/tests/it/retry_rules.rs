//! Which results are followed by another attempt. Each test begins with what is repeated and changes one thing.

use std::time::Duration;

use http::Method;
use tower::{Layer, ServiceExt};
use tower_breaker::retry::{Deadline, HttpPolicy, HttpPolicyBuilder, ReplayBody, unsent};
use tower_breaker::{Breaker, BreakerLayer, HttpBreakerLayer, RejectReason, Rejected, find_rejection};

use crate::retry_support::*;

const AGAIN: (Option<u16>, usize) = (Some(200), 2);

fn policy() -> HttpPolicyBuilder {
    HttpPolicy::builder()
}

#[tokio::test(start_paused = true)]
async fn idempotent_methods_are_repeated_and_a_post_without_key_is_sent_once() {
    let fails = || then_well(|| Whole(503, &[]));
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE] {
        assert_eq!(outcome(policy(), fails(), request(method, "x")).await, AGAIN);
    }
    for method in [Method::POST, Method::PATCH] {
        assert_eq!(outcome(policy(), fails(), request(method.clone(), "x")).await, (Some(503), 1));
        let keyed = with(request(method, "x"), "idempotency-key", "\"8e03978e\"");
        assert_eq!(outcome(policy(), fails(), keyed).await, AGAIN);
    }
    let reads = policy().idempotent_when(|parts| parts.uri.path() == "/");
    assert_eq!(outcome(reads, fails(), request(Method::POST, "x")).await, AGAIN);
}

#[tokio::test(start_paused = true)]
async fn five_statuses_are_repeated_and_others_are_answers() {
    for status in [408, 429, 502, 503, 504] {
        let script = move |number| Whole(if number == 0 { status } else { 200 }, &[]);
        assert_eq!(outcome(policy(), script, request(Method::GET, "")).await, AGAIN, "{status}");
    }
    for status in [200, 301, 400, 404, 409, 425, 500, 501, 505] {
        let script = move |number| Whole(if number == 0 { status } else { 200 }, &[]);
        assert_eq!(outcome(policy(), script, request(Method::GET, "")).await, (Some(status), 1));
    }
    let all = policy().retried_status(|status| status.is_server_error());
    assert_eq!(outcome(all, then_well(|| Whole(500, &[])), request(Method::GET, "")).await, AGAIN);
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_whole_when_the_attempts_are_used_up() {
    let upstream = Upstream::new(|_| Whole(503, &[("x-why", "tired")]));
    let answer = send(policy().max_attempts(3), &upstream, request(Method::GET, "")).await.unwrap();
    assert_eq!((answer.status().as_u16(), upstream.count()), (503, 3));
    assert_eq!((answer.headers()["x-why"].as_bytes(), &answer.body()[..]), (&b"tired"[..], &b"answer"[..]));
    let once = policy().max_attempts(1);
    assert_eq!(outcome(once, |_| Whole(503, &[]), request(Method::GET, "")).await, (Some(503), 1));
    assert_eq!(policy().max_attempts(0).build().unwrap_err().field(), "max_attempts");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for_unless_it_is_longer_than_the_caller_would() {
    fn noon() -> std::time::SystemTime {
        httpdate::parse_http_date("Sun, 06 Nov 1994 12:00:00 GMT").unwrap()
    }
    let policy = || policy().retry_after_up_to(Duration::from_secs(3)).wall_clock(noon);
    let waited = async |first: fn() -> Answer| {
        let upstream = Upstream::new(then_well(first));
        let status = send(policy(), &upstream, request(Method::GET, "")).await.unwrap().status();
        let seen = upstream.seen();
        (status.as_u16(), seen.get(1).map(|second| (second.at - seen[0].at).as_secs()))
    };
    assert_eq!(waited(|| Whole(503, &[("retry-after", "3")])).await, (200, Some(3)));
    assert_eq!(waited(|| Whole(503, &[("retry-after", "4")])).await, (503, None));
    assert_eq!(
        waited(|| Whole(429, &[("retry-after", "Sun, 06 Nov 1994 12:00:02 GMT")])).await,
        (200, Some(2))
    );
    assert_eq!(waited(|| Whole(429, &[("retry-after", "Sun, 06 Nov 1994 12:00:04 GMT")])).await, (429, None));
    assert_eq!(waited(|| Whole(503, &[("retry-after", "soon")])).await, (200, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_at_the_deadline_is_not_begun() {
    let script = || then_well(|| Whole(503, &[("retry-after", "2")]));
    let policy = || policy().retry_after_up_to(Duration::from_secs(9));
    let long = policy().total_timeout(Duration::from_millis(2001));
    assert_eq!(outcome(long, script(), request(Method::GET, "")).await, AGAIN);
    let short = policy().total_timeout(Duration::from_secs(2));
    assert_eq!(outcome(short, script(), request(Method::GET, "")).await, (Some(503), 1));
    // A deadline set outside counts as well.
    let mut hurried = request(Method::GET, "");
    let at = tokio::time::Instant::now() + Duration::from_secs(2);
    hurried.extensions_mut().insert(Deadline::at(at.into_std()));
    assert_eq!(outcome(policy(), script(), hurried).await, (Some(503), 1));
}

#[tokio::test(start_paused = true)]
async fn pushback_of_grpc_is_waited_for_and_a_negative_one_is_the_end() {
    let call =
        || with(with(request(Method::POST, "x"), "content-type", "application/grpc"), "idempotency-key", "1");
    let after = async |first: fn() -> Answer| outcome(policy(), then_well(first), call()).await;
    assert_eq!(after(|| Whole(200, &[("grpc-status", "14")])).await, AGAIN);
    assert_eq!(
        after(|| Whole(200, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "500")])).await,
        AGAIN
    );
    for pushback in ["-1", "soon", "1001"] {
        let script = move |number| match number {
            0 if pushback == "-1" => Whole(200, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")]),
            0 if pushback == "soon" => {
                Whole(200, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "soon")])
            }
            0 => Whole(200, &[("grpc-status", "14"), ("grpc-retry-pushback-ms", "1001")]),
            _ => Whole(200, &[]),
        };
        assert_eq!(outcome(policy(), script, call()).await, (Some(200), 1), "{pushback}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_status_is_looked_for_in_trailers_and_after_data_it_is_not_repeated() {
    let call =
        || with(with(request(Method::POST, "x"), "content-type", "application/grpc"), "idempotency-key", "1");
    let after = async |first: fn() -> Answer| outcome(policy(), then_well(first), call()).await;
    for code in [
        || Frames(vec![trailers(&[("grpc-status", "14")])]),
        || Frames(vec![trailers(&[("grpc-status", "8")])]),
    ] {
        assert_eq!(after(code).await, AGAIN);
    }
    assert_eq!(after(|| Frames(vec![trailers(&[("grpc-status", "3")])])).await, (Some(200), 1));
    assert_eq!(after(|| Frames(vec![])).await, (Some(200), 1));
    assert_eq!(
        after(|| Frames(vec![data("message"), trailers(&[("grpc-status", "14")])])).await,
        (Some(200), 1)
    );
    // A gRPC method that changes something is not repeated, for it is a POST without a key.
    let plain = with(request(Method::POST, "x"), "content-type", "application/grpc");
    let fails = then_well(|| Whole(200, &[("grpc-status", "14")]));
    assert_eq!(outcome(policy(), fails, plain).await, (Some(200), 1));
}

#[tokio::test(start_paused = true)]
async fn frames_that_were_looked_at_reach_the_caller() {
    let call =
        with(with(request(Method::POST, "x"), "content-type", "application/grpc"), "idempotency-key", "1");
    let upstream =
        Upstream::new(|_| Frames(vec![data("one"), data("two"), trailers(&[("grpc-status", "0")])]));
    let response = retrying(policy()).layer(upstream).oneshot(call).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "onetwo");
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_repeated_even_for_a_post_and_a_broken_one_is_not() {
    use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset};
    let post = || request(Method::POST, "content");
    let upstream = Upstream::new(then_well(|| Fails(ConnectionRefused)));
    assert_eq!(send(policy(), &upstream, post()).await.unwrap().status(), 200);
    assert_eq!(upstream.seen()[1].content.as_deref(), Ok(&b"content"[..]));
    assert_eq!(outcome(policy(), then_well(|| Fails(ConnectionReset)), post()).await, (None, 1));
    assert_eq!(outcome(policy(), then_well(|| Fails(BrokenPipe)), request(Method::GET, "")).await, AGAIN);
    let knows = policy().connect_error(|error| unsent(error) || error.to_string().contains("reset"));
    assert_eq!(outcome(knows, then_well(|| Fails(ConnectionReset)), post()).await, AGAIN);
}

#[tokio::test(start_paused = true)]
async fn a_local_rejection_is_not_repeated_on_the_same_upstream() {
    let upstream = Upstream::new(|_| Whole(200, &[]));
    let breaker = Breaker::builder("upstream").build().unwrap();
    let http = retrying(policy()).layer(HttpBreakerLayer::new(breaker.clone()).layer(upstream.clone()));
    let typed = BreakerLayer::new(breaker.clone()).layer(upstream.clone());
    let typed =
        ServiceExt::<http::Request<ReplayBody<ReqBody>>>::map_err(typed, tower_breaker::Error::into_box);
    let typed = retrying(policy()).layer(typed);
    assert_eq!(http.clone().oneshot(request(Method::GET, "")).await.unwrap().status(), 200);
    breaker.force_open();
    let started = tokio::time::Instant::now();
    let answer = http.oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.extensions().get::<Rejected>().unwrap().reason(), RejectReason::ForcedOpen);
    let error = typed.oneshot(request(Method::GET, "")).await.unwrap_err();
    assert_eq!(find_rejection(&*error).unwrap().breaker(), "upstream");
    assert_eq!((upstream.count(), started.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_local_rejection_is_repeated_at_once_on_another_endpoint_even_for_a_post() {
    let breaker = Breaker::builder("first").build().unwrap();
    breaker.force_open();
    let mut upstream = Upstream::new(|_| Whole(200, &[]));
    upstream.balanced = true;
    let rejecting = HttpBreakerLayer::new(breaker).layer(upstream.clone());
    let (rejecting, open) = (rejecting, upstream.clone());
    let balancer = tower::service_fn(move |request: http::Request<_>| {
        let attempt = request.extensions().get::<tower_breaker::retry::Attempt>().unwrap().clone();
        let (rejecting, open) = (rejecting.clone(), open.clone());
        async move {
            if attempt.number() == 1 {
                attempt.mark(1);
                let response = rejecting.oneshot(request).await?;
                return Ok(response.map(http_body_util::BodyExt::boxed_unsync));
            }
            assert!(attempt.has_tried(1) && !attempt.has_tried(2));
            open.oneshot(request).await
        }
    });
    let started = tokio::time::Instant::now();
    // Nor does it cost anything of the budget: no upstream has seen it.
    let service = retrying(policy().budget(0, 0)).layer(balancer);
    assert_eq!(service.oneshot(request(Method::POST, "content")).await.unwrap().status(), 200);
    assert_eq!((upstream.count(), started.elapsed()), (1, Duration::ZERO));
    assert_eq!(upstream.seen()[0].content.as_deref(), Ok(&b"content"[..]));
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_is_sent_once() {
    let fails = || then_well(|| Whole(503, &[]));
    assert_eq!(outcome(policy(), fails(), request(Method::GET, "")).await, AGAIN);
    let upgrade = with(request(Method::GET, ""), "upgrade", "websocket");
    assert_eq!(outcome(policy(), fails(), upgrade).await, (Some(503), 1));
    let keyed = with(request(Method::CONNECT, ""), "idempotency-key", "1");
    assert_eq!(outcome(policy(), fails(), keyed).await, (Some(503), 1));
}

#[tokio::test(start_paused = true)]
async fn the_attempt_header_counts_from_one_and_replaces_what_came() {
    let named = policy().attempt_header("x-attempt".parse().unwrap());
    let upstream = Upstream::new(then_well(|| Whole(503, &[])));
    send(named, &upstream, with(request(Method::GET, ""), "x-attempt", "77")).await.unwrap();
    let seen = upstream.seen();
    assert_eq!([&seen[0].headers["x-attempt"], &seen[1].headers["x-attempt"]], ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn without_budget_nothing_is_repeated() {
    let fails = || then_well(|| Whole(503, &[]));
    assert_eq!(outcome(policy().budget(100, 0), fails(), request(Method::GET, "")).await, AGAIN);
    assert_eq!(outcome(policy().budget(0, 0), fails(), request(Method::GET, "")).await, (Some(503), 1));
    assert_eq!(policy().budget(101, 0).build().unwrap_err().field(), "budget");
}

#[cfg(feature = "metrics")]
#[test]
fn each_retry_and_each_reason_against_one_is_counted() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let fails = || |_| Whole(503, &[]);
            outcome(policy(), fails(), request(Method::GET, "")).await;
            outcome(policy(), fails(), request(Method::POST, "")).await;
            outcome(policy().budget(0, 0), fails(), request(Method::GET, "")).await;
            outcome(policy().max_body(1), |_| Whole(503, &[]), request(Method::PUT, "ab")).await;
            outcome(policy(), |_| Whole(503, &[("retry-after", "2")]), request(Method::GET, "")).await;
        });
    });
    let counted = snapshotter.snapshot().into_vec().into_iter().filter_map(|(key, _, _, value)| {
        let (_, key) = key.into_parts();
        let outcome = key.labels().next().unwrap().value().to_owned();
        match value {
            DebugValue::Counter(count) if key.name() == "tower_breaker_retries_total" && count > 0 => {
                Some((outcome, count))
            }
            _ => None,
        }
    });
    let mut counted: Vec<_> = counted.collect();
    counted.sort();
    let expected = ["attempts", "body", "budget", "forbidden", "not_idempotent", "retried"];
    assert_eq!(counted, expected.map(|outcome| (outcome.to_owned(), 1)));
}

//! The policy in tower's own `Retry`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};
use tower_breaker::BoxError;
use tower_breaker::retry::{HttpPolicy, HttpPolicyBuilder, ReplayBody};

use crate::retry_support::*;

async fn send(
    policy: HttpPolicyBuilder,
    upstream: &Upstream,
    request: Request<ReqBody>,
) -> Result<u16, BoxError> {
    let service = tower::retry::RetryLayer::new(policy.build()?.into_tower_boxed()).layer(upstream.clone());
    Ok(service.oneshot(request.map(ReplayBody::new)).await?.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn it_repeats_what_the_layer_repeats() {
    let fails = || Upstream::new(then_well(|| Whole(503, &[])));
    let upstream = fails();
    assert_eq!(send(HttpPolicy::builder(), &upstream, request(Method::PUT, "content")).await.unwrap(), 200);
    assert_eq!(upstream.seen()[1].content.as_deref(), Ok(&b"content"[..]));
    let upstream = fails();
    assert_eq!(send(HttpPolicy::builder(), &upstream, request(Method::POST, "content")).await.unwrap(), 503);
    assert_eq!(upstream.count(), 1);
    let upstream = Upstream::new(|_| Whole(503, &[]));
    let thrice = HttpPolicy::builder().max_attempts(3).attempt_header("x-attempt".parse().unwrap());
    assert_eq!(send(thrice, &upstream, request(Method::GET, "")).await.unwrap(), 503);
    assert_eq!((upstream.count(), &upstream.seen()[2].headers["x-attempt"]), (3, &"3".parse().unwrap()));
}

/// tower asks the policy of the service for the first request, and a clone of it for those that follow.
#[tokio::test(start_paused = true)]
async fn each_call_of_one_service_has_attempts_and_a_deposit_of_its_own() {
    let upstream = Upstream::new(|number| Whole(if number % 2 == 0 { 503 } else { 200 }, &[]));
    let policy = HttpPolicy::builder().budget(100, 0).build().unwrap().into_tower_boxed();
    let mut service = tower::retry::RetryLayer::new(policy).layer(upstream.clone());
    for call in 1..=3 {
        std::future::poll_fn(|cx| Service::<Request<ReplayBody<ReqBody>>>::poll_ready(&mut service, cx))
            .await
            .unwrap();
        let answer = service.call(request(Method::GET, "").map(ReplayBody::new)).await.unwrap();
        assert_eq!((answer.status().as_u16(), upstream.count()), (200, call * 2));
    }
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_budget_and_errors_may_have_a_type() {
    let policy = HttpPolicy::builder().budget(0, 1).build().unwrap().into_tower();
    let layer = tower::retry::RetryLayer::new(policy);
    let refused = || {
        tower::service_fn(async |_: Request<ReplayBody<Full<Bytes>>>| {
            Err::<Response<Full<Bytes>>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
        })
    };
    let started = tokio::time::Instant::now();
    for _ in 0..3 {
        let request = Request::post("/").body(ReplayBody::new(Full::new(Bytes::from("x")))).unwrap();
        layer.layer(refused()).oneshot(request).await.unwrap_err();
    }
    assert!(started.elapsed() <= Duration::from_millis(26));
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_towers_is_taken_instead_of_our_own() {
    struct Broke;
    impl tower::retry::budget::Budget for Broke {
        fn deposit(&self) {}
        fn withdraw(&self) -> bool {
            false
        }
    }
    let fails = || Upstream::new(then_well(|| Whole(503, &[])));
    let upstream = fails();
    let response = retrying(HttpPolicy::builder()).layer(upstream).oneshot(request(Method::GET, "")).await;
    assert_eq!(response.unwrap().status(), 200);
    let broke = HttpPolicy::builder().shared_budget(Arc::new(Broke));
    let response = retrying(broke).layer(fails()).oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer");
}

use std::convert::Infallible;
use std::future::ready;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::fallback::{FallbackLayer, HttpFallbackLayer};
use tower_breaker::{BoxError, BreakerLayer, HttpBreakerLayer, RejectReason, Rejected};

use crate::support::{Piece, response, touchy};

#[tokio::test(start_paused = true)]
async fn a_rejected_call_is_answered_by_another_service() {
    let breaker = touchy("orders").build().unwrap();
    let inner = service_fn(|n: u8| ready(if n == 0 { Err(BoxError::from("down")) } else { Ok(n) }));
    let guarded = BreakerLayer::new(breaker.clone()).layer(inner);
    let stale = service_fn(|n: u8| ready(Ok::<_, BoxError>(n + 100)));
    let service = FallbackLayer::new(stale).layer(guarded.clone());
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    assert!(service.clone().oneshot(0).await.is_err());
    breaker.force_open();
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 101);
    breaker.force_close();
    let always = FallbackLayer::new(stale).on_failure().layer(guarded);
    assert_eq!(always.clone().oneshot(0).await.unwrap(), 100);
    assert_eq!(always.oneshot(2).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn over_http_it_sees_the_head_of_the_request_and_why() {
    let breaker = touchy("orders").build().unwrap();
    let inner = service_fn(|request: Request<&'static str>| {
        let status = if *request.body() == "fail" { 500 } else { 200 };
        ready(Ok::<_, Infallible>(response(status, &[], &[Piece::Data("first")])))
    });
    let stale = service_fn(|request: Request<()>| {
        let why = request.extensions().get::<Rejected>().map(Rejected::reason);
        ready(Ok::<_, Infallible>(Response::new(Full::from(format!("{} {why:?}", request.uri())))))
    });
    let guarded = HttpBreakerLayer::new(breaker.clone()).layer(inner);
    let service = HttpFallbackLayer::new(stale).layer(guarded.clone());
    let ask = |body| Request::get("/menu").body(body).unwrap();
    let answer = service.clone().oneshot(ask("")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), Bytes::from("first"));
    assert_eq!(service.clone().oneshot(ask("fail")).await.unwrap().status(), 500);
    breaker.force_open();
    let answer = service.clone().oneshot(ask("")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let told = format!("/menu {:?}", Some(RejectReason::ForcedOpen));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), Bytes::from(told));
    breaker.force_close();
    let always = HttpFallbackLayer::new(stale).on_failure().layer(guarded);
    let answer = always.oneshot(ask("fail")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), Bytes::from("/menu None"));
}

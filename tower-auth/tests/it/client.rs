//! Tokens obtained and attached.
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::{BearerLayer, ClientCredentials, find_rejection};

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_are_one_token_request_and_an_outage_is_not_noticed() {
    let (count, down) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (counter, broken) = (Arc::clone(&count), Arc::clone(&down));
    let issuer = service_fn(move |request: Request<Full<Bytes>>| {
        let (counter, broken) = (Arc::clone(&counter), Arc::clone(&broken));
        async move {
            assert_eq!(request.headers()[header::AUTHORIZATION], "Basic b3JkZXJzOnMlM0FjcmV0");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "grant_type=client_credentials&scope=a+b");
            tokio::time::sleep(Duration::from_millis(10)).await;
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let json = format!(r#"{{"access_token":"t{number}","token_type":"bearer","expires_in":600}}"#);
            let mut response = Response::new(Full::<Bytes>::from(json));
            if broken.load(Ordering::SeqCst) {
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let provider = ClientCredentials::builder(
        "https://issuer.example/token".parse().unwrap(),
        "orders",
        "s:cret",
        issuer,
    )
    .scope("a b")
    .build()
    .unwrap();
    assert_eq!(format!("{provider:?}"), "ClientCredentials");
    let api = service_fn(async |request: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(
            request.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned(),
        ))
    });
    let service = BearerLayer::new(provider).layer(api);
    let call = || service.clone().oneshot(Request::new(Empty::new()));
    let answers = futures_util::future::join_all((0..10_000).map(|_| call())).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().into_body() == "Bearer t0"));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    down.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(590)).await;
    assert_eq!(call().await.unwrap().into_body(), "Bearer t0");
    tokio::time::advance(Duration::from_secs(20)).await;
    let error = call().await.unwrap_err();
    assert!(find_rejection(&error).is_some());
    down.store(false, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(40)).await;
    assert!(call().await.is_ok());
}

#![no_main]
//! What a token endpoint answers, and what an API says to the token.
use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt};
use tower_auth::client::{BearerLayer, ClientCredentials};

libfuzzer_sys::fuzz_target!(|parts: (&[u8], &[u8])| {
    let (answer, challenge) = parts;
    let body = Bytes::copy_from_slice(answer);
    let issuer = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let body = body.clone();
        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
    });
    let Ok(challenge) = HeaderValue::from_bytes(challenge) else { return };
    let api = tower::service_fn(move |request: Request<Empty<Bytes>>| {
        assert!(request.headers()["authorization"].to_str().unwrap().starts_with("Bearer "));
        let response = Response::builder().status(401).header("www-authenticate", challenge.clone());
        async move { Ok::<_, Infallible>(response.body(()).unwrap()) }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let uri = "https://i.example/token".parse().unwrap();
        let provider = ClientCredentials::builder(uri, "a", "b", issuer).build().unwrap();
        let client = BearerLayer::new(provider).layer(api);
        if let Ok(response) = client.oneshot(Request::new(Empty::new())).await {
            assert_eq!(response.status(), 401);
            let value: serde_json::Value = serde_json::from_slice(answer).unwrap();
            assert!(value["access_token"].is_string());
        }
    });
});

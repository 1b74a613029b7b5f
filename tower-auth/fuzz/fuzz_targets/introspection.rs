#![no_main]
//! What an introspection endpoint answers.
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower_auth::Authenticator;
use tower_auth::introspection::Introspection;

libfuzzer_sys::fuzz_target!(|answer: &[u8]| {
    let body = Bytes::copy_from_slice(answer);
    let service = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let body = body.clone();
        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let uri = "https://i.example/introspect".parse().unwrap();
        let introspection = Introspection::builder(uri, "api", "secret", service).build().unwrap();
        let builder = Authenticator::builder().introspect(introspection).audience("a");
        let authenticator = builder.roles_at("/a/b").scopes_at("/c").build().unwrap();
        if authenticator.verify("opaque").await.is_ok() {
            let value: serde_json::Value = serde_json::from_slice(answer).unwrap();
            assert_eq!(value["active"], true);
        }
    });
});

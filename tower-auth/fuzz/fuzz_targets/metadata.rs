#![no_main]
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower_auth::{Authenticator, Issuer};

libfuzzer_sys::fuzz_target!(|document: &[u8]| {
    let document = Bytes::copy_from_slice(document);
    let service = tower::service_fn(move |_: Request<Empty<Bytes>>| {
        let document = document.clone();
        async move { Ok::<_, Infallible>(Response::new(Full::new(document))) }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let issuer = Issuer::discover("https://i.example", service);
        let authenticator = Authenticator::builder().issuer(issuer).audience("a").build().unwrap();
        let token = format!("eyJhbGciOiJFZERTQSJ9.e30.{}", "A".repeat(86));
        assert!(authenticator.verify(&token).await.is_err());
    });
});

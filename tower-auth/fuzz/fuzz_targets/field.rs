#![no_main]
use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{HeaderValue, Request, Response};
use tower::{Layer, Service};
use tower_auth::keys::Algorithm;
use tower_auth::{AuthLayer, Authenticator, Issuer, StaticKeys};

libfuzzer_sys::fuzz_target!(|field: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(field) else { return };
    let keys = StaticKeys::hmac(Algorithm::Hs256, &[7; 32]).unwrap();
    let authenticator =
        Authenticator::builder().issuer(Issuer::new("i", keys)).audience("a").build().unwrap();
    let inner = tower::service_fn(async |_: Request<()>| -> Result<Response<String>, Infallible> {
        panic!("nobody has signed this")
    });
    let mut service = AuthLayer::new(authenticator).layer(inner);
    let mut request = Request::new(());
    request.headers_mut().insert("authorization", value);
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("static keys are never waited for")
    };
    assert!(matches!(response.status().as_u16(), 400 | 401));
});

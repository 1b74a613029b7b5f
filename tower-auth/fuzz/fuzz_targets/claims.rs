#![no_main]
mod signed;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use tower_auth::keys::Algorithm;
use tower_auth::{Authenticator, Issuer, StaticKeys};

libfuzzer_sys::fuzz_target!(|payload: &[u8]| {
    let keys = StaticKeys::hmac(Algorithm::Hs256, signed::SECRET).unwrap();
    let authenticator = Authenticator::builder()
        .issuer(Issuer::new("i", keys))
        .audience("a")
        .cache_bytes(0)
        .wall_clock(|| UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .build()
        .unwrap();
    let token = signed::sign(br#"{"alg":"HS256"}"#, payload);
    let Poll::Ready(result) =
        pin!(authenticator.verify(&token)).poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("static keys are never waited for")
    };
    if let Ok(verified) = result {
        assert_eq!(verified.issuer(), Some("i"));
    }
});

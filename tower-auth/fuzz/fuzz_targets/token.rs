#![no_main]
use tower_auth::StaticKeys;
use tower_auth::keys::Algorithm;
use tower_auth::verify::{Backend, verify_jws};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let keys = StaticKeys::hmac(Algorithm::Hs256, &[7; 32]).unwrap();
    assert!(verify_jws(text, keys.set(), Backend::default()).is_err(), "nobody has signed this");
});

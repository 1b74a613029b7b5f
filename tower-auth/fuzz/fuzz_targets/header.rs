#![no_main]
mod signed;
use tower_auth::StaticKeys;
use tower_auth::keys::Algorithm;
use tower_auth::verify::{Backend, verify_jws};

libfuzzer_sys::fuzz_target!(|header: &[u8]| {
    let keys = StaticKeys::hmac(Algorithm::Hs256, signed::SECRET).unwrap();
    if let Ok(jws) = verify_jws(&signed::sign(header, b""), keys.set(), Backend::default()) {
        assert_eq!((jws.header.as_slice(), jws.algorithm), (header, Algorithm::Hs256));
    }
});

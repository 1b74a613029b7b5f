#![no_main]
use tower_auth::StaticKeys;
use tower_auth::keys::KeySet;
use tower_auth::verify::{Backend, verify_jws};

libfuzzer_sys::fuzz_target!(|json: &[u8]| {
    let _ = StaticKeys::jwk(json);
    if let Ok(set) = KeySet::from_jwks(json) {
        for header in ["eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJFZERTQSJ9"] {
            let token = format!("{header}.e30.{}", "A".repeat(86));
            assert!(verify_jws(&token, &set, Backend::default()).is_err());
        }
    }
});

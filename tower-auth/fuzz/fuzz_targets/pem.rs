#![no_main]
use tower_auth::StaticKeys;
use tower_auth::keys::Algorithm;

libfuzzer_sys::fuzz_target!(|pem: &[u8]| {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let _ = StaticKeys::pem(algorithm, pem);
    }
});

//! The signature step with foreign vectors.
use tower_auth::keys::{Algorithm, KeySet};
use tower_auth::verify::{Backend, verify_jws};
use tower_auth::{StaticKeys, TokenFault};

use crate::attacks::{ED, ED_JWK, P256, P256_JWK, RSA, RSA_JWK, backends};
use crate::attacks_confusion::signed;
use crate::support::ED_X;

const A1: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const A1_KEY: &str = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
const A4: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

#[test]
fn rfc_7515_a1_and_rfc_8037_a4() {
    let hmac = StaticKeys::jwk(A1_KEY.as_bytes()).unwrap();
    let ed = StaticKeys::jwk(format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{ED_X}"}}"#).as_bytes()).unwrap();
    for backend in backends() {
        assert!(verify_jws(A1, hmac.set(), backend).unwrap().payload.starts_with(b"{\"iss\":\"joe\""));
        assert_eq!(verify_jws(A4, ed.set(), backend).unwrap().payload, b"Example of Ed25519 signing");
        assert_eq!(verify_jws(&A1.replace("dBj", "dBk"), hmac.set(), backend), Err(TokenFault::Signature));
        assert_eq!(verify_jws(&A4.replace("hgy", "hgz"), ed.set(), backend), Err(TokenFault::Signature));
        assert_eq!(verify_jws(A4, hmac.set(), backend), Err(TokenFault::UnknownKey));
    }
}

#[test]
fn one_change_to_an_accepted_key_is_refused() {
    let good = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{ED_X}","use":"sig"}}"#);
    assert!(StaticKeys::jwk(good.as_bytes()).is_ok());
    for (from, to) in [
        ("\"sig\"", "\"enc\""),
        ("\"use\":\"sig\"", "\"key_ops\":[\"sign\"]"),
        ("\"use\":\"sig\"", "\"alg\":\"ES256\""),
        ("Ed25519", "Ed448"),
        (ED_X, "11qY"),
        ("\"x\"", "\"x\":\"11qY\",\"x\""),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert_eq!(StaticKeys::jwk(bad.as_bytes()).unwrap_err().field(), "jwk", "{bad}");
    }
    assert!(StaticKeys::jwk(A1_KEY.as_bytes()).is_ok());
    assert!(StaticKeys::jwk(br#"{"kty":"oct","k":""}"#).is_err());
}

#[test]
fn one_bad_key_never_spoils_the_set() {
    let set = format!(
        r#"{{"keys":[{{"kty":"XXX"}},7,{{"kty":"OKP","crv":"Ed25519","x":"{ED_X}"}},{{"kty":"OKP","crv":"Ed25519","x":"AA"}}]}}"#
    );
    let keys = StaticKeys::jwks(set.as_bytes()).unwrap();
    assert_eq!((keys.set().len(), keys.set().refused()), (1, 3));
    assert!(verify_jws(A4, keys.set(), Backend::default()).is_ok());
}

/// What one thread has made ready for a key is of no consequence for another.
#[test]
fn threads_that_share_a_set() {
    let set = format!(r#"{{"keys":[{RSA_JWK},{P256_JWK},{ED_JWK}]}}"#);
    let set = KeySet::from_jwks(set.as_bytes()).unwrap();
    let tokens = [(Algorithm::Rs256, RSA), (Algorithm::Es256, P256), (Algorithm::EdDsa, ED)]
        .map(|(algorithm, key)| (algorithm, signed(algorithm, key.as_bytes())));
    let verify = |turn: usize| {
        for number in 0..tokens.len() {
            let (algorithm, token) = &tokens[(number + turn) % tokens.len()];
            let (start, signature) = token.rsplit_once('.').unwrap();
            let other = format!("{start}.AAAA{}", &signature[4..]);
            for backend in backends() {
                assert_eq!(verify_jws(token, &set, backend).unwrap().algorithm, *algorithm);
                assert_eq!(verify_jws(&other, &set, backend), Err(TokenFault::Signature), "{algorithm:?}");
            }
        }
    };
    // A thread that panics makes the scope panic.
    std::thread::scope(|threads| {
        threads.spawn(|| verify(0));
        threads.spawn(|| verify(2));
    });
}

#![no_main]
//! The header and the claims of a proof, signed by the key that an honest header would bring.
use std::convert::Infallible;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use http::{Request, Response};
use tower::{Layer, Service};
use tower_auth::dpop::DpopPolicy;
use tower_auth::keys::Algorithm;
use tower_auth::{AuthLayer, Authenticator, Issuer, StaticKeys};

const KEY: &[u8] = include_bytes!("../../tests/it/keys/p256.pem");
const JWK: &str = include_str!("../../tests/it/keys/p256.jwk.json");

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

static PAIR: LazyLock<jsonwebtoken::EncodingKey> =
    LazyLock::new(|| jsonwebtoken::EncodingKey::from_ec_pem(KEY).unwrap());

libfuzzer_sys::fuzz_target!(|parts: (&[u8], &[u8])| {
    let (header, claims) = parts;
    let honest = format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{}}}"#, JWK.trim());
    let header = if header.is_empty() { honest.as_bytes() } else { header };
    let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
    let provider = &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
    let signer = (provider.signer_factory)(&jsonwebtoken::Algorithm::ES256, &PAIR).unwrap();
    let proof = format!("{signed}.{}", B64.encode(signer.try_sign(signed.as_bytes()).unwrap()));

    let keys = StaticKeys::hmac(Algorithm::Hs256, &[7; 32]).unwrap();
    let issuer = Issuer::new("i", keys);
    let authenticator = Authenticator::builder().issuer(issuer).audience("a").wall_clock(clock).build().unwrap();
    let policy = DpopPolicy::builder("https://a.example".parse().unwrap()).build().unwrap();
    let inner = tower::service_fn(async |_: Request<()>| -> Result<Response<String>, Infallible> {
        panic!("nobody has signed the token")
    });
    let mut service = AuthLayer::new(authenticator).dpop(policy).layer(inner);
    let request = Request::get("/a").header("authorization", "DPoP abc").header("dpop", proof);
    let mut future = pin!(service.call(request.body(()).unwrap()));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("static keys are never waited for")
    };
    assert_eq!(response.status(), 401);
});

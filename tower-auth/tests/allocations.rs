//! What a token that was verified before costs in allocations. A binary of its own: the count is of the whole process.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Request, Response, StatusCode, header};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service};
use tower_auth::keys::Algorithm as Ours;
use tower_auth::{AuthLayer, Authenticator, AuthenticatorBuilder, Claims, Issuer, StaticKeys, Verified};

#[global_allocator]
static ALLOCATIONS: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

#[cfg(feature = "aws-lc-rs")]
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
#[cfg(not(feature = "aws-lc-rs"))]
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

#[derive(Deserialize)]
struct Mine {
    sub: String,
}

#[derive(Clone)]
struct Earlier;

/// Answers at once, without allocating.
#[derive(Clone)]
struct Bare;

impl Service<Request<()>> for Bare {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let known = request.extensions().get::<Verified>().is_some();
        let mine = request.extensions().get::<Verified<Mine>>();
        let mine = mine.is_some_and(|verified| verified.claims().sub == "alice");
        let status = if known || mine { StatusCode::OK } else { StatusCode::IM_A_TEAPOT };
        let mut response = Response::new(String::new());
        *response.status_mut() = status;
        ready(Ok(response))
    }
}

fn token() -> String {
    let claims = r#"{"iss":"https://issuer.example","aud":"api","sub":"alice","exp":253402300000}"#;
    let header = r#"{"alg":"HS256","typ":"at+jwt"}"#;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signer = (DEFAULT_PROVIDER.signer_factory)(&Algorithm::HS256, &key).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signer.try_sign(signed.as_bytes()).unwrap()))
}

type Complete<C> =
    AuthenticatorBuilder<C, tower_auth::authenticator::state::Set, tower_auth::authenticator::state::Set>;

/// Allocations of each of forty hits.
fn hits<C: DeserializeOwned + Send + Sync + 'static>(builder: Complete<C>, token: &str) -> Vec<usize> {
    let mut service = AuthLayer::new(builder.build().unwrap()).layer(Bare);
    let field = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut serve = || {
        let mut request = Request::new(());
        request.headers_mut().insert(header::AUTHORIZATION, field.clone());
        request.extensions_mut().insert(Earlier);
        let region = Region::new(ALLOCATIONS);
        assert!(service.poll_ready(&mut cx).is_ready());
        let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else { panic!() };
        let count = region.change().allocations + region.change().reallocations;
        assert_eq!(response.status(), StatusCode::OK);
        count
    };
    let first = serve();
    assert!(first > 5, "{first} allocations for a token that was never seen");
    serve();
    (0..40).map(|_| serve()).collect()
}

/// The threads of the test harness allocate too, at the start and the end: forty hits beside which they did not.
fn alone(hits: impl Fn() -> Vec<usize>) -> Vec<usize> {
    let mut runs = std::iter::repeat_with(hits).take(20);
    let first = runs.next().unwrap();
    if first == [1; 40] { first } else { runs.find(|run| *run == [1; 40]).unwrap_or(first) }
}

/// The extension, and nothing else; with one's own claims type too.
#[test]
fn a_hit_allocates_once() {
    let builder = || {
        let keys = StaticKeys::hmac(Ours::Hs256, SECRET).unwrap();
        Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api")
    };
    assert_eq!(alone(|| hits::<Claims>(builder(), &token())), [1; 40]);
    assert_eq!(alone(|| hits::<Mine>(builder().claims(), &token())), [1; 40]);
}

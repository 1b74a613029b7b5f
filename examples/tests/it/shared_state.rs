//! axum calls `Layer::layer` for every connection, or for every request: state lives in the handle, so it is shared.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_auth::client::{BearerLayer, ClientCredentials};
use tower_auth::{AuthLayer, Authenticator, Issuer, RemoteJwks};
use tower_breaker::retry::{HttpPolicy, RetryLayer};
use tower_breaker::{Breaker, BreakerLayer, HttpBreakerLayer};
use tower_cache::{CacheLayer, MemoryStore};
use tower_versioning::{Registry, Source, Version, VersionLayer};

use crate::tokens::claims;

type Sent = Request<Full<Bytes>>;
type Got = Response<Full<Bytes>>;

const TIMES: usize = 1000;
/// Failures until a breaker of this file opens.
const FAILURES: u32 = 5;

/// A service that counts its calls and answers with one status, whatever body a layer puts around the request's.
fn counting<B: 'static>(
    status: u16,
) -> (
    Arc<AtomicUsize>,
    impl Service<Request<B>, Response = Got, Error = Infallible, Future: Send> + Clone + Send + Sync,
) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let service = service_fn(move |_: Request<B>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response = Response::builder().status(status).header("cache-control", "public, max-age=60");
        async move { Ok(response.body(Full::from("things")).unwrap()) }
    });
    (calls, service)
}

fn request() -> Sent {
    Request::get("http://api.example/things").body(Full::default()).unwrap()
}

/// Reads an answer to its end, if there is one.
async fn read<B: http_body::Body, E>(result: Result<Response<B>, E>) {
    if let Ok(response) = result {
        let _ = response.into_body().collect().await;
    }
}

/// Applies the layer anew for each of a thousand requests and counts those that arrive.
macro_rules! arrived {
    ($layer:expr, $status:expr, $request:expr) => {{
        let layer = $layer;
        let (calls, service) = counting($status);
        for _ in 0..TIMES {
            read(layer.layer(service.clone()).oneshot($request).await).await;
        }
        calls.load(Ordering::SeqCst)
    }};
}

fn breaker() -> Breaker {
    Breaker::builder("things").consecutive_failures(FAILURES).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_for_all() {
    assert_eq!(arrived!(HttpBreakerLayer::new(breaker()), 503, request()), FAILURES as usize);
    assert_eq!(arrived!(HttpBreakerLayer::new(breaker()), 200, request()), TIMES);
}

#[tokio::test(start_paused = true)]
async fn a_typed_breaker_opens_for_all() {
    let classify = |result: Result<&Got, &Infallible>| match result {
        Ok(response) if response.status().is_server_error() => tower_breaker::Verdict::FAILURE,
        _ => tower_breaker::Verdict::SUCCESS,
    };
    assert_eq!(arrived!(BreakerLayer::new(breaker()).classify(classify), 503, request()), FAILURES as usize);
}

/// The budget is one: a fifth of the calls may be repeated, and not each service's first one.
#[tokio::test(start_paused = true)]
async fn a_retry_budget_is_spent_by_all() {
    let policy = || HttpPolicy::builder().budget(20, 0).build().unwrap();
    let calls = arrived!(RetryLayer::new(policy()), 503, request());
    assert!((TIMES + 1..=TIMES + TIMES / 4).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn a_cache_fills_for_all() {
    assert_eq!(arrived!(CacheLayer::shared(MemoryStore::new(1 << 20)), 200, request()), 1);
    assert_eq!(arrived!(CacheLayer::private(MemoryStore::new(1 << 20)), 200, request()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_registry_is_replaced_for_all() {
    let header = HeaderName::from_static("api-version");
    let of = |version| Registry::builder().version(Version::major(version), |v| v).build().unwrap();
    let registry = of(1);
    let layer = VersionLayer::new(registry.clone()).sources([Source::header(header.clone())]);
    let request = || {
        let mut request = request();
        request.headers_mut().insert(&header, "2".parse().unwrap());
        request
    };
    let (calls, service) = counting(200);
    let services: Vec<_> = (0..TIMES).map(|_| layer.layer(service.clone())).collect();
    registry.replace(&of(2));
    for service in services {
        assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
    }
    assert_eq!(calls.load(Ordering::SeqCst), TIMES);
}

/// An issuer with one ES256 key: its key set, and a token.
fn issuer() -> (String, String) {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk =
        json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1", "x": encode(x), "y": encode(y) });
    let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": "1" }).to_string();
    let message =
        format!("{}.{}", encode(header.as_bytes()), encode(claims("ada", "read").to_string().as_bytes()));
    let signature = pair.sign(&random, message.as_bytes()).unwrap();
    (json!({ "keys": [jwk] }).to_string(), format!("{message}.{}", encode(signature.as_ref())))
}

#[tokio::test]
async fn a_key_set_is_fetched_for_all() {
    let (keys, token) = issuer();
    let fetches = Arc::new(AtomicUsize::new(0));
    let counted = fetches.clone();
    let endpoint = service_fn(move |_: Sent| {
        counted.fetch_add(1, Ordering::SeqCst);
        let keys = keys.clone();
        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(keys))) }
    });
    let keys = RemoteJwks::new("http://issuer.example/jwks.json".parse().unwrap(), endpoint);
    let issuer = Issuer::remote(crate::tokens::ISSUER, keys);
    let auth = Authenticator::builder().issuer(issuer).audience("api").build().unwrap();
    let request = || {
        let mut request = request();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    assert_eq!(arrived!(AuthLayer::new(auth), 200, request()), TIMES);
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_is_obtained_for_all() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let counted = fetches.clone();
    let endpoint = service_fn(move |_: Sent| {
        counted.fetch_add(1, Ordering::SeqCst);
        let token =
            json!({ "access_token": "a-token", "token_type": "Bearer", "expires_in": 3600 }).to_string();
        let response = Response::builder().header("content-type", "application/json");
        async move { Ok::<_, Infallible>(response.body(Full::<Bytes>::from(token)).unwrap()) }
    });
    let uri = "http://issuer.example/token".parse().unwrap();
    let provider = ClientCredentials::builder(uri, "me", "secret", endpoint).build().unwrap();
    assert_eq!(arrived!(BearerLayer::new(provider), 200, request()), TIMES);
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

/// The way axum does it: a router served as it is applies its layers for every connection.
#[tokio::test]
async fn connections_share_one_breaker_and_one_cache() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let count = move || {
        counted.fetch_add(1, Ordering::SeqCst);
    };
    let (fails, works) = (count.clone(), count);
    let router = Router::new()
        .route(
            "/fails",
            get(async move || {
                fails();
                StatusCode::SERVICE_UNAVAILABLE
            }),
        )
        .layer(HttpBreakerLayer::new(breaker()))
        .merge(
            Router::new()
                .route(
                    "/works",
                    get(async move || {
                        works();
                        ([("cache-control", "public, max-age=60")], "works")
                    }),
                )
                .layer(CacheLayer::shared(MemoryStore::new(1 << 20))),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    for (path, arrived) in [("fails", FAILURES as usize), ("works", 1)] {
        for _ in 0..10 {
            // A client of its own is a connection of its own.
            let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
            let uri = format!("http://{address}/{path}").parse().unwrap();
            client.get(uri).await.unwrap().into_body().collect().await.unwrap();
        }
        assert_eq!(calls.swap(0, Ordering::SeqCst), arrived, "{path}");
    }
    server.abort();
}

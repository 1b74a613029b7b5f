//! Proof of possession: RFC 9449 §4, §7 and §9 on both sides.
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::dpop::{DpopKey, DpopLayer, DpopPolicy, DpopPolicyBuilder, MemoryReplayStore, ReplayStore};
use tower_auth::keys::Algorithm;
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, StaticKeys, TokenFault};

use crate::support::{CLAIMS, SECRET, clock, token};

/// RFC 9449 §7.1, figures 11 and 12: the token and its proof, as they are printed there.
const RFC_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const RFC_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
/// §6.1: what tokens bound to that key say.
const RFC_THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

fn rfc_clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_562_262_618)
}

fn authenticator(clock: fn() -> SystemTime) -> Authenticator {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let builder =
        Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api");
    builder.wall_clock(clock).build().unwrap()
}

fn policy() -> DpopPolicyBuilder {
    DpopPolicy::builder("https://api.example".parse().unwrap())
}

fn bound_to(thumbprint: &str) -> String {
    token(&CLAIMS.replace("\"sub\"", &format!("\"cnf\":{{\"jkt\":\"{thumbprint}\"}},\"sub\"")))
}

type Api = tower::util::BoxCloneSyncService<Request<Empty<Bytes>>, Response<()>, Infallible>;

fn api(layer: &AuthLayer) -> Api {
    let handler = service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    Api::new(layer.layer(handler).map_response(|response: Response<_>| response.map(drop)))
}

fn error(response: &Response<()>) -> Option<AuthError> {
    response.extensions().get::<AuthError>().cloned()
}

fn request(uri: &str, authorization: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).header(header::AUTHORIZATION, authorization).body(Empty::new()).unwrap()
}

/// The request as a client with this key sends it.
async fn proven(key: &DpopKey, request: Request<Empty<Bytes>>) -> Request<Empty<Bytes>> {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let capture = service_fn(move |request: Request<Empty<Bytes>>| {
        *keep.lock().unwrap() = Some(request);
        std::future::ready(Ok::<_, Infallible>(Response::new(())))
    });
    DpopLayer::new(key.clone()).wall_clock(clock).layer(capture).oneshot(request).await.unwrap();
    let request = seen.lock().unwrap().take();
    request.unwrap()
}

#[tokio::test]
async fn the_example_of_rfc_9449_section_7() {
    let policy = DpopPolicy::builder("https://resource.example.org".parse().unwrap()).build().unwrap();
    let service = api(&AuthLayer::new(authenticator(rfc_clock)).dpop(policy));
    let call = async |proof: &str, token: &str| {
        let mut request = request("/protectedresource", &format!("DPoP {token}"));
        request.headers_mut().insert("dpop", proof.parse().unwrap());
        error(&service.clone().oneshot(request).await.unwrap()).unwrap()
    };
    // The proof is good: what is refused is the token, which no issuer of ours has signed.
    assert!(matches!(call(RFC_PROOF, RFC_TOKEN).await, AuthError::InvalidToken(TokenFault::Malformed)));
    let broken = RFC_PROOF.replace(".2oW9", ".2oW8");
    assert_eq!(
        call(&broken, RFC_TOKEN).await,
        AuthError::InvalidProof("The signature of the DPoP proof is not valid")
    );
    let other = RFC_TOKEN.replace("Kz", "Ky");
    assert_eq!(call(RFC_PROOF, &other).await, AuthError::InvalidProof("The DPoP proof is for another token"));
    assert_eq!(RFC_THUMBPRINT.len(), 43);
}

#[tokio::test]
async fn one_change_to_an_accepted_request_is_refused() {
    let key = DpopKey::generate().unwrap();
    let token = bound_to(key.thumbprint());
    let service = api(&AuthLayer::new(authenticator(clock)).dpop(policy().build().unwrap()));
    let good =
        async || proven(&key, request("https://api.example/stock?x=1", &format!("DPoP {token}"))).await;
    assert_eq!(service.clone().oneshot(good().await).await.unwrap().status(), StatusCode::OK);
    type Change = fn(&mut Request<Empty<Bytes>>, &str);
    let changes: [(Change, AuthError); 6] = [
        (
            |r, _| *r.method_mut() = http::Method::PUT,
            AuthError::InvalidProof("The DPoP proof is for another method"),
        ),
        (
            |r, _| *r.uri_mut() = "https://api.example/other".parse().unwrap(),
            AuthError::InvalidProof("The DPoP proof is for another URI"),
        ),
        (|r, _| drop(r.headers_mut().remove("dpop")), AuthError::InvalidProof("A DPoP proof is required")),
        (
            |r, _| {
                let proof = r.headers()["dpop"].clone();
                r.headers_mut().append("dpop", proof);
            },
            AuthError::InvalidProof("More than one DPoP proof"),
        ),
        (
            |r, token| {
                let bearer = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
                r.headers_mut().insert(header::AUTHORIZATION, bearer);
            },
            AuthError::InvalidToken(TokenFault::SenderConstrained),
        ),
        (
            |r, _| *r.headers_mut().get_mut("dpop").unwrap() = crate::support::token(CLAIMS).parse().unwrap(),
            AuthError::InvalidProof("The DPoP proof is of another type"),
        ),
    ];
    for (change, expected) in changes {
        let mut request = good().await;
        change(&mut request, &token);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!((response.status(), error(&response)), (StatusCode::UNAUTHORIZED, Some(expected)));
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
    // The token of somebody else, and one that is bound to nothing.
    for stolen in [bound_to(RFC_THUMBPRINT), crate::support::token(CLAIMS)] {
        let request = proven(&key, request("https://api.example/", &format!("DPoP {stolen}"))).await;
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(error(&response), Some(AuthError::InvalidToken(TokenFault::SenderConstrained)));
    }
}

/// axum's `nest` takes the prefix off the URI, and the base gives it back.
#[tokio::test]
async fn in_a_nested_router_the_base_ends_with_the_prefix() {
    let key = DpopKey::generate().unwrap();
    let token = format!("DPoP {}", bound_to(key.thumbprint()));
    for (base, expected) in [
        ("https://api.example/shop", StatusCode::OK),
        ("https://api.example/shop/", StatusCode::OK),
        ("https://api.example", StatusCode::UNAUTHORIZED),
    ] {
        let policy = DpopPolicy::builder(base.parse().unwrap()).build().unwrap();
        let inner = axum::Router::new()
            .route("/orders", axum::routing::get(async || "orders"))
            .layer(AuthLayer::new(authenticator(clock)).dpop(policy));
        let request = proven(&key, request("https://api.example/shop/orders", &token)).await;
        let response = axum::Router::new()
            .nest("/shop", inner)
            .oneshot(request.map(axum::body::Body::new))
            .await
            .unwrap();
        assert_eq!(response.status(), expected, "{base}");
    }
}

#[tokio::test]
async fn a_proof_is_good_once() {
    let key = DpopKey::generate().unwrap();
    let authorization = format!("DPoP {}", bound_to(key.thumbprint()));
    let service = api(&AuthLayer::new(authenticator(clock)).dpop(policy().build().unwrap()));
    let first = proven(&key, request("https://api.example/", &authorization)).await;
    let again = first.clone();
    assert_eq!(service.clone().oneshot(first).await.unwrap().status(), StatusCode::OK);
    let response = service.clone().oneshot(again).await.unwrap();
    assert_eq!(error(&response), Some(AuthError::InvalidProof("The DPoP proof was used before")));
    let challenge = response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
    assert!(
        challenge.starts_with(r#"DPoP "#) && challenge.contains(r#"error="invalid_dpop_proof""#),
        "{challenge}"
    );
    let fresh = proven(&key, request("https://api.example/", &authorization)).await;
    assert_eq!(service.oneshot(fresh).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_asked_for_remembered_and_replaced() {
    let key = DpopKey::generate().unwrap();
    let authorization = format!("DPoP {}", bound_to(key.thumbprint()));
    let policy = policy().nonces(Duration::from_secs(100)).build().unwrap();
    let server = api(&AuthLayer::new(authenticator(clock)).dpop(policy));
    let calls = Arc::new(Mutex::new(Vec::new()));
    let counter = Arc::clone(&calls);
    let counted = service_fn(move |request: Request<Empty<Bytes>>| {
        let (server, counter) = (server.clone(), Arc::clone(&counter));
        async move {
            let response = server.oneshot(request).await?;
            counter.lock().unwrap().push(error(&response));
            Ok::<_, Infallible>(response)
        }
    });
    let client = DpopLayer::new(key).wall_clock(clock).layer(counted);
    let call = async || {
        client.clone().oneshot(request("https://api.example/", &authorization)).await.unwrap().status()
    };
    assert_eq!(call().await, StatusCode::OK);
    assert_eq!(std::mem::take(&mut *calls.lock().unwrap()), [Some(AuthError::UseNonce), None]);
    assert_eq!(call().await, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(call().await, StatusCode::OK);
    assert_eq!(std::mem::take(&mut *calls.lock().unwrap()), [None, None]);
    tokio::time::advance(Duration::from_secs(200)).await;
    assert_eq!(call().await, StatusCode::OK);
    assert_eq!(std::mem::take(&mut *calls.lock().unwrap()), [Some(AuthError::UseNonce), None]);
}

#[test]
fn the_replay_store_is_bounded_and_forgets() {
    let store = MemoryReplayStore::new(10);
    let (now, until) = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(60));
    for number in 0..10 {
        assert!(store.first([number; 32], now, until));
        assert!(!store.first([number; 32], now, until));
    }
    // Full: what cannot be remembered is refused.
    assert!(!store.first([10; 32], now, until));
    assert!(!store.first([3; 32], until, until + Duration::from_secs(60)));
    let later = until + Duration::from_secs(1);
    assert!(store.first([10; 32], later, later + Duration::from_secs(60)));
}

#[test]
fn settings_that_cannot_work_and_what_debug_shows() {
    assert!(policy().build().is_ok());
    assert_eq!(policy().max_age(Duration::ZERO).build().unwrap_err().field(), "max_age");
    assert_eq!(policy().leeway(Duration::from_secs(301)).build().unwrap_err().field(), "leeway");
    assert_eq!(policy().nonces(Duration::ZERO).build().unwrap_err().field(), "nonces");
    assert_eq!(DpopPolicy::builder("/a".parse().unwrap()).build().unwrap_err().field(), "base");
    assert_eq!(DpopKey::from_pem(b"x").unwrap_err().field(), "from_pem");
    let key = DpopKey::generate().unwrap();
    assert_eq!(format!("{key:?}"), format!("DpopKey {{ thumbprint: {:?}, .. }}", key.thumbprint()));
}

/// A server that answers as told, and the nonces that came with the proofs it got.
async fn nonces_sent(
    answers: Vec<(u16, Option<&'static str>, Option<&'static str>)>,
    authorization: &'static str,
    calls: usize,
) -> Vec<Option<String>> {
    use base64::Engine;
    let (left, seen) = (Arc::new(Mutex::new(answers)), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    let server = service_fn(move |request: Request<Empty<Bytes>>| {
        let proof = request.headers()["dpop"].to_str().unwrap();
        let payload = proof.split('.').nth(1).unwrap();
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims.get("ath").is_some(), authorization.starts_with("DPoP"));
        log.lock().unwrap().push(claims.get("nonce").map(|nonce| nonce.as_str().unwrap().to_owned()));
        let (status, nonce, challenge) = left.lock().unwrap().remove(0);
        let mut response = Response::builder().status(status);
        if let Some(nonce) = nonce {
            response = response.header("dpop-nonce", nonce);
        }
        if let Some(challenge) = challenge {
            response = response.header(header::WWW_AUTHENTICATE, challenge);
        }
        std::future::ready(Ok::<_, Infallible>(response.body(()).unwrap()))
    });
    let client = DpopLayer::new(DpopKey::generate().unwrap()).wall_clock(clock).layer(server);
    for _ in 0..calls {
        client.clone().oneshot(request("https://api.example/", authorization)).await.unwrap();
    }
    let mut seen = seen.lock().unwrap();
    std::mem::take(&mut *seen)
}

/// RFC 9449 §8 and §9: when a request is repeated with a nonce, and when not.
#[tokio::test]
async fn which_answers_are_followed_by_a_proof_with_a_nonce() {
    const ASKS: Option<&str> = Some(r#"DPoP error="use_dpop_nonce""#);
    let long: &'static str = "x".repeat(257).leak();
    let some = |nonce: &str| Some(nonce.to_owned());
    let none: Option<&str> = None;
    for (answers, authorization, calls, expected) in [
        // The token endpoint asks with 400, a resource with 401 and a challenge.
        (vec![(400, Some("n1"), none), (200, none, none)], "Basic YTpi", 1, vec![None, some("n1")]),
        (vec![(401, Some("n1"), ASKS), (200, none, none)], "DPoP abc", 1, vec![None, some("n1")]),
        // Of a resource a 400 is about the request, which may have been half done.
        (vec![(400, Some("n1"), none)], "DPoP abc", 1, vec![None]),
        // Nothing asked, nothing given, or nothing that could be sent.
        (vec![(401, Some("n1"), Some("DPoP error=\"invalid_token\""))], "DPoP abc", 1, vec![None]),
        (vec![(401, none, ASKS)], "DPoP abc", 1, vec![None]),
        (vec![(401, Some(""), ASKS)], "DPoP abc", 1, vec![None]),
        (vec![(401, Some("a b"), ASKS)], "DPoP abc", 1, vec![None]),
        (vec![(401, Some("a\"b"), ASKS)], "DPoP abc", 1, vec![None]),
        (vec![(401, Some(long), ASKS)], "DPoP abc", 1, vec![None]),
        (vec![(401, Some(&long[1..]), ASKS), (200, none, none)], "DPoP abc", 1, vec![None, some(&long[1..])]),
        // Once, however often it asks.
        (vec![(401, Some("n1"), ASKS), (401, Some("n2"), ASKS)], "DPoP abc", 1, vec![None, some("n1")]),
        // The nonce it has just refused is not sent again.
        (
            vec![(401, Some("n1"), ASKS), (200, none, none), (401, Some("n1"), ASKS)],
            "DPoP abc",
            2,
            vec![None, some("n1"), some("n1")],
        ),
        // One that comes with a good answer is for the next request (§8.2).
        (
            vec![(200, Some("n1"), none), (200, Some("n2"), none), (200, none, none)],
            "DPoP abc",
            3,
            vec![None, some("n1"), some("n2")],
        ),
    ] {
        let what = format!("{answers:?}");
        assert_eq!(nonces_sent(answers, authorization, calls).await, expected, "{what}");
    }
}

/// Nonces are kept for each server, and for a bounded number of them.
#[tokio::test]
async fn nonces_are_of_one_server_each() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = service_fn(move |request: Request<Empty<Bytes>>| {
        use base64::Engine;
        let payload = request.headers()["dpop"].to_str().unwrap().split('.').nth(1).unwrap().to_owned();
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        log.lock().unwrap().push(claims.get("nonce").map(|nonce| nonce.as_str().unwrap().to_owned()));
        let nonce = request.uri().host().unwrap().to_lowercase().replace('.', "-");
        std::future::ready(Ok::<_, Infallible>(
            Response::builder().header("dpop-nonce", nonce).body(()).unwrap(),
        ))
    });
    let client = DpopLayer::new(DpopKey::generate().unwrap()).wall_clock(clock).layer(server);
    let call = async |host: String| {
        client.clone().oneshot(request(&format!("https://{host}/"), "DPoP abc")).await.unwrap();
        seen.lock().unwrap().pop().unwrap()
    };
    for number in 0..64 {
        assert_eq!(call(format!("h{number}.example")).await, None);
    }
    assert_eq!(call("H0.example".into()).await.as_deref(), Some("h0-example"));
    // The one that was heard of longest ago makes room.
    assert_eq!(call("h64.example".into()).await, None);
    assert_eq!(call("h1.example".into()).await, None, "forgotten");
    assert_eq!(call("h0.example".into()).await.as_deref(), Some("h0-example"));
}

/// A nonce is good for one to two periods, also where nobody came in between.
#[tokio::test(start_paused = true)]
async fn old_nonces_are_not_admitted() {
    let key = DpopKey::generate().unwrap();
    let authorization = format!("DPoP {}", bound_to(key.thumbprint()));
    let server = api(&AuthLayer::new(authenticator(clock))
        .dpop(policy().nonces(Duration::from_secs(100)).build().unwrap()));
    for (later, good) in [(99, true), (100, true), (199, true), (200, false), (1_000, false)] {
        // A client that knows a nonce, and another that does not follow when it is asked for another.
        let known = key.clone();
        let client = DpopLayer::new(known).wall_clock(clock).layer(server.clone());
        assert_eq!(
            client.oneshot(request("https://api.example/", &authorization)).await.unwrap().status(),
            200
        );
        tokio::time::advance(Duration::from_secs(later)).await;
        let with_old_nonce = proven(&key, request("https://api.example/", &authorization)).await;
        let answer = server.clone().oneshot(with_old_nonce).await.unwrap();
        let expected = if good { None } else { Some(AuthError::UseNonce) };
        assert_eq!(error(&answer), expected, "{later}");
        if !good {
            assert!(answer.headers().contains_key("dpop-nonce"), "{later}");
            let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
            assert!(challenge.contains(r#"error="use_dpop_nonce""#), "{challenge}");
        }
        tokio::time::advance(Duration::from_secs(1_000)).await;
    }
}

/// A wall clock that was put back does not bring proofs back to life: what may have been forgotten counts as used.
#[test]
fn a_clock_that_steps_back_replays_nothing() {
    let store = MemoryReplayStore::new(10);
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_000 + seconds);
    assert!(store.first([1; 32], at(0), at(70)));
    assert!(!store.first([1; 32], at(70), at(70)));
    // Ahead for a moment, in which the first one is forgotten.
    assert!(store.first([2; 32], at(600), at(670)));
    assert!(!store.first([1; 32], at(1), at(70)), "used before");
    assert!(!store.first([3; 32], at(1), at(60)), "nobody can say");
    assert!(store.first([4; 32], at(2), at(72)));
    assert!(!store.first([4; 32], at(3), at(72)));
}

/// The proof of a second attempt is made when the service is ready for it, and not before it had to wait.
#[tokio::test(start_paused = true)]
async fn a_proof_does_not_grow_old_while_the_service_is_not_ready() {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Poll};

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    static SECONDS: AtomicU64 = AtomicU64::new(1_000);
    fn wall_clock() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(SECONDS.load(Ordering::Relaxed))
    }

    /// Whose clones are ready after an hour only; asks for a nonce once.
    struct Slow {
        waits: Option<Pin<Box<tokio::time::Sleep>>>,
        issued: Arc<Mutex<Vec<u64>>>,
    }
    impl Clone for Slow {
        fn clone(&self) -> Self {
            let waits = Some(Box::pin(tokio::time::sleep(Duration::from_secs(3_600))));
            Self { waits, issued: Arc::clone(&self.issued) }
        }
    }
    impl tower::Service<Request<Empty<Bytes>>> for Slow {
        type Response = Response<()>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<()>, Infallible>>;
        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            if let Some(waits) = &mut self.waits {
                std::task::ready!(waits.as_mut().poll(cx));
                SECONDS.fetch_add(3_600, Ordering::Relaxed);
                self.waits = None;
            }
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
            let proof = request.headers()["dpop"].to_str().unwrap();
            let claims = URL_SAFE_NO_PAD.decode(proof.split('.').nth(1).unwrap()).unwrap();
            let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
            let mut issued = self.issued.lock().unwrap();
            issued.push(claims["iat"].as_u64().unwrap());
            let answer = Response::builder().status(if issued.len() == 1 { 401 } else { 200 });
            let answer =
                answer.header("dpop-nonce", "n").header("www-authenticate", "DPoP error=\"use_dpop_nonce\"");
            std::future::ready(Ok(answer.body(()).unwrap()))
        }
    }

    let slow = Slow { waits: None, issued: Arc::default() };
    let issued = Arc::clone(&slow.issued);
    let layer = DpopLayer::new(DpopKey::generate().unwrap()).wall_clock(wall_clock);
    let answer = layer.layer(slow).oneshot(request("https://api.example/", "DPoP token")).await.unwrap();
    assert_eq!((answer.status(), &*issued.lock().unwrap()), (StatusCode::OK, &vec![1_000, 4_600]));
}

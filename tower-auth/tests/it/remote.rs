//! Fetched keys: rotation, stampedes, outages.
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tower::service_fn;
use tower_auth::{AuthError, Authenticator, Issuer, RemoteJwks, TokenFault};

use crate::support::{CLAIMS, ED_X, clock, ed25519};

/// Signatures by RustCrypto are slow without optimization.
const COLD: u32 = if cfg!(feature = "aws-lc-rs") { 10_000 } else { 500 };

#[derive(Default)]
struct Idp {
    kids: Vec<&'static str>,
    down: bool,
    fetches: u32,
}

fn setup() -> (Arc<Mutex<Idp>>, Authenticator) {
    let idp = Arc::new(Mutex::new(Idp { kids: vec!["one"], ..Idp::default() }));
    let shared = Arc::clone(&idp);
    let service = service_fn(move |_: Request<Empty<Bytes>>| {
        let shared = Arc::clone(&shared);
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut idp = shared.lock().unwrap();
            idp.fetches += 1;
            let key = |kid| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{ED_X}"}}"#);
            let keys: Vec<String> = idp.kids.iter().map(key).collect();
            let mut response =
                Response::new(Full::<Bytes>::from(format!(r#"{{"keys":[{}]}}"#, keys.join(","))));
            if idp.down {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let remote = RemoteJwks::new("https://issuer.example/jwks".parse().unwrap(), service)
        .refresh_every(Duration::from_secs(100))
        .stale_for(Duration::from_secs(1_000));
    let auth =
        Authenticator::builder().issuer(Issuer::remote("https://issuer.example", remote)).audience("api");
    (idp, auth.wall_clock(clock).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_cold_requests_are_one_fetch_and_the_leader_may_leave() {
    let (idp, auth) = setup();
    let token = ed25519("one", CLAIMS);
    let leader = tokio::spawn({
        let (auth, token) = (auth.clone(), token.clone());
        async move { auth.verify(&token).await }
    });
    tokio::task::yield_now().await;
    leader.abort();
    let calls = (0..COLD).map(|_| auth.verify(&token));
    let results = futures_util::future::join_all(calls).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(idp.lock().unwrap().fetches, 1);
}

#[tokio::test(start_paused = true)]
async fn rotation_and_removal() {
    let (idp, auth) = setup();
    let (one, two) = (ed25519("one", CLAIMS), ed25519("two", CLAIMS));
    assert!(auth.verify(&one).await.is_ok());
    assert_eq!(auth.verify(&two).await.unwrap_err(), AuthError::InvalidToken(TokenFault::UnknownKey));
    assert_eq!(auth.verify(&two).await.unwrap_err(), AuthError::InvalidToken(TokenFault::UnknownKey));
    assert_eq!(idp.lock().unwrap().fetches, 2);
    idp.lock().unwrap().kids = vec!["one", "three"];
    assert!(auth.verify(&ed25519("three", CLAIMS)).await.is_ok());
    idp.lock().unwrap().kids = vec!["three"];
    assert!(auth.verify(&one).await.is_ok());
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(auth.verify(&one).await.unwrap_err(), AuthError::InvalidToken(TokenFault::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn outages() {
    let (idp, auth) = setup();
    let one = ed25519("one", CLAIMS);
    idp.lock().unwrap().down = true;
    assert!(matches!(auth.verify(&one).await.unwrap_err(), AuthError::KeysUnavailable { .. }));
    idp.lock().unwrap().down = false;
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(auth.verify(&one).await.is_ok());
    idp.lock().unwrap().down = true;
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(auth.verify(&one).await.is_ok());
    }
    assert!(matches!(
        auth.verify(&ed25519("new", CLAIMS)).await.unwrap_err(),
        AuthError::KeysUnavailable { .. }
    ));
    tokio::time::advance(Duration::from_secs(200)).await;
    assert!(matches!(auth.verify(&one).await.unwrap_err(), AuthError::KeysUnavailable { .. }));
}

//! Neither tokens nor claims nor keys are in what `Debug`, logs, metrics and answers show.
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::keys::Algorithm;
use tower_auth::layer::source::{BearerHeader, FirstOf, Query};
use tower_auth::{AuthLayer, Authenticator, Issuer, RequireScopes, StaticKeys, Verified};

use crate::support::{CLAIMS, SECRET, clock, token};

fn authenticator() -> Authenticator {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let issuer = Issuer::new("https://issuer.example", keys);
    Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap()
}

/// The parts of a token, its subject, and the secret.
fn assert_silent(text: &str, token: &str, what: &str) {
    let secret = String::from_utf8(SECRET.to_vec()).unwrap();
    for piece in token.split('.').chain(["alice", &secret]) {
        assert!(!text.contains(piece), "{what} tells {piece}: {text}");
    }
    let bytes = format!("{SECRET:?}");
    assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{what}: {text}");
}

#[tokio::test]
async fn debug() {
    let (auth, token) = (authenticator(), token(CLAIMS));
    let verified = auth.verify(&token).await.unwrap();
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let layer = AuthLayer::new(auth.clone())
        .token_source(FirstOf::new(BearerHeader).or(Query::danger_access_token()));
    let service = layer.layer(());
    let refused = auth.verify(&format!("{token}x")).await.unwrap_err();
    let text = format!("{auth:?} {verified:?} {keys:?} {:?} {layer:?} {service:?} {refused:?}", keys.set());
    assert_silent(&text, &token, "Debug");
    assert_silent(&format!("{:#?}", (&auth, &verified, &keys)), &token, "Debug");
}

/// Accepted, refused for the token, and refused for the scope.
async fn calls(token: &str) -> String {
    let inner = service_fn(async |request: Request<Empty<Bytes>>| {
        assert!(request.extensions().get::<Verified>().is_some());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = AuthLayer::new(authenticator()).layer(RequireScopes::any(["read"]).unwrap().layer(inner));
    let mut seen = String::new();
    let without = crate::support::token(&CLAIMS.replace("read", "look"));
    for value in
        [token.to_owned(), format!("{token}x"), without.clone(), format!("{token}\u{7f}"), token.to_owned()]
    {
        let Ok(value) = http::HeaderValue::from_str(&format!("Bearer {value}")) else { continue };
        let request = Request::builder().header(header::AUTHORIZATION, value).body(Empty::new()).unwrap();
        let (parts, body) = service.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        seen += &format!("{:?} {:?}", parts.headers, String::from_utf8_lossy(&body));
    }
    assert_silent(&seen, &without, "an answer");
    seen
}

#[tokio::test]
async fn answers() {
    let token = token(CLAIMS);
    let seen = calls(&token).await;
    assert!(seen.contains("invalid_token") && seen.contains("insufficient_scope"));
    assert_silent(&seen, &token, "an answer");
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn metrics() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let token = token(CLAIMS);
    calls(&token).await;
    let metrics = format!("{:?}", snapshotter.snapshot().into_vec());
    for name in ["tower_auth_requests_total", "tower_auth_scope_checks_total", "tower_auth_token_cache_total"]
    {
        assert!(metrics.contains(name), "{name}");
    }
    assert_silent(&metrics, &token, "metrics");
}

#[cfg(feature = "tracing")]
#[tokio::test]
async fn logs() {
    let token = token(CLAIMS);
    let log = crate::support::logged(calls(&token)).await;
    assert!(log.contains("invalid-token"), "{log}");
    assert_silent(&log, &token, "the log");
}

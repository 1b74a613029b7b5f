//! Keys found by the issuer's metadata, over a service.
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tower::service_fn;
use tower_auth::{AuthError, Authenticator, Issuer, RemoteJwks};

use crate::support::{CLAIMS, ED_X, clock, ed25519};

const OPENID: &str = "https://issuer.example/.well-known/openid-configuration";
const OAUTH: &str = "https://issuer.example/.well-known/oauth-authorization-server";
const METADATA: &str = r#"{"issuer":"https://issuer.example","jwks_uri":"https://keys.example/jwks"}"#;

/// An issuer that has this document at this place; which places were asked.
fn authenticator(place: &'static str, document: String) -> (Authenticator, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    let service = service_fn(move |request: Request<Empty<Bytes>>| {
        let uri = request.uri().to_string();
        log.lock().unwrap().push(uri.clone());
        let keys = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"one","x":"{ED_X}"}}]}}"#);
        let (status, body) = match uri.as_str() {
            "https://keys.example/jwks" => (StatusCode::OK, keys),
            uri if uri == place => (StatusCode::OK, document.clone()),
            _ => (StatusCode::NOT_FOUND, String::new()),
        };
        std::future::ready(Ok::<_, Infallible>(
            Response::builder().status(status).body(Full::<Bytes>::from(body)).unwrap(),
        ))
    });
    let issuer = Issuer::discover("https://issuer.example", service);
    let auth = Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap();
    (auth, asked)
}

#[tokio::test(start_paused = true)]
async fn the_exact_issuer_only() {
    let token = ed25519("one", CLAIMS);
    for (place, calls) in [(OPENID, 2), (OAUTH, 3)] {
        let (auth, asked) = authenticator(place, METADATA.to_owned());
        assert!(auth.verify(&token).await.is_ok(), "{place}");
        assert_eq!(asked.lock().unwrap().len(), calls, "{place}");
        for (from, to) in [
            ("https://issuer.example", "https://issuer.example/"),
            ("https://issuer.example", "https://Issuer.example"),
            ("https://issuer.example", "https://evil.example"),
            ("\"issuer\"", "\"name\""),
            ("https://keys", "http://keys"),
        ] {
            let bad = METADATA.replace(from, to);
            assert_ne!(bad, METADATA);
            let (auth, asked) = authenticator(place, bad.clone());
            assert!(matches!(auth.verify(&token).await, Err(AuthError::KeysUnavailable { .. })), "{bad}");
            assert!(!asked.lock().unwrap().iter().any(|uri| uri.contains("keys.example")), "{bad}");
        }
    }
}

#[test]
fn wrong_configuration_names_its_field() {
    let service = || {
        service_fn(async |_: Request<Empty<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        })
    };
    let build = |issuer| Authenticator::builder().issuer(issuer).audience("api").build();
    assert!(build(Issuer::discover("https://issuer.example", service())).is_ok());
    for bad in
        ["issuer.example", "https://issuer.example?x", "https://issuer.example#x", "ftp://issuer.example", ""]
    {
        assert_eq!(build(Issuer::discover(bad, service())).unwrap_err().field(), "discover", "{bad}");
    }
    let other = RemoteJwks::discover("https://other.example", service());
    assert_eq!(build(Issuer::remote("https://issuer.example", other)).unwrap_err().field(), "issuer");
    let remote = || RemoteJwks::new("https://issuer.example/jwks".parse().unwrap(), service());
    for (remote, field) in [
        (remote().refresh_every(Duration::ZERO), "refresh_every"),
        (remote().fetch_timeout(Duration::ZERO), "fetch_timeout"),
        (remote().max_body(0), "max_body"),
        (remote().unknown_kid_burst(0, Duration::from_secs(1)), "unknown_kid_burst"),
        (RemoteJwks::new("/jwks".parse().unwrap(), service()), "uri"),
    ] {
        assert_eq!(build(Issuer::remote("i", remote)).unwrap_err().field(), field);
    }
}

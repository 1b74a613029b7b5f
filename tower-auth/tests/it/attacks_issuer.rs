//! Attacks by way of the issuer's documents, and by tokens that would like something to be fetched.
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use tower::service_fn;
use tower_auth::keys::Algorithm;
use tower_auth::verify::Backend;
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, RemoteJwks, TokenFault};

use crate::attacks::{
    ED, ED_JWK, P256_JWK, RSA_JWK, assert_accepted, assert_refused, backends, forge, send, with,
};
use crate::support::{CLAIMS, Pieces, clock};

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: Vec<(header::HeaderName, &'static str)>,
    pieces: usize,
    piece: Bytes,
    apart: Duration,
    panics: bool,
}

impl Answer {
    fn new(body: impl Into<Bytes>) -> Self {
        let (status, headers, apart) = (StatusCode::OK, Vec::new(), Duration::ZERO);
        Self { status, headers, pieces: 1, piece: body.into(), apart, panics: false }
    }
}

type Asked = Arc<Mutex<Vec<Uri>>>;

fn layer(backend: Backend, answer: &Arc<Mutex<Answer>>, asked: &Asked) -> AuthLayer {
    let (answer, asked) = (Arc::clone(answer), Arc::clone(asked));
    let service = service_fn(move |request: Request<Empty<Bytes>>| {
        asked.lock().unwrap().push(request.uri().clone());
        let answer = answer.lock().unwrap().clone();
        async move {
            assert!(!answer.panics, "as told");
            let Answer { status, headers, pieces, piece, apart, .. } = answer;
            let mut response = Response::new(Pieces::new(pieces, piece, apart));
            *response.status_mut() = status;
            for (name, value) in headers {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let remote = RemoteJwks::new("https://issuer.example/jwks".parse().unwrap(), service)
        .refresh_every(Duration::from_secs(100));
    let authenticator = Authenticator::builder()
        .issuer(Issuer::remote("https://issuer.example", remote))
        .audience("api")
        .realm("example")
        .backend(backend)
        .wall_clock(clock);
    AuthLayer::new(authenticator.build().unwrap())
}

fn keys(jwks: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, jwks.join(","))
}

fn good_keys() -> String {
    keys(&[with(r#""kid":"a""#, ED_JWK)])
}

fn token(members: &str) -> Vec<Vec<u8>> {
    let header = format!(r#"{{"alg":"EdDSA","kid":"a"{members}}}"#);
    vec![format!("Bearer {}", forge(Algorithm::EdDsa, ED.as_bytes(), header, CLAIMS)).into_bytes()]
}

fn bad_answers() -> Vec<(&'static str, Answer)> {
    let good = Answer::new(good_keys());
    let status = |status| Answer { status, ..good.clone() };
    let to = |target| Answer { headers: vec![(header::LOCATION, target)], ..status(StatusCode::FOUND) };
    let a = |jwk: &str| with(r#""kid":"a""#, jwk);
    vec![
        ("500", status(StatusCode::INTERNAL_SERVER_ERROR)),
        ("404", status(StatusCode::NOT_FOUND)),
        ("204", status(StatusCode::NO_CONTENT)),
        ("206", status(StatusCode::PARTIAL_CONTENT)),
        ("304 to a question without a validator", status(StatusCode::NOT_MODIFIED)),
        ("a redirect to http", to("http://issuer.example/jwks")),
        ("a redirect to a private address", to("https://169.254.169.254/latest/meta-data")),
        ("HTML", Answer::new("<!doctype html><title>Sign in</title>")),
        ("nothing", Answer::new("")),
        ("no keys", Answer::new(keys(&[]))),
        (
            "only bad keys",
            Answer::new(keys(&[ED_JWK.replace("Ed25519", "Ed448"), r#"{"kty":"AKP"}"#.into()])),
        ),
        (
            "only a published secret",
            Answer::new(keys(&[a(r#"{"kty":"oct","k":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}"#)])),
        ),
        ("only keys for encryption", Answer::new(keys(&[with(r#""use":"enc""#, &a(ED_JWK))]))),
        (
            "two keys of one name",
            Answer::new(keys(&[
                a(ED_JWK),
                a(&ED_JWK
                    .replace(&crate::attacks::x_of(ED_JWK), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")),
            ])),
        ),
        ("cut short", Answer::new(&good_keys().as_bytes()[..40].to_vec().leak()[..])),
        (
            "compressed without being asked",
            Answer {
                headers: vec![(header::CONTENT_ENCODING, "gzip")],
                ..Answer::new(&b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"[..])
            },
        ),
        ("10 MiB", Answer { pieces: 640, piece: vec![b' '; 16 << 10].into(), ..good.clone() }),
        ("10 MiB in one piece", Answer::new(vec![b'['; 10 << 20])),
        (
            "a byte a second",
            Answer {
                pieces: 10_000,
                piece: Bytes::from_static(b" "),
                apart: Duration::from_secs(1),
                ..good.clone()
            },
        ),
        ("silence", Answer { apart: Duration::from_secs(86_400), ..good.clone() }),
        ("a panic", Answer { panics: true, ..good.clone() }),
    ]
}

/// Cold: 503 and when to come again, never 401. Warm: the keys that were good serve on.
#[tokio::test(start_paused = true)]
async fn answers_that_are_no_key_set() {
    let token = token("");
    for backend in backends() {
        for (name, bad) in bad_answers() {
            let (answer, asked) = (Arc::new(Mutex::new(Answer::new(good_keys()))), Asked::default());
            let warm = layer(backend, &answer, &asked);
            assert_accepted(&send(&warm, &token).await, name);
            *answer.lock().unwrap() = bad;
            tokio::time::advance(Duration::from_secs(101)).await;
            assert_accepted(&send(&warm, &token).await, name);
            let cold = layer(backend, &answer, &asked);
            let response = send(&cold, &token).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{name}");
            assert!(matches!(response.extensions().get(), Some(AuthError::KeysUnavailable { .. })), "{name}");
            assert!(response.headers().contains_key(header::RETRY_AFTER), "{name}");
            assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE), "{name}");
            // And back.
            *answer.lock().unwrap() = Answer::new(good_keys());
            tokio::time::advance(Duration::from_secs(120)).await;
            assert_accepted(&send(&cold, &token).await, name);
            let place: Uri = "https://issuer.example/jwks".parse().unwrap();
            assert!(asked.lock().unwrap().iter().all(|uri| *uri == place), "{name}: led elsewhere");
        }
    }
}

/// Whatever addresses a token brings, and whatever it is called, only the configured place is ever asked.
#[tokio::test(start_paused = true)]
async fn a_token_never_causes_a_call_elsewhere() {
    for backend in backends() {
        let (answer, asked) = (Arc::new(Mutex::new(Answer::new(good_keys()))), Asked::default());
        let layer = layer(backend, &answer, &asked);
        assert_accepted(&send(&layer, &token("")).await, "plain");
        assert_eq!(asked.lock().unwrap().len(), 1);
        for member in [
            r#","jku":"https://evil.example/jwks""#,
            r#","x5u":"https://evil.example/cert.pem""#,
            r#","jku":"http://169.254.169.254/","x5u":"file:///etc/passwd""#,
            r#","x5c":["MIIB"],"iss":"https://evil.example""#,
            &format!(r#","jwk":{P256_JWK}"#),
            &format!(r#","jwk":{RSA_JWK},"jku":"https://evil.example""#),
        ] {
            assert_accepted(&send(&layer, &token(member)).await, member);
        }
        assert_eq!(asked.lock().unwrap().len(), 1, "no call for any of them");
        for kid in ["https://evil.example/k", "../../evil", "a?x=1", "a#b", "a\\u000d\\u000aHost: evil"] {
            let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#);
            let changed = format!("Bearer {}", forge(Algorithm::EdDsa, ED.as_bytes(), header, CLAIMS));
            let response = send(&layer, &vec![changed.into_bytes()]).await;
            assert_refused(&response, &TokenFault::UnknownKey.into(), kid);
        }
        let asked = asked.lock().unwrap();
        let place: Uri = "https://issuer.example/jwks".parse().unwrap();
        assert!(asked.iter().all(|uri| *uri == place), "{asked:?}");
        assert!(asked.len() <= 3, "{} calls", asked.len());
    }
}

/// An issuer that gives an old name to a new key: what the old one has signed is dead, though it was verified before.
#[tokio::test(start_paused = true)]
async fn a_name_is_given_to_another_key() {
    for backend in backends() {
        let (answer, asked) = (Arc::new(Mutex::new(Answer::new(good_keys()))), Asked::default());
        let layer = layer(backend, &answer, &asked);
        let old = token("");
        assert_accepted(&send(&layer, &old).await, "before");
        *answer.lock().unwrap() = Answer::new(keys(&[with(r#""kid":"a""#, P256_JWK)]));
        tokio::time::advance(Duration::from_secs(101)).await;
        assert_refused(&send(&layer, &old).await, &TokenFault::UnknownKey.into(), "of another kind");
        let other =
            ED_JWK.replace(&crate::attacks::x_of(ED_JWK), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        *answer.lock().unwrap() = Answer::new(good_keys());
        tokio::time::advance(Duration::from_secs(101)).await;
        assert_accepted(&send(&layer, &old).await, "back");
        *answer.lock().unwrap() = Answer::new(keys(&[with(r#""kid":"a""#, &other)]));
        tokio::time::advance(Duration::from_secs(101)).await;
        assert_refused(&send(&layer, &old).await, &TokenFault::Signature.into(), "of the same kind");
    }
}

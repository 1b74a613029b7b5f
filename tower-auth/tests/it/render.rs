//! Refusals that look as one likes: what a rendering forgets is added, what it says is kept.
use std::convert::Infallible;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::keys::{Algorithm, KeySource, Lookup};
use tower_auth::layer::{Authorize, RequireClaims, RequireRoles};
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, RequireScopes, StaticKeys, Verified};

use crate::support::{CLAIMS, SECRET, clock, token};

struct NoKeys;

impl KeySource for NoKeys {
    fn lookup(&self, _: Option<&str>, _: Algorithm, _: bool) -> Lookup {
        Lookup::Unavailable { retry_after: std::time::Duration::from_millis(1_001) }
    }
}

fn layer(keys: impl KeySource) -> AuthLayer {
    let issuer = Issuer::new("https://issuer.example", keys);
    let auth = Authenticator::builder().issuer(issuer).audience("api").realm("mine").wall_clock(clock);
    AuthLayer::new(auth.build().unwrap())
}

fn good_keys() -> StaticKeys {
    StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap()
}

fn plain(error: &AuthError, request: &Parts) -> Response<Bytes> {
    let mut response = Response::new(format!("{} {}", request.uri.path(), error.kind()).into());
    *response.status_mut() = error.status();
    response
}

fn talkative(error: &AuthError, request: &Parts) -> Response<Bytes> {
    let mut response = plain(error, request);
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, "Custom x=1".parse().unwrap());
    headers.insert(header::CACHE_CONTROL, "max-age=1".parse().unwrap());
    headers.insert(header::RETRY_AFTER, "77".parse().unwrap());
    response
}

async fn inner(_: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("in")))
}

async fn send(
    layer: &AuthLayer,
    authorization: Option<&str>,
) -> (StatusCode, HeaderMap, Option<AuthError>, String) {
    let mut request = Request::get("/a");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let response =
        layer.layer(service_fn(inner)).oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, parts.extensions.get().cloned(), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_a_rendering_forgets_is_added_and_what_it_says_is_kept() {
    let good = format!("Bearer {}", token(CLAIMS));
    let layer_with =
        |render: fn(&AuthError, &Parts) -> Response<Bytes>| layer(good_keys()).render_with(render);
    assert_eq!(send(&layer_with(plain), Some(&good)).await.3, "in");
    let (status, headers, error, body) = send(&layer_with(plain), None).await;
    assert_eq!((status, body.as_str()), (StatusCode::UNAUTHORIZED, "/a missing-token"));
    assert_eq!(error, Some(AuthError::MissingToken));
    // The realm is the rendering's own affair; a challenge there must be (RFC 9110 §15.5.2).
    assert_eq!(headers[header::WWW_AUTHENTICATE], r#"Bearer realm="api""#);
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert!(!headers.contains_key(header::RETRY_AFTER));
    let (status, headers, ..) = send(&layer_with(talkative), Some("Bearer a b")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(headers[header::WWW_AUTHENTICATE], "Custom x=1");
    assert_eq!(headers[header::CACHE_CONTROL], "max-age=1");
}

#[tokio::test]
async fn retry_after_is_in_whole_seconds_and_never_zero() {
    let good = format!("Bearer {}", token(CLAIMS));
    let (status, headers, error, _) = send(&layer(NoKeys), Some(&good)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(error, Some(AuthError::KeysUnavailable { .. })));
    // 1.001 seconds are two: earlier would be in vain.
    assert_eq!(headers[header::RETRY_AFTER], "2");
    assert!(!headers.contains_key(header::WWW_AUTHENTICATE), "another token would not help");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    let (_, headers, ..) = send(&layer(NoKeys).render_with(plain), Some(&good)).await;
    assert_eq!(headers[header::RETRY_AFTER], "2");
    let (_, headers, ..) = send(&layer(NoKeys).render_with(talkative), Some(&good)).await;
    assert_eq!(headers[header::RETRY_AFTER], "77");
}

/// The authorizing layers are rendered by the same means.
#[tokio::test]
async fn rules_are_rendered_as_one_likes() {
    macro_rules! refused {
        ($rule:expr) => {{
            let service = layer(good_keys()).layer($rule.layer(service_fn(inner)));
            let request =
                Request::get("/a").header(header::AUTHORIZATION, format!("Bearer {}", token(CLAIMS)));
            let response = service.oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
        }};
    }
    let forbids = |_: Verified, _: &Parts| std::future::ready(Err(AuthError::Forbidden));
    for (name, (status, headers, body)) in [
        ("scopes", refused!(RequireScopes::all(["admin"]).unwrap().render_with(plain))),
        ("roles", refused!(RequireRoles::all(["admin"]).unwrap().render_with(plain))),
        ("claims", refused!(RequireClaims::<tower_auth::Claims>::new(|_, _| false).render_with(plain))),
        ("own", refused!(Authorize::new(forbids).render_with(plain))),
    ] {
        let kind = if name == "scopes" { "insufficient-scope" } else { "forbidden" };
        assert_eq!((status, body), (403, format!("/a {kind}")), "{name}");
        let challenge = headers[header::WWW_AUTHENTICATE].to_str().unwrap();
        assert!(challenge.starts_with(r#"Bearer error="insufficient_scope""#), "{name}: {challenge}");
        assert_eq!(challenge.contains(r#"scope="admin""#), name == "scopes", "{name}: {challenge}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{name}");
    }
}

/// A rule or a source of keys may say any time.
#[tokio::test]
async fn no_wait_is_too_long_to_say() {
    for (retry_after, said) in [
        (std::time::Duration::from_secs(7), "7"),
        (std::time::Duration::MAX, "18446744073709551615"),
        (std::time::Duration::ZERO, "1"),
    ] {
        let late =
            move |_: Verified, _: &Parts| std::future::ready(Err(AuthError::RuleUnavailable { retry_after }));
        let service = layer(good_keys()).layer(Authorize::new(late).layer(service_fn(inner)));
        let request = Request::get("/a").header(header::AUTHORIZATION, format!("Bearer {}", token(CLAIMS)));
        let response = service.oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], said);
    }
}

//! Preflight requests of browsers pass without a token, and nothing else does.
use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::keys::Algorithm;
use tower_auth::layer::is_cors_preflight;
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, StaticKeys, Verified};

use crate::support::SECRET;

async fn send(
    layer: &AuthLayer,
    method: &Method,
    fields: &[(&str, &str)],
) -> (StatusCode, Option<AuthError>) {
    let inner = service_fn(async |request: Request<Empty<Bytes>>| {
        assert!(request.extensions().get::<Verified>().is_none(), "nobody was verified");
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let mut request = Request::builder().method(method).uri("/orders");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answer = layer.layer(inner).oneshot(request.body(Empty::new()).unwrap()).await.unwrap();
    (answer.status(), answer.extensions().get().cloned())
}

#[tokio::test]
async fn one_change_to_a_preflight_is_refused() {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let issuer = Issuer::new("https://issuer.example", keys);
    let layer = AuthLayer::new(Authenticator::builder().issuer(issuer).audience("api").build().unwrap());
    let skipping = layer.clone().skip(is_cors_preflight);
    // Fetch §4.8: what a browser sends.
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization"),
    ];
    assert_eq!(send(&skipping, &Method::OPTIONS, &preflight).await, (StatusCode::OK, None));
    let missing = (StatusCode::UNAUTHORIZED, Some(AuthError::MissingToken));
    // Off by default.
    assert_eq!(send(&layer, &Method::OPTIONS, &preflight).await, missing);
    for method in [Method::GET, Method::POST, Method::PUT, Method::HEAD] {
        assert_eq!(send(&skipping, &method, &preflight).await, missing, "{method}");
    }
    assert_eq!(send(&skipping, &Method::OPTIONS, &preflight[1..]).await, missing, "without an origin");
    let without_method = [preflight[0], preflight[2]];
    assert_eq!(send(&skipping, &Method::OPTIONS, &without_method).await, missing, "without a method");
    assert_eq!(send(&skipping, &Method::OPTIONS, &[]).await, missing, "plain");
    // The headers are optional.
    assert_eq!(send(&skipping, &Method::OPTIONS, &preflight[..2]).await, (StatusCode::OK, None));
}

//! Tokens as arguments of axum handlers.
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_auth::keys::Algorithm;
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, MaybeVerified, StaticKeys, Verified};

use crate::support::{CLAIMS, SECRET, clock, token};

#[derive(serde::Deserialize)]
struct Mine {
    sub: String,
}

fn layer() -> AuthLayer<Mine> {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let builder =
        Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api");
    AuthLayer::new(builder.wall_clock(clock).claims::<Mine>().build().unwrap())
}

async fn strict(verified: Verified<Mine>) -> String {
    format!("{} {}", verified.claims().sub, verified.has_scope("read"))
}

async fn lenient(MaybeVerified(verified): MaybeVerified<Mine>) -> String {
    verified.map_or_else(|| "nobody".to_owned(), |verified| verified.claims().sub.clone())
}

fn routes() -> Router {
    Router::new().route("/strict", get(strict)).route("/lenient", get(lenient))
}

async fn send(app: &Router, path: &str, claims: Option<&str>) -> (StatusCode, Option<AuthError>, String) {
    let mut request = Request::get(path);
    if let Some(claims) = claims {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token(claims)));
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, error) = (response.status(), response.extensions().get().cloned());
    if status == StatusCode::UNAUTHORIZED {
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, error, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn handlers_get_tokens_of_their_claims_type() {
    let app = routes().layer(layer());
    assert_eq!(send(&app, "/strict", Some(CLAIMS)).await, (StatusCode::OK, None, "alice true".into()));
    assert_eq!(send(&app, "/lenient", Some(CLAIMS)).await, (StatusCode::OK, None, "alice".into()));
    for path in ["/strict", "/lenient"] {
        let (status, error, _) = send(&app, path, None).await;
        assert_eq!((status, error), (StatusCode::UNAUTHORIZED, Some(AuthError::MissingToken)), "{path}");
    }
}

/// Where requests may be anonymous, the handler that wants a token refuses for itself.
#[tokio::test]
async fn anonymous_requests() {
    let app = routes().layer(layer().optional());
    assert_eq!(send(&app, "/lenient", None).await.2, "nobody");
    assert_eq!(send(&app, "/strict", Some(CLAIMS)).await.2, "alice true");
    let (status, error, body) = send(&app, "/strict", None).await;
    assert_eq!((status, error), (StatusCode::UNAUTHORIZED, Some(AuthError::MissingToken)));
    assert!(body.contains("missing-token"), "{body}");
    // A token that is not good is no anonymous request.
    let expired = CLAIMS.replace("1800000300", "1700000000");
    assert_eq!(send(&app, "/lenient", Some(&expired)).await.0, StatusCode::UNAUTHORIZED);
}

/// A handler never gets a token of another claims type, and none where no layer is.
#[tokio::test]
async fn no_layer_no_token() {
    let other =
        Router::new().route("/other", get(async |token: Verified| token.subject().unwrap_or("?").to_owned()));
    let app = routes().merge(other).layer(layer());
    assert_eq!(send(&app, "/strict", Some(CLAIMS)).await.0, StatusCode::OK);
    assert_eq!(send(&app, "/other", Some(CLAIMS)).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(send(&routes(), "/strict", Some(CLAIMS)).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(send(&routes(), "/lenient", Some(CLAIMS)).await.2, "nobody");
}

//! tower-auth alone.
use axum::{Router, body::Body, http::Request, routing::get};
use tower::ServiceExt;
use tower_auth::{AuthLayer, Authenticator, Issuer, StaticKeys};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let keys = StaticKeys::jwk(br#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#).unwrap();
    let auth: Authenticator = Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api").build().unwrap();
    let app: Router = Router::new().route("/", get(async || "hello")).layer(AuthLayer::new(auth));
    assert_eq!(app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap().status(), 401);
}

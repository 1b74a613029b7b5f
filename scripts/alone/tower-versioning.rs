//! tower-versioning alone.
use axum::{Router, body::Body, http::Request, routing::get};
use tower::{Layer, ServiceExt};
use tower_versioning::{Registry, Version, VersionLayer};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let registry = Registry::builder().version(Version::major(2), |v| v).build().unwrap();
    let app = VersionLayer::new(registry).layer(Router::<()>::new().route("/hello", get(async || "hello")));
    assert_eq!(app.oneshot(Request::get("/v2/hello").body(Body::empty()).unwrap()).await.unwrap().status(), 200);
}

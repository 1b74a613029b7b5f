//! tower-correlation alone.
use axum::{Router, body::Body, http::Request, routing::get};
use tower::ServiceExt;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let app = Router::new().route("/", get(async || "hello")).layer(tower_correlation::CorrelationLayer::new());
    let request = Request::get("/").header("x-request-id", "alone-1").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "alone-1");
}

//! tower-breaker alone.
use axum::{Router, body::Body, http::Request, routing::get};
use tower::ServiceExt;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let breaker = tower_breaker::Breaker::builder("alone").build().unwrap();
    let app: Router = Router::new().route("/", get(async || "hello")).layer(tower_breaker::HttpBreakerLayer::new(breaker.clone()));
    breaker.force_open();
    assert_eq!(app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap().status(), 503);
}

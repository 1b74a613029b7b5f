//! tower-cache alone.
use axum::{Router, body::Body, http::Request, routing::get};
use tower::ServiceExt;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let cache = tower_cache::CacheLayer::shared(tower_cache::MemoryStore::new(1 << 20));
    let app: Router = Router::new().route("/", get(async || ([("cache-control", "max-age=60")], "hello"))).layer(cache);
    let request = Request::get("http://alone.example/").body(Body::empty()).unwrap();
    assert!(app.oneshot(request).await.unwrap().headers().contains_key("cache-status"));
}

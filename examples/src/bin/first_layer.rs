//! One layer on one existing router.

use axum::{Router, routing::get};
use tower_correlation::CorrelationLayer;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new()
        .route("/", get(async || "hello"))
        // Every request has an id, and every response says it.
        .layer(CorrelationLayer::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await
}

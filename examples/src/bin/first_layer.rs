//! One layer on one existing router.

use axum::{Router, routing::get};
use tower_correlation::CorrelationLayer;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new().route("/", get(async || "hello")).layer(CorrelationLayer::new()); // every request has an id, every response says it
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await
}

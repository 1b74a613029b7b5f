//! An existing axum router, and one layer of each crate around it.

use std::time::{Duration, SystemTime};

use axum::{Router, response::IntoResponse, routing::get};
use tower::Layer;
use tower_auth::{AuthLayer, Authenticator, Issuer, RequireScopes, StaticKeys, Verified};
use tower_breaker::{Breaker, HttpBreakerLayer};
use tower_cache::{Cache, CacheLayer};
use tower_correlation::CorrelationLayer;
use tower_versioning::{ApiVersion, Registry, Version, VersionLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // What was there before.
    let orders = Router::new()
        .route("/orders", get(async || ([("cache-control", "public, max-age=10")], "[1, 2, 3]")))
        .route(
            "/me",
            get(async |user: Verified| user.subject().unwrap_or("nobody").to_owned().into_response()),
        );

    // State lives in handles made first; layers share it however often they are applied.
    let breaker = Breaker::builder("orders").failure_rate(0.5).build()?;
    let cache = Cache::builder()
        .partition(|request, key| {
            key.add_optional(request.extensions.get::<ApiVersion>().map(|v| v.version().to_string()));
        })
        .build()?;
    let half_a_year = Duration::from_secs(182 * 86_400);
    let registry = Registry::builder()
        .version(Version::major(1), |v| {
            v.deprecated(SystemTime::now())
                .sunset(SystemTime::now() + half_a_year)
                .successor(Version::major(2))
        })
        .version(Version::major(2), |v| v)
        .build()?;
    let keys = StaticKeys::jwks(include_bytes!("quickstart.jwks.json"))?;
    let auth = Authenticator::builder()
        .issuer(Issuer::new("https://issuer.example", keys))
        .audience("orders")
        .build()?;

    // Innermost first.
    let app = orders
        .layer(HttpBreakerLayer::new(breaker))
        .layer(CacheLayer::new(cache))
        .layer(RequireScopes::all(["orders:read"])?);
    // `/v2/orders` or `api-version: 2`: a layer that rewrites paths goes around the router.
    let app = Router::new()
        .fallback_service(VersionLayer::new(registry).layer(app))
        .layer(AuthLayer::new(auth))
        .layer(CorrelationLayer::new());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

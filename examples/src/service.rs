//! The services behind the gateways, and what stands around each replica.

pub mod database;
pub mod inventory;
pub mod inventory_client;
pub mod orders;
pub mod problem;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use tower_cache::{Cache, CacheLayer, MemoryStore, Store};
use tower_correlation::CorrelationLayer;
use tower_correlation::observe::ObserveLayer;

use crate::BoxError;
use crate::cli::Layer;
use crate::component::Context;
use crate::fault::{Fault, suffer};
use store::FaultyStore;

/// Answers that caches may share although the request was authenticated: `public` says so (RFC 9111 §3.5).
pub(crate) const CACHEABLE: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=60");
/// Answers for one request only.
pub(crate) const UNCACHEABLE: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

/// Bytes that the response cache of one replica may hold.
const CACHE_BYTES: u64 = 16 << 20;

/// How long a request waits for the cache's store at most, over all its waits.
pub const STORE_TIMEOUT: Duration = Duration::from_millis(50);

/// Which of the five layers are in place.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The one that was left out.
    pub without: Option<Layer>,
    /// Where caches keep what they share with others of their kind; each has its own memory without it.
    pub redis: Option<String>,
}

impl Layers {
    /// Whether the layer is in place.
    #[must_use]
    pub fn has(&self, layer: Layer) -> bool {
        self.without != Some(layer)
    }
}

/// The store of a component's cache, shared by all components whose names begin alike (`orders-1`, `orders-2`).
pub(crate) fn cache_store(layers: &Layers, name: &str, bytes: u64) -> Result<Arc<dyn Store>, BoxError> {
    let Some(address) = &layers.redis else { return Ok(Arc::new(MemoryStore::new(bytes))) };
    let kind = name.rsplit_once('-').map_or(name, |(kind, _)| kind);
    shared_store(address, kind)
}

#[cfg(feature = "redis")]
fn shared_store(address: &str, kind: &str) -> Result<Arc<dyn Store>, BoxError> {
    Ok(Arc::new(crate::redis::store(address, &format!("example:{kind}"))?))
}

#[cfg(not(feature = "redis"))]
fn shared_store(address: &str, _: &str) -> Result<Arc<dyn Store>, BoxError> {
    Err(format!("--redis {address}: this program was built without it; build it with `--features redis`")
        .into())
}

/// A replica: its routes with a cache in front, the faults in front of that, and the correlation around all of it.
pub(crate) fn around(
    api: Router,
    context: &Context,
    layers: &Layers,
    fault: &Fault,
) -> Result<Router, BoxError> {
    let mut app = api.layer(from_fn_with_state(served_by(context)?, stamp));
    if layers.has(Layer::Cache) {
        let cache = Cache::builder()
            .name(&context.name)
            .store(FaultyStore::new(cache_store(layers, &context.name, CACHE_BYTES)?, fault.clone()))
            .store_timeout(STORE_TIMEOUT)
            // Campaign parameters mean nothing here: the answer is the same.
            .ignore_query(["utm_source"])
            .build()?;
        app = app.layer(CacheLayer::new(cache));
    }
    app = app.layer(from_fn_with_state(fault.clone(), suffer));
    if layers.has(Layer::Correlation) {
        app = app.layer(ObserveLayer::server(context.observe.clone())).layer(CorrelationLayer::new());
    }
    let health = async |State(fault): State<Fault>| match fault.now().status {
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        None => StatusCode::OK,
    };
    Ok(Router::new().route("/health", get(health)).with_state(fault.clone()).fallback_service(app))
}

fn served_by(context: &Context) -> Result<HeaderValue, BoxError> {
    Ok(HeaderValue::from_str(&context.name)?)
}

/// Says which replica made the answer; a cache keeps that with it.
async fn stamp(State(name): State<HeaderValue>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-served-by", name);
    response
}

//! The gateway: authenticates, picks the version, caches, retries on another replica, breaks circuits.
//!
//! The layers stand in the order of ARCHITECTURE.md, outermost last, because each `Router::layer` goes around what is
//! there already.

mod replicas;
mod versions;

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{any_service, get};
use axum::{Json, Router};
use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};
use tower_auth::{AuthLayer, Authenticator, Issuer, RemoteJwks, RequireScopes};
use tower_cache::key::Partition;
use tower_cache::{Cache, CacheLayer};
use tower_correlation::CorrelationLayer;
use tower_correlation::observe::ObserveLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_versioning::ApiVersion;

use crate::BoxError;
use crate::cli::Layer;
use crate::component::{Context, Parts as Component, Serve};
use crate::issuer::AUDIENCE;
use crate::observe::tell_route;
use crate::proxy;
use crate::service::Layers;
use replicas::Replicas;
use versions::Versions;

/// Bytes that the gateway's cache may hold.
const CACHE_BYTES: u64 = 32 << 20;
/// How soon a key that the issuer removed is noticed.
const KEYS_REFRESH: Duration = Duration::from_secs(1);
/// How long a request may take in all; each attempt has its own, shorter time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One replica behind the gateway.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// `orders` or `inventory`.
    pub service: String,
    /// Such as `orders-1`: the label of its breaker.
    pub instance: String,
    /// Where it is.
    pub url: Uri,
}

/// Configuration of one gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whose tokens are accepted.
    pub issuer: Uri,
    /// The replicas of all services.
    pub upstreams: Vec<Upstream>,
    /// Which layers are in place.
    pub layers: Layers,
}

/// Builds one gateway.
///
/// # Errors
///
/// What is wrong with the configuration.
pub async fn build(context: Context, config: Config) -> Result<Component, BoxError> {
    let cache = Cache::builder()
        .name(&context.name)
        .store(crate::service::cache_store(&config.layers, &context.name, CACHE_BYTES)?)
        // The version is no part of the path any more where the cache stands, and one by path and by header is the same.
        .without_original_path()
        .partition(|parts: &Parts, key: &mut Partition<'_>| {
            if let Some(version) = parts.extensions.get::<ApiVersion>() {
                key.add(version.version().to_string());
            }
        })
        .build()?;
    let mut api = Router::new();
    for (service, path) in [("orders", "/api/orders"), ("inventory", "/api/stock")] {
        api = api.merge(service_routes(&context, &config, &cache, service, path)?);
    }
    let api = api.fallback(async || refused(StatusCode::NOT_FOUND, "there is nothing at this path"));
    let layers = &config.layers;
    // A layer that rewrites paths goes around the router; inside of `Router::layer` routing has already happened.
    let (mut app, admin) = match layers.has(Layer::Versioning) {
        true => {
            let versions = Versions::new()?;
            (Router::new().fallback_service(versions.layer().layer(api)), versions.admin())
        }
        // Without versions there is the newest one, at its old address.
        false => {
            let newest = ServiceBuilder::new().map_request(newest).service(api);
            (Router::new().fallback_service(newest), Router::new())
        }
    };
    if layers.has(Layer::Auth) {
        app = app.layer(AuthLayer::new(authenticator(&config.issuer)?));
    }
    app = app.layer(CatchPanicLayer::new()).layer(from_fn(deadline)).layer(from_fn(refuse));
    if layers.has(Layer::Correlation) {
        app = app.layer(ObserveLayer::server(context.observe.clone())).layer(CorrelationLayer::new());
    }
    let routes = Router::new().route("/health", get(async || "ok")).fallback_service(app);
    Ok(Component { serve: Serve::Http(routes), admin })
}

/// The routes of one service: who may, then the cache, then its replicas.
fn service_routes(
    context: &Context,
    config: &Config,
    cache: &Cache,
    service: &str,
    path: &str,
) -> Result<Router, BoxError> {
    let upstreams: Vec<Upstream> =
        config.upstreams.iter().filter(|upstream| upstream.service == service).cloned().collect();
    if upstreams.is_empty() {
        return Err(format!("{}: there is no --upstream {service}=URL", context.name).into());
    }
    let mut app = Router::new().fallback_service(Replicas::new(context, &upstreams, &config.layers)?);
    if config.layers.has(Layer::Cache) {
        app = app.layer(CacheLayer::new(cache.clone()));
    }
    let (mut reads, mut writes) = (app.clone(), app);
    if config.layers.has(Layer::Auth) {
        reads = reads.layer(RequireScopes::all([format!("{service}:read")])?);
        writes = writes.layer(RequireScopes::all([format!("{service}:write")])?);
    }
    // GET and HEAD read; what another method does, and whether there is such a method, the service knows.
    let by_method = any_service(service_fn(move |request: Request| {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if is_read { reads.clone() } else { writes.clone() }.oneshot(request)
    }));
    let routes = Router::new().route(path, by_method.clone()).route(&format!("{path}/{{*rest}}"), by_method);
    // Around the routes alone: what no route matches has none to tell.
    Ok(routes.route_layer(from_fn(tell_route)))
}

/// `/api/v2/…` as a plain path.
fn newest(mut request: Request) -> Request {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    if let Some(rest) = path.strip_prefix("/api/v2/") {
        replace_path(&mut request, &format!("/api/{rest}"));
    }
    request
}

/// Another path and query; the host that was asked for stays.
fn replace_path(request: &mut Request, path: &str) {
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = path.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// What no gateway can pass on, whoever asks for it.
async fn refuse(request: Request, next: axum::middleware::Next) -> Response {
    if let Some((status, title)) = proxy::refusal(&request) {
        return refused(status, title);
    }
    if proxy::hops_left(request.method(), request.headers()) == Some(0) {
        // OPTIONS that is to go no further: there is nothing to say about this gateway (RFC 9110 §9.3.7).
        return Response::default();
    }
    if leads_elsewhere(request.uri().path()) {
        return refused(StatusCode::BAD_REQUEST, "the path leads elsewhere");
    }
    next.run(request).await
}

/// Whether somebody behind this gateway may read the path as another one: routes and scopes are those of the path as it
/// stands here (RFC 3986 §5.2.4 and §6.2.2; backslashes and parameters of segments as some servers take them).
fn leads_elsewhere(path: &str) -> bool {
    let path: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let mut segments = path.split(|octet| matches!(octet, b'/' | b'\\'));
    segments.any(|segment| matches!(segment.split(|octet| *octet == b';').next(), Some(b"." | b"..")))
}

/// A problem that another try does not solve.
fn refused(status: StatusCode, title: &str) -> Response {
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16() });
    let mut response = (status, Json(body)).into_response();
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Accepts the tokens of one issuer, whose keys are fetched over HTTP.
fn authenticator(issuer: &Uri) -> Result<Authenticator, BoxError> {
    let name = issuer.to_string().trim_end_matches('/').to_owned();
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let keys = RemoteJwks::new(format!("{name}/jwks.json").parse()?, client).refresh_every(KEYS_REFRESH);
    Ok(Authenticator::builder().issuer(Issuer::remote(name, keys)).audience(AUDIENCE).build()?)
}

/// The total time of a request, whatever retries and queues do.
async fn deadline(request: Request, next: axum::middleware::Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => replicas::unavailable(StatusCode::GATEWAY_TIMEOUT, "the request took too long"),
    }
}

//! What every component writes down of its calls: metrics, and a line of JSON at the end of each.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::response::Parts;
use tower_correlation::ConfigError;
use tower_correlation::observe::Observe;

use crate::component::Log;

/// Calls that fail are written down whatever the share of the others.
pub(crate) fn observe(instance: &str, sample: f64, log: Log) -> Result<Observe, ConfigError> {
    let service = instance.rsplit_once('-').map_or(instance, |(service, _)| service);
    Observe::builder()
        .service(service)
        .instance(instance)
        .version(env!("CARGO_PKG_VERSION"))
        .sample(sample)
        .always_status(500..)
        .always_failed(true)
        .route(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str))
        .peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()))
        .field("cache_status", |response| header(response, "cache-status"))
        .field("api_version", |response| header(response, "api-version"))
        .json(move |line| log.line(line))
        .build()
}

fn header(response: &Parts, name: &str) -> Option<String> {
    Some(response.headers.get(name)?.to_str().ok()?.to_owned())
}

/// Leaves the route on the response, for layers that stand outside of the router and see no other trace of it.
pub(crate) async fn tell_route(route: MatchedPath, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.extensions_mut().insert(route);
    response
}

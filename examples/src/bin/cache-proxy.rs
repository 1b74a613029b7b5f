//! A caching reverse proxy: `CacheLayer` with its defaults in front of one upstream.
//!
//! ```text
//! cargo run --release -p examples --bin cache-proxy -- --listen 127.0.0.1:8080 --upstream http://127.0.0.1:3000
//! ```

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use examples::proxy::Forward;
use http::{Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tower::{Layer, ServiceExt};
use tower_cache::{CacheLayer, MemoryStore};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Caching reverse proxy.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// The site behind the proxy.
    #[arg(long, value_name = "http://HOST:PORT")]
    upstream: Uri,
    /// Where answers are kept.
    #[arg(long, default_value = "memory", value_name = "memory")]
    store: String,
    /// Bytes that the memory store may hold: bodies, headers and keys.
    #[arg(long, default_value_t = 256 << 20)]
    max_bytes: u64,
    /// Be a private cache (RFC 9111 §1): for one user.
    #[arg(long)]
    private: bool,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    if arguments.store != "memory" {
        eprintln!("cache-proxy: --store {}: only `memory` is compiled in", arguments.store);
        std::process::exit(2);
    }
    let store = MemoryStore::new(arguments.max_bytes);
    let cache = if arguments.private { CacheLayer::private(store) } else { CacheLayer::shared(store) };
    let forward = Forward::<Incoming>::new(&arguments.upstream, "cache-proxy")?;
    let cached = cache.layer(forward);
    let service = tower::service_fn(move |request| {
        let cached = cached.clone();
        async move {
            Ok::<_, Infallible>(cached.oneshot(request).await.map_or_else(
                |error| {
                    eprintln!("cache-proxy: upstream: {error}");
                    bad_gateway()
                },
                |response| response.map(UnsyncBoxBody::new),
            ))
        }
    });

    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let service = TowerToHyperService::new(service.clone());
                let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
            _ = &mut stop => break,
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(10), graceful.shutdown()).await;
    Ok(())
}

fn bad_gateway() -> Response<UnsyncBoxBody<Bytes, BoxError>> {
    let body = Full::new(Bytes::from_static(b"{\"title\":\"the upstream did not answer\",\"status\":502}"));
    let mut response = Response::new(UnsyncBoxBody::new(body.map_err(|never: Infallible| match never {})));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/problem+json"));
    response
}

//! A caching reverse proxy: `CacheLayer` with its defaults in front of one upstream.
//!
//! ```text
//! cargo run --release -p examples --bin cache-proxy -- --listen 127.0.0.1:8080 --upstream http://127.0.0.1:3000
//! cargo run --release -p examples --features redis --bin cache-proxy -- \
//!     --listen 127.0.0.1:8080 --upstream http://127.0.0.1:3000 --store redis://127.0.0.1:6379
//! ```
//!
//! HTTP/1.1 and HTTP/2 (by prior knowledge) come in, HTTP/1.1 goes out; bodies stream both ways. SIGINT and SIGTERM
//! let open requests end, for 10 seconds.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use examples::accept::{self, PAUSE, Prompt};
use examples::interim::{self, Senders};
use examples::proxy::{self, Forward};
use examples::with_causes;
use futures_util::future::{BoxFuture, FutureExt};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::signal::unix::{SignalKind, signal};
use tower::timeout::error::Elapsed;
use tower::{Layer, Service, ServiceExt};
use tower_cache::{CacheLayer, CacheService, MemoryStore};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Content = UnsyncBoxBody<Bytes, BoxError>;

/// Caching reverse proxy.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// The site behind the proxy.
    #[arg(long, value_name = "http://HOST:PORT", value_parser = proxy::upstream_url)]
    upstream: Uri,
    /// Where answers are kept: in this process, in Redis or Valkey (several nodes of a cluster with commas between), or
    /// nowhere, to see what the cache costs and saves.
    #[arg(long, default_value = "memory", value_name = "memory|redis://HOST:PORT|none")]
    store: String,
    /// Bytes that the memory store may hold: bodies, headers and keys.
    #[arg(long, default_value_t = 256 << 20)]
    max_bytes: u64,
    /// Be a private cache (RFC 9111 §1): for one user.
    #[arg(long)]
    private: bool,
    /// How long the upstream may take to begin its answer to a request without content; then it is 504, or what is stored,
    /// if it may be stale for that. With content it has as long as the client waits: uploads take their time.
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cache-proxy: {}", with_causes(&*error));
            ExitCode::from(2)
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), BoxError> {
    let cache = layer(&arguments).map_err(|error| format!("--store {}: {error}", arguments.store))?;
    let forward = Forward::new(&arguments.upstream, "cache-proxy")?;
    let forward = Upstream { forward, timeout: arguments.timeout };
    let site = match cache {
        Some(cache) => Site::Cached(cache.layer(forward)),
        None => Site::Plain(forward),
    };
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await
        .map_err(|error| format!("--listen {}: {error}", arguments.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = accept::server();
    let graceful = GracefulShutdown::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // It concerns one connection, or passes once descriptors are free again.
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let _ = stream.set_nodelay(true);
                let (stream, senders) = interim::Connection::new(Prompt::new(stream));
                let site = site.clone();
                let service = hyper::service::service_fn(move |request| answer(site.clone(), request, senders.clone()));
                let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    // Who connects now goes to somebody else.
    drop(listener);
    let _ = tokio::time::timeout(Duration::from_secs(10), graceful.shutdown()).await;
    Ok(())
}

/// One exchange, with the interim responses before its end.
async fn answer(
    site: Site,
    mut request: Request<Incoming>,
    senders: Senders,
) -> Result<Response<Content>, Infallible> {
    let sender = senders.next(&request);
    if let Some(sender) = &sender {
        request.extensions_mut().insert(sender.clone());
    }
    let response = if let Some((status, title)) = proxy::refusal(&request) {
        problem(status, title)
    } else if proxy::hops_left(request.method(), request.headers()) == Some(0) {
        // OPTIONS that is to go no further: there is nothing to say about this proxy (RFC 9110 §9.3.7).
        empty()
    } else {
        match site.answer(request).await {
            Ok(response) => response,
            Err(error) if proxy::is_clients_fault(&*error) => {
                problem(StatusCode::BAD_REQUEST, "the content of the request broke off or cannot be read")
            }
            Err(error) if error.is::<Elapsed>() => {
                problem(StatusCode::GATEWAY_TIMEOUT, "the upstream did not answer in time")
            }
            Err(error) => {
                eprintln!("cache-proxy: upstream: {}", with_causes(&*error));
                problem(StatusCode::BAD_GATEWAY, "the upstream did not answer")
            }
        }
    };
    if let Some(sender) = sender {
        sender.end().await;
    }
    Ok(response)
}

/// What is behind this proxy, with a cache in front of it or without.
#[derive(Clone)]
enum Site {
    Cached(CacheService<Upstream>),
    Plain(Upstream),
}

impl Site {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Content>, BoxError> {
        Ok(match self {
            Self::Cached(site) => site.oneshot(request).await?.map(UnsyncBoxBody::new),
            Self::Plain(site) => {
                site.oneshot(request).await?.map(|body| UnsyncBoxBody::new(body.map_err(Into::into)))
            }
        })
    }
}

/// Forwards, and does not wait for ever.
#[derive(Clone)]
struct Upstream {
    forward: Forward<Incoming>,
    timeout: Duration,
}

impl Service<Request<Incoming>> for Upstream {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.forward.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let limit = request.body().is_end_stream().then_some(self.timeout);
        let answer = self.forward.call(request);
        async move {
            Ok(match limit {
                Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_| Elapsed::new())??,
                None => answer.await?,
            })
        }
        .boxed()
    }
}

/// A positive number of seconds, such as `0.5`.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|seconds| !seconds.is_zero())
        .ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

/// The cache, with its defaults.
fn layer(arguments: &Arguments) -> Result<Option<CacheLayer>, String> {
    match &*arguments.store {
        "memory" => Ok(Some(of(arguments, MemoryStore::new(arguments.max_bytes)))),
        "none" => Ok(None),
        _ => redis(arguments).map(Some),
    }
}

fn of(arguments: &Arguments, store: impl tower_cache::Store) -> CacheLayer {
    if arguments.private { CacheLayer::private(store) } else { CacheLayer::shared(store) }
}

#[cfg(feature = "redis")]
fn redis(arguments: &Arguments) -> Result<CacheLayer, String> {
    examples::redis::store(&arguments.store, "cache-proxy").map(|store| of(arguments, store))
}

#[cfg(not(feature = "redis"))]
fn redis(arguments: &Arguments) -> Result<CacheLayer, String> {
    Err(match arguments.store.starts_with("redis") {
        true => "this program was built without it; build it with `--features redis`".into(),
        false => "`memory` or an address such as redis://127.0.0.1:6379".into(),
    })
}

fn empty() -> Response<Content> {
    Response::new(UnsyncBoxBody::new(Full::default().map_err(|never: Infallible| match never {})))
}

fn problem(status: StatusCode, title: &str) -> Response<Content> {
    let body = format!("{{\"title\":\"{title}\",\"status\":{}}}", status.as_u16());
    let body = Full::new(Bytes::from(body));
    let mut response = Response::new(UnsyncBoxBody::new(body.map_err(|never: Infallible| match never {})));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/problem+json"));
    response
}

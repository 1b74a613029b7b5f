//! A hyper server that answers from memory: what a cache in front of a site is compared with, and the site.
//!
//! `memory-server IP:PORT`. `GET /SIZE…` sends that many octets, fresh for an hour; with `no-store` in the query, not to be
//! stored. `GET /count` tells how many requests there were.
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

#[global_allocator]
static ALLOCATOR: peers::Allocator = peers::Allocator;

static COUNT: AtomicU64 = AtomicU64::new(0);
static CONTENT: [u8; 1 << 20] = [b'x'; 1 << 20];

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let uri = request.uri();
    if uri.path() == "/count" {
        return Response::new(Full::new(COUNT.load(Ordering::Relaxed).to_string().into()));
    }
    COUNT.fetch_add(1, Ordering::Relaxed);
    let digits = uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
    let size = digits.parse().unwrap_or(1024).min(CONTENT.len());
    let mut response = Response::new(Full::new(Bytes::from_static(&CONTENT[..size])));
    let no_store = uri.query().is_some_and(|query| query.contains("no-store"));
    let control = if no_store { "no-store" } else { "max-age=3600" };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
    response
}

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    let server = auto::Builder::new(TokioExecutor::new());
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            std::future::ready(Ok::<_, Infallible>(answer(&request)))
        });
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
}

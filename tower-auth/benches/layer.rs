//! What the layer adds to a service: tokens seen before, tokens never seen, refusals.
//!
//! Each iteration is ready + call + the whole body + drop, on one thread, with a request made for it outside of what is
//! timed: eight ordinary fields, the token and an extension. The response has two fields; a Prometheus recorder is
//! installed. The status and how often the service was called are asserted while it runs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service};
use tower_auth::AuthLayer;

mod support;
use support::{KINDS, Kind};

static CALLS: AtomicU64 = AtomicU64::new(0);

/// Answers at once.
#[derive(Clone)]
struct Bare;

impl<B> Service<Request<B>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        response.headers_mut().insert("content-length", HeaderValue::from_static("2"));
        ready(Ok(response))
    }
}

#[derive(Clone)]
struct Identity;

fn request(token: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = "/orders/7".parse().unwrap();
    for (name, value) in [
        ("host", "example.com"),
        ("user-agent", "bench/1.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("accept-language", "en"),
        ("cache-control", "no-cache"),
        ("content-type", "application/json"),
        ("x-client", "web"),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    request.extensions_mut().insert(Identity);
    request
}

fn serve<S, R>(service: &mut S, request: Request<Full<Bytes>>) -> StatusCode
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible>,
    R: Body,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
        panic!("nothing in here waits")
    };
    let status = response.status();
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        assert!(frame.is_ok());
    }
    status
}

type Group<'c> = BenchmarkGroup<'c, WallTime>;

fn row<S, R>(
    group: &mut Group<'_>,
    name: &str,
    mut service: S,
    status: StatusCode,
    mut token: impl FnMut() -> String,
) where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible>,
    R: Body,
{
    let (mut made, before) = (0, CALLS.load(Ordering::Relaxed));
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            || {
                made += 1;
                request(&token())
            },
            |request| assert_eq!(serve(&mut service, black_box(request)), status),
            BatchSize::SmallInput,
        );
    });
    let called = CALLS.load(Ordering::Relaxed) - before;
    assert_eq!(called, if status == StatusCode::OK { made } else { 0 }, "who was called");
}

/// Every token in turn, by steps that leave no order for a cache to guess.
fn scattered(tokens: Vec<String>) -> impl FnMut() -> String {
    let mut at = 0;
    move || {
        at = (at + 7_919) % tokens.len();
        tokens[at].clone()
    }
}

/// Whether the arguments ask for this row: ten thousand tokens are not made for nothing.
fn wanted(name: &str) -> bool {
    let mut filters = std::env::args().skip(1).filter(|argument| argument.contains('/')).peekable();
    filters.peek().is_none() || filters.any(|filter| name.contains(&filter) || filter.contains(name))
}

fn hits(group: &mut Group<'_>, kind: &Kind, counts: &[u64]) {
    for count in counts {
        let name = format!("hit/{}/{count}", kind.name);
        if !wanted(&name) {
            continue;
        }
        let tokens: Vec<String> = (0..*count).map(|number| kind.token(number)).collect();
        let mut service = AuthLayer::new(kind.authenticator(256 << 20)).layer(Bare);
        for token in tokens.iter().chain(&tokens) {
            assert_eq!(serve(&mut service, request(token)), StatusCode::OK);
        }
        row(group, &format!("bare/{}/{count}", kind.name), Bare, StatusCode::OK, scattered(tokens.clone()));
        row(group, &name, service, StatusCode::OK, scattered(tokens));
    }
}

fn layer(criterion: &mut Criterion) {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let mut group = criterion.benchmark_group("layer");
    let kinds = KINDS.map(Kind::new);
    for kind in &kinds {
        let counts: &[u64] = if kind.name == "RS256" { &[1, 100, 10_000] } else { &[100] };
        hits(&mut group, kind, counts);
    }
    for kind in &kinds {
        for (name, bytes) in [("without a cache", 0), ("miss and insert", 16 << 20)] {
            let service = AuthLayer::new(kind.authenticator(bytes)).layer(Bare);
            let mut number = 0;
            let next = || {
                number += 1;
                kind.token(number)
            };
            row(&mut group, &format!("{name}/{}", kind.name), service, StatusCode::OK, next);
        }
    }
    let (kind, long) = (&kinds[0], "A".repeat(1 << 20));
    let wrong = kind.token(0).replacen('.', ".e", 1);
    for (name, token) in [("of 1 MiB", &long), ("with a wrong signature", &wrong)] {
        let service = AuthLayer::new(kind.authenticator(16 << 20)).layer(Bare);
        row(&mut group, &format!("refused/{name}"), service, StatusCode::UNAUTHORIZED, || token.clone());
    }
    group.finish();
}

criterion_group!(benches, layer);
criterion_main!(benches);

//! What the layer adds to a service, what the path router costs over four axum routers, and what a refusal costs.
//!
//! Each iteration is ready + call + await + the whole body + drop, on one thread, with a request made for it outside of
//! what is timed: eight ordinary fields, the version and an extension. The response has two fields; a Prometheus recorder
//! is installed. What is measured is asserted while it runs: status, number of fields, length, and how often the service
//! was called.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service};
use tower_versioning::settings::Reports;
use tower_versioning::{Registry, Source, Version, VersionLayer, VersionRouter};

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

fn request<B: Default>(uri: &Uri, version: Option<&'static str>) -> Request<B> {
    let mut request = Request::new(B::default());
    *request.uri_mut() = uri.clone();
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
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Some(version) = version {
        request.headers_mut().insert("api-version", HeaderValue::from_static(version));
    }
    request.extensions_mut().insert(Identity);
    request
}

/// Ready, call, await, the whole body: nothing here waits, so one poll is enough.
fn once<S, A, B>(service: &mut S, request: Request<A>) -> (StatusCode, usize, usize)
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut future = std::pin::pin!(service.call(request));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else { panic!("waits") };
    let (parts, mut body) = response.into_parts();
    let mut length = 0;
    while let Poll::Ready(Some(Ok(frame))) = std::pin::Pin::new(&mut body).poll_frame(&mut cx) {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    (parts.status, parts.headers.len(), length)
}

/// Requests are made in batches of this many.
const BATCH: BatchSize = BatchSize::NumIterations(256);

fn registry() -> Registry {
    (1..=4).fold(Registry::builder(), |builder, n| builder.version(Version::major(n), |v| v)).build().unwrap()
}

fn field() -> VersionLayer {
    VersionLayer::new(registry()).sources([Source::header(HeaderName::from_static("api-version"))])
}

fn users() -> Router {
    Router::new().route("/users/{id}", get(async || "{}"))
}

fn bench(criterion: &mut Criterion) {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let plain: Uri = "/users/7?page=1".parse().unwrap();
    let mut group = criterion.benchmark_group("header");
    let fields =
        [("bare", 2, None), ("layer", 5, Some(Reports::All)), ("reports off", 3, Some(Reports::None))];
    for (name, fields, reports) in fields {
        let before = CALLS.load(Ordering::Relaxed);
        let mut count = 0;
        let mut bare = Bare;
        let mut layered = reports.map(|reports| field().reports(reports).layer(Bare));
        group.bench_function(name, |bencher| {
            let make = || request::<Full<Bytes>>(black_box(&plain), Some("3"));
            let call = |request| {
                count += 1;
                let seen = match &mut layered {
                    Some(service) => once(service, request),
                    None => once(&mut bare, request),
                };
                assert_eq!(seen, (StatusCode::OK, fields, 2));
            };
            bencher.iter_batched(make, call, BATCH);
        });
        assert_eq!(CALLS.load(Ordering::Relaxed) - before, count, "each request reached the service");
    }
    let mut refusing = field().layer(Bare);
    let before = CALLS.load(Ordering::Relaxed);
    for (name, version) in [("refusal, unsupported", Some("9")), ("refusal, missing", None)] {
        group.bench_function(name, |bencher| {
            let make = || request::<Full<Bytes>>(black_box(&plain), version);
            let call = |request| assert_eq!(once(&mut refusing, request).0, StatusCode::BAD_REQUEST);
            bencher.iter_batched(make, call, BATCH);
        });
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), before, "refusals reached nobody");
    group.finish();

    let target: Uri = "/v3/users/7?page=1".parse().unwrap();
    let nested = (1..=4).fold(Router::new(), |router, version| router.nest(&format!("/v{version}"), users()));
    let router = (1..=4).fold(VersionRouter::new(Router::new()), |router, version| {
        router.version(Version::major(version), users())
    });
    let layer = VersionLayer::new(registry()).sources([Source::path("")]);
    let mut group = criterion.benchmark_group("path, four axum routers");
    over(&mut group, "one router, no versions", users(), &plain);
    over(&mut group, "Router::nest", nested, &target);
    over(&mut group, "VersionRouter", layer.layer(router.clone()), &target);
    over(&mut group, "VersionRouter, reports off", layer.reports(Reports::None).layer(router), &target);
    group.finish();
}

fn over<S, B>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut service: S, target: &Uri)
where
    S: Service<Request<axum::body::Body>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin,
{
    group.bench_function(name, |bencher| {
        let make = || request(black_box(target), None);
        let call = |request| {
            let (status, _, length) = once(&mut service, request);
            assert_eq!((status, length), (StatusCode::OK, 2));
        };
        bencher.iter_batched(make, call, BATCH);
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);

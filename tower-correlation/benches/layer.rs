//! What the layers cost over the bare service, and what their parts cost.
//!
//! Each iteration is ready + call + await + the whole body + drop, on one thread. The request has eight ordinary
//! fields and an extension, the response two fields; a Prometheus recorder is installed. `examples/peers` has the same
//! beside others, with allocations.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service};
use tower_correlation::trace::{Baggage, BaggageLimits, TraceParent, TraceState, extract, inject};
use tower_correlation::{Correlation, CorrelationLayer, Generator, PropagateLayer, Validation};

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

/// Answers from memory.
#[derive(Clone)]
struct Bare;

impl Service<Request<Full<Bytes>>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        response.headers_mut().insert("content-length", HeaderValue::from_static("2"));
        ready(Ok(response))
    }
}

/// Something a layer outside has left.
#[derive(Clone)]
struct Identity;

fn request(identity: &[(&'static str, &'static str)]) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    let ordinary = [
        ("host", "example.com"),
        ("user-agent", "bench/1.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("accept-language", "en"),
        ("cache-control", "no-cache"),
        ("content-type", "application/json"),
        ("x-client", "web"),
    ];
    for (name, value) in ordinary.iter().chain(identity) {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    request.extensions_mut().insert(Identity);
    request
}

/// Ready, call, await, the whole body; nothing in here waits. Tells whether the id came back.
fn once<S, B>(service: &mut S, request: Request<Full<Bytes>>) -> bool
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let _ = service.poll_ready(&mut cx);
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else { unreachable!() };
    let echoed = response.headers().contains_key("x-request-id");
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        black_box(frame.is_ok());
    }
    echoed
}

fn server(criterion: &mut Criterion) {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let mut group = criterion.benchmark_group("server");
    let all = [("x-request-id", ID), ("traceparent", PARENT), ("tracestate", STATE)];
    for (name, identity) in [("no id", &all[..0]), ("id", &all[..1]), ("id and trace", &all[..])] {
        group.bench_function(format!("bare, {name}"), |bencher| {
            bencher.iter(|| once(&mut Bare, black_box(request(identity))));
        });
        let mut service = CorrelationLayer::new().layer(Bare);
        group.bench_function(format!("layer, {name}"), |bencher| {
            bencher.iter(|| assert!(once(&mut service, black_box(request(identity)))));
        });
    }
    group.bench_function("bare, empty request", |bencher| {
        bencher.iter(|| once(&mut Bare, black_box(Request::default())));
    });
    let mut service = CorrelationLayer::new().layer(Bare);
    group.bench_function("layer, empty request", |bencher| {
        bencher.iter(|| assert!(once(&mut service, black_box(Request::default()))));
    });
    group.finish();
}

fn client(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("client");
    let correlation = Correlation::generate();
    let outbound = || {
        let mut request = request(&[]);
        request.extensions_mut().insert(correlation.clone());
        black_box(request)
    };
    group.bench_function("bare", |bencher| bencher.iter(|| once(&mut Bare, outbound())));
    let mut service = PropagateLayer::new().layer(Bare);
    group.bench_function("layer", |bencher| bencher.iter(|| once(&mut service, outbound())));
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parts");
    for generator in [Generator::hex128(), Generator::uuid_v4(), Generator::uuid_v7(), Generator::ulid()] {
        group.bench_function(format!("{generator:?}"), |bencher| bencher.iter(|| generator.generate()));
    }
    let validation = Validation::default();
    group.bench_function("validate an id", |bencher| {
        bencher.iter(|| validation.check(black_box(ID.as_bytes())).is_ok());
    });
    group.bench_function("parse traceparent", |bencher| {
        bencher.iter(|| TraceParent::parse(black_box(PARENT.as_bytes())));
    });
    for members in [2, 32] {
        let state: Vec<String> = (0..members).map(|i| format!("key{i:02}=0123456")).collect();
        let state = state.join(",");
        group.bench_function(format!("parse tracestate, {members} members"), |bencher| {
            bencher.iter(|| TraceState::parse([black_box(state.as_bytes())]));
        });
    }
    group.bench_function("parse baggage, 2 members", |bencher| {
        bencher.iter(|| Baggage::parse([black_box(&b"user=17,tenant=blue"[..])], BaggageLimits::default()));
    });
    let headers = request(&[("traceparent", PARENT), ("tracestate", STATE)]).headers().clone();
    let mut outbound = HeaderMap::with_capacity(8);
    group.bench_function("extract and inject", |bencher| {
        bencher.iter(|| {
            let (parent, state) = extract(black_box(&headers)).unwrap();
            inject(&mut outbound, parent, state.as_ref());
        });
    });
    group.finish();
}

criterion_group!(benches, server, client, parts);
criterion_main!(benches);

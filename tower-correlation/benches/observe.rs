//! What observing costs over the bare service: metrics alone, with lines left out, with lines written.
//!
//! Each iteration is ready + call + await + the whole body + drop, on one thread. The request has eight ordinary
//! fields and an extension, the response two fields; a Prometheus recorder is installed. `examples/peers` has the same
//! beside others, with allocations.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service, ServiceBuilder};
use tower_correlation::CorrelationLayer;
use tower_correlation::observe::{Observe, ObserveBuilder, ObserveLayer};

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

/// As a router leaves it.
#[derive(Clone)]
struct Route(Arc<str>);

fn request(route: &Route) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
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
    request.extensions_mut().insert(route.clone());
    request
}

/// Ready, call, await, the whole body; nothing in here waits.
fn once<S, B>(service: &mut S, request: Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let _ = service.poll_ready(&mut cx);
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else { unreachable!() };
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        black_box(frame.is_ok());
    }
}

fn builder() -> ObserveBuilder {
    Observe::builder().route(|extensions| extensions.get::<Route>().map(|route| &*route.0))
}

/// Each of the routes in turn; the table holds 256.
fn observe(criterion: &mut Criterion) {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    for working_set in [1, 200, 10_000] {
        let mut group = criterion.benchmark_group(format!("observe, {working_set} routes"));
        let routes: Vec<Route> =
            (0..working_set).map(|number| Route(format!("/api/resource{number}/{{id}}").into())).collect();
        let mut turn = routes.iter().cycle();
        let mut next = || black_box(request(turn.next().unwrap()));
        group.bench_function("bare", |bencher| bencher.iter(|| once(&mut Bare, next())));
        let mut service = ObserveLayer::server(builder().build().unwrap()).layer(Bare);
        group.bench_function("metrics", |bencher| bencher.iter(|| once(&mut service, next())));
        let mut service = ObserveLayer::server(builder().summary(true).build().unwrap()).layer(Bare);
        group.bench_function("metrics and summary", |bencher| bencher.iter(|| once(&mut service, next())));
        for (name, rate) in [("no line", 0.0), ("1 % of lines", 0.01), ("every line", 1.0)] {
            let observe =
                builder().sample(rate).json(|line| assert!(black_box(line).ends_with('}'))).build().unwrap();
            let mut service = ServiceBuilder::new()
                .layer(CorrelationLayer::new())
                .layer(ObserveLayer::server(observe.clone()))
                .service(Bare);
            group.bench_function(format!("id, trace, metrics, {name}"), |bencher| {
                bencher.iter(|| once(&mut service, next()));
            });
            let books = observe.accounting();
            assert_eq!(books.emitted + books.sampled_out, books.finished);
            assert!(rate != 1.0 || books.emitted == books.finished);
        }
        group.finish();
    }
}

criterion_group!(benches, observe);
criterion_main!(benches);

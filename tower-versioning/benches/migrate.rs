//! What translating costs: nothing where no change applies, one reading and writing of the document where one does.
//!
//! Each iteration is ready + call + await + the whole body + drop, on one thread, with a request made for it outside of
//! what is timed: eight ordinary fields, the version and an extension. The response has two fields; a Prometheus
//! recorder is installed. The migration layer stands inside of the version layer, so the row to compare with is the
//! version layer alone. The document has one KiB, in the response; "10 KiB" has ten such in a list. What is measured is
//! asserted while it runs: status, length, and how often the functions of changes and the service were called.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer, Service};
use tower_versioning::migrate::{Change, MigrateLayer, Migrations};
use tower_versioning::settings::Reports;
use tower_versioning::{Registry, Source, Version, VersionLayer};

const V1: Version = Version::major(1);
const V2: Version = Version::major(2);

static CALLS: AtomicU64 = AtomicU64::new(0);
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Answers with a document at once.
#[derive(Clone)]
struct Bare(Bytes);

impl<B> Service<Request<B>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(Full::new(self.0.clone()));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        response.headers_mut().insert("x-served-by", HeaderValue::from_static("bench"));
        ready(Ok(response))
    }
}

#[derive(Clone)]
struct Identity;

fn request(version: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = "/orders/7?page=1".parse().unwrap();
    for (name, value) in [
        ("host", "example.com"),
        ("user-agent", "bench/1.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("accept-language", "en"),
        ("x-request-id", "0af7651916cd43dd8448eb211c80319c"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-client", "web"),
        ("api-version", version),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request.extensions_mut().insert(Identity);
    request
}

/// An order with lines, of about one KiB: names, numbers and texts as documents of services have them.
fn document() -> Value {
    let line = |number: u64| json!({"article": format!("bolt-{number}"), "quantity": number, "price": 1.25, "note": "delivered with the others"});
    json!({
        "id": 7,
        "customer": {"name": "Ada Lovelace", "city": "London", "street": "12 St James's Square"},
        "state": "open",
        "lines": (0..10).map(line).collect::<Vec<_>>(),
        "remark": "x".repeat(40),
    })
}

fn ten(change: impl Fn(usize) -> Change) -> MigrateLayer {
    let builder = (0..10).fold(Migrations::builder(), |builder, step| builder.change(V2, change(step)));
    MigrateLayer::new(builder.build().unwrap())
}

/// A change that does nothing to what it is given.
fn identity(_: usize) -> Change {
    Change::new("identity").response_body(|body| {
        STEPS.fetch_add(1, Ordering::Relaxed);
        black_box(body);
        Ok(())
    })
}

/// A change that looks at a member and lets it be.
fn looking(_: usize) -> Change {
    Change::new("looking").response_body(|body| {
        STEPS.fetch_add(1, Ordering::Relaxed);
        black_box(body.get("state"));
        Ok(())
    })
}

/// A change that writes what was there.
fn writing(_: usize) -> Change {
    Change::new("writing").response_body(|body| {
        STEPS.fetch_add(1, Ordering::Relaxed);
        black_box(body.get_mut("state"));
        Ok(())
    })
}

fn bench<S, B>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut service: S,
    asked: (&'static str, usize, u64),
) where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let (version, length, steps) = asked;
    let mut context = Context::from_waker(Waker::noop());
    let mut run = |request: Request<Full<Bytes>>| {
        assert!(service.poll_ready(&mut context).is_ready());
        let mut call = std::pin::pin!(service.call(request));
        let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut context) else { panic!("not at once") };
        assert_eq!(response.status(), 200);
        let mut body = std::pin::pin!(response.into_body());
        let mut sum = 0;
        while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut context) {
            sum += frame.data_ref().map_or(0, Bytes::len);
        }
        assert_eq!(sum, length);
    };
    let (calls, ran) = (CALLS.load(Ordering::Relaxed), STEPS.load(Ordering::Relaxed));
    let mut sent = 0;
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            || {
                sent += 1;
                request(version)
            },
            &mut run,
            BatchSize::SmallInput,
        );
    });
    assert_eq!(CALLS.load(Ordering::Relaxed) - calls, sent);
    assert_eq!(STEPS.load(Ordering::Relaxed) - ran, steps * sent);
}

fn migrations(c: &mut Criterion) {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _ = metrics::set_global_recorder(recorder);
    let registry = Registry::builder().version(V1, |v| v).version(V2, |v| v).build().unwrap();
    let versions = VersionLayer::new(registry)
        .sources([Source::header(HeaderName::from_static("api-version"))])
        .reports(Reports::None);
    let elsewhere = ten(|step| identity(step).path("/customers/{id}"));
    let absent = ten(|step| {
        identity(step).member(
            [
                "colour", "weight", "width", "height", "depth", "origin", "brand", "supplier", "barcode",
                "batch",
            ][step],
        )
    });
    let all = ten(identity);
    for (size, copies) in [("1 KiB", 1), ("10 KiB", 10)] {
        let text = match copies {
            1 => document().to_string(),
            _ => Value::from(vec![document(); copies]).to_string(),
        };
        let (body, length) = (Bytes::from(text.clone()), text.len());
        println!("{size}: {length} octets");
        let mut group = c.benchmark_group(format!("migrate {size}"));
        let bare = Bare(body);
        bench(&mut group, "version layer alone", versions.layer(bare.clone()), ("1", length, 0));
        bench(&mut group, "newest version", versions.layer(all.layer(bare.clone())), ("2", length, 0));
        bench(
            &mut group,
            "ten about other paths",
            versions.layer(elsewhere.layer(bare.clone())),
            ("1", length, 0),
        );
        bench(
            &mut group,
            "ten about other members",
            versions.layer(absent.layer(bare.clone())),
            ("1", length, 0),
        );
        bench(&mut group, "ten identity steps", versions.layer(all.layer(bare.clone())), ("1", length, 10));
        for (name, layer) in [("ten that look", ten(looking)), ("ten that write", ten(writing))] {
            bench(&mut group, name, versions.layer(layer.layer(bare.clone())), ("1", length, 10));
        }
        group.bench_function("serde_json, reading alone", |bencher| {
            bencher.iter(|| serde_json::from_str::<Value>(black_box(&text)).unwrap());
        });
        group.bench_function("serde_json alone", |bencher| {
            bencher.iter(|| serde_json::from_str::<Value>(black_box(&text)).unwrap().to_string());
        });
        group.finish();
    }
}

criterion_group!(benches, migrations);
criterion_main!(benches);

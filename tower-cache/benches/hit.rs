//! What a hit costs over the bare service, and what a miss adds.
//!
//! Each iteration is ready + call + await + the whole body + drop, on one thread. The request has eight ordinary
//! fields and an extension, the response two fields; a Prometheus recorder is installed. What is measured is asserted
//! while it runs: the outcome of each response, and how often the service behind the cache was called.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service};
use tower_cache::{CacheLayer, CacheOutcome, MemoryStore};

/// Answers from memory.
#[derive(Clone)]
struct Bare {
    body: Bytes,
    control: &'static str,
    calls: Arc<AtomicU64>,
}

impl Bare {
    fn new(size: usize, control: &'static str) -> Self {
        Self { body: vec![b'x'; size].into(), control, calls: Arc::default() }
    }
}

impl Service<Request<Full<Bytes>>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("cache-control", self.control)
            .body(Full::new(self.body.clone()));
        ready(Ok(response.unwrap()))
    }
}

/// Something a layer outside has left.
#[derive(Clone)]
struct Identity;

fn request(uri: &Uri) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri.clone();
    for (name, value) in [
        ("host", "example.com"),
        ("user-agent", "bench/1.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("accept-language", "en"),
        ("x-request-id", "0af7651916cd43dd8448eb211c80319c"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-client", "web"),
    ] {
        request.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    request.extensions_mut().insert(Identity);
    request
}

fn uris(count: usize) -> Vec<Uri> {
    (0..count).map(|key| format!("http://example.com/orders/{key}?page=1").parse().unwrap()).collect()
}

/// Ready, call, await, the whole body.
async fn once<S, B>(service: &mut S, uri: &Uri) -> (usize, Option<CacheOutcome>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let response = service.call(request(uri)).await.unwrap();
    let outcome = response.extensions().get().copied();
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
    {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    (length, outcome)
}

fn bench(criterion: &mut Criterion) {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    for (size, name) in [(1 << 10, "1 KiB"), (100 << 10, "100 KiB")] {
        let mut group = criterion.benchmark_group(name);
        for keys in [1, 10_000] {
            let uris = uris(keys);
            let mut next = uris.iter().cycle();
            let mut bare = Bare::new(size, "max-age=3600");
            group.bench_function(format!("bare, {keys} keys"), |bencher| {
                bencher.iter(|| runtime.block_on(once(&mut bare, black_box(next.next().unwrap()))));
            });

            let layer = CacheLayer::shared(MemoryStore::new(4 << 30));
            let origin = Bare::new(size, "max-age=3600");
            let mut cached = layer.layer(origin.clone());
            for _ in 0..2 {
                for uri in &uris {
                    runtime.block_on(once(&mut cached, uri));
                }
            }
            let filled = origin.calls.load(Ordering::Relaxed);
            assert_eq!(filled, keys as u64, "all keys fit");
            group.bench_function(format!("hit, {keys} keys"), |bencher| {
                bencher.iter(|| {
                    let (length, outcome) =
                        runtime.block_on(once(&mut cached, black_box(next.next().unwrap())));
                    assert_eq!((length, outcome), (size, Some(CacheOutcome::Hit)));
                });
            });
            assert_eq!(origin.calls.load(Ordering::Relaxed), filled, "hits called nobody");
        }
        let uri = &uris(1)[0];
        let mut passing = CacheLayer::shared(MemoryStore::new(1 << 20)).layer(Bare::new(size, "no-store"));
        group.bench_function("miss, not stored", |bencher| {
            bencher.iter(|| runtime.block_on(once(&mut passing, black_box(uri))));
        });
        let mut filling =
            CacheLayer::shared(MemoryStore::new(64 << 20)).layer(Bare::new(size, "max-age=3600"));
        let mut key = 0_u64;
        group.bench_function("miss, stored", |bencher| {
            bencher.iter(|| {
                key += 1;
                let uri = format!("http://example.com/orders/{key}?page=1").parse().unwrap();
                let (length, outcome) = runtime.block_on(once(&mut filling, black_box(&uri)));
                assert!(length == size && matches!(outcome, Some(CacheOutcome::Miss(_))));
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);

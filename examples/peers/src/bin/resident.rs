//! How much memory the process takes while a memory store is full and its content changes.
//!
//! `resident [MIB] [KEYS] [small|mixed|large]`: KEYS different URIs (default 1,000,000) pass through a shared cache with
//! MIB MiB (default 256) on two threads, every fourth request being for one of the last 1,000 URIs. Bodies have 100
//! octets (`small`), 100 octets to 64 KiB (`mixed`, the default, evenly by logarithm), or 64 KiB to 1 MiB (`large`), in
//! pieces of at most 16 KiB. The allocator is the system's, or mimalloc with the feature of that name. Prints what was
//! resident before the first request and at most after that.
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tower::{Layer, Service, ServiceExt};
use tower_cache::{Cache, CacheLayer, MemoryStore};

#[global_allocator]
static ALLOCATOR: peers::Allocator = peers::Allocator;

/// Answers with a body whose length depends on the URI.
#[derive(Clone)]
struct Origin {
    kind: &'static str,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

/// Numbers that look random, the same in every run.
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn between(low: f64, high: f64, number: u64) -> usize {
    let part = (scatter(number) >> 11) as f64 / (1_u64 << 53) as f64;
    (low * (high / low).powf(part)) as usize
}

impl Service<Request<Full<Bytes>>> for Origin {
    type Response = Response<UnsyncBoxBody<Bytes, Infallible>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let key = request.uri().path().rsplit('/').next().and_then(|key| key.parse().ok()).unwrap_or(0);
        let length = match self.kind {
            "small" => 100,
            "large" => between(65_536.0, 1_048_576.0, key),
            _ => between(100.0, 65_536.0, key),
        };
        let pieces = (0..length.div_ceil(16 << 10)).map(move |piece| {
            let length = (length - piece * (16 << 10)).min(16 << 10);
            Bytes::from(vec![b'x'; length])
        });
        let mut response = Response::new(Pieces(pieces).boxed_unsync());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
        ready(Ok(response))
    }
}

/// A body of prepared pieces.
struct Pieces<I>(I);

impl<I: Iterator<Item = Bytes> + Unpin> http_body::Body for Pieces<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

/// Resident KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mib: u64 = arguments.next().map_or(256, |text| text.parse().unwrap());
    let keys: u64 = arguments.next().map_or(1_000_000, |text| text.parse().unwrap());
    let kind: &'static str = match arguments.next().as_deref() {
        Some("small") => "small",
        Some("large") => "large",
        _ => "mixed",
    };
    let before = resident();
    let cache = Cache::builder().store(MemoryStore::new(mib << 20)).build().unwrap();
    let mut tasks = Vec::new();
    for task in 0..2 {
        let service = CacheLayer::new(cache.clone()).layer(Origin { kind });
        tasks.push(tokio::spawn(async move {
            let mut most = 0;
            for index in 0..keys / 2 {
                let own = index * 2 + task;
                let earlier = own.saturating_sub(scatter(index) % 1_000);
                let again = (index % 3 == 0).then_some(earlier);
                for key in [Some(own), again].into_iter().flatten() {
                    let uri = format!("http://example.com/things/{key}");
                    let request = Request::get(uri).body(Full::default()).unwrap();
                    let response = service.clone().oneshot(request).await.unwrap();
                    response.into_body().collect().await.unwrap();
                }
                if index % 4096 == 0 {
                    most = most.max(resident());
                    tokio::task::yield_now().await;
                }
            }
            most
        }));
    }
    let mut most = 0;
    for task in tasks {
        most = most.max(task.await.unwrap());
    }
    most = most.max(resident());
    let statistics = cache.handle().statistics();
    let stored = statistics.store;
    println!(
        "{kind}: {mib} MiB configured, {keys} keys, {} calls of the origin; accounted {:.1} MiB in {} entries, {} evicted",
        CALLS.load(Ordering::Relaxed),
        stored.bytes as f64 / (1 << 20) as f64,
        stored.entries,
        stored.evictions,
    );
    let grown = most.saturating_sub(before) as f64 / 1024.0;
    println!(
        "resident {:.1} MiB before, at most {:.1} MiB more: {:.3} times what is configured; the allocator is {}",
        before as f64 / 1024.0,
        grown,
        grown / mib as f64,
        peers::ALLOCATOR,
    );
}

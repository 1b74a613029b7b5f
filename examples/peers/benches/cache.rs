//! Hits beside http-cache-tower (its moka store), tower-http-cache (its store in memory) and a plain map, which is the
//! floor; misses that are stored beside http-cache-tower and a copy in a queue, the floor of those.
//!
//! `cargo bench --features cache --bench cache [-- FILTER ...]` (rows whose names have all of them), with
//! `--features cache,mimalloc` what a program with that allocator has. Rounds are interleaved: each contestant runs one
//! batch per round; the figures are medians of CPU time. Requests are made outside of what is timed; ready, call, await,
//! the whole body and drop are inside. Keys are asked for in turn. Everybody gets the same eight fields, one extension
//! and a response of two fields that is fresh for an hour. Status and length of the answers, and that a hit calls nobody,
//! are asserted while it runs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Ready, ready};
use std::hash::BuildHasher;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use cpu_time::ThreadTime;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::{Body, Frame};
use http_body_util::Full;
use http_cache::{CacheMode, HttpCache, HttpCacheOptions, MokaCache, MokaManager};
use http_cache_tower::HttpCacheLayer;
use peers::{allocations, request};
use tokio::runtime::Runtime;
use tower::{Layer, Service};

#[global_allocator]
static COUNTING: peers::Counting = peers::Counting;

const BATCH: usize = 250;
const ROUNDS: usize = 200;

/// Answers from memory with two fields.
#[derive(Clone)]
struct Origin {
    body: Bytes,
    control: &'static str,
    calls: Arc<AtomicU64>,
}

impl Origin {
    fn new(size: usize, control: &'static str) -> Self {
        Self { body: vec![b'x'; size].into(), control, calls: Arc::default() }
    }
}

impl<B> Service<Request<B>> for Origin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(Full::new(self.body.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.control));
        ready(Ok(response))
    }
}

/// Runs one batch; nanoseconds of CPU time and allocations of each call.
type Run = Box<dyn FnMut(&Runtime) -> (f64, u64)>;

/// A row: its name, the row it is compared with, what it runs.
struct Row(String, usize, Run);

/// The shared request, without the field that asks caches for nothing stored.
fn ask(uri: &str) -> Request<peers::Body> {
    let mut request = request(uri);
    request.headers_mut().remove(header::CACHE_CONTROL);
    request
        .headers_mut()
        .insert("x-request-id", HeaderValue::from_static("0af7651916cd43dd8448eb211c80319c"));
    request
}

/// One request to the end of its answer.
async fn once<S, B>(service: &mut S, request: Request<peers::Body>, size: usize)
where
    S: Service<Request<peers::Body>, Response = Response<B>>,
    S::Error: Debug,
    B: Body<Data = Bytes>,
    B::Error: Debug,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let response = service.call(black_box(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = pin!(response.into_body());
    let mut length = 0;
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        length += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(length, size);
}

/// What the origin is called for.
#[derive(Clone, Copy, PartialEq)]
enum Calls {
    Each,
    None,
}

fn row<S, B>(origin: &Origin, mut service: S, keys: usize, calls: Calls) -> Run
where
    S: Service<Request<peers::Body>, Response = Response<B>> + 'static,
    S::Error: Debug,
    B: Body<Data = Bytes>,
    B::Error: Debug,
{
    let (size, counter) = (origin.body.len(), Arc::clone(&origin.calls));
    let uris: Vec<String> = (0..keys).map(|key| format!("http://example.com/orders/{key}?page=1")).collect();
    let (mut next, mut filled) = (0, calls == Calls::Each);
    Box::new(move |runtime| {
        if !std::mem::replace(&mut filled, true) {
            // Twice, since some store a while after the answer; and so often that all know what is asked for often.
            for uri in uris.iter().cycle().take(20 * keys) {
                runtime.block_on(once(&mut service, ask(uri), size));
            }
        }
        let requests: Vec<_> = (0..BATCH).map(|index| ask(&uris[(next + index) % keys])).collect();
        next = (next + BATCH) % keys;
        let (called, allocated) = (counter.load(Ordering::Relaxed), allocations());
        let begun = ThreadTime::now();
        runtime.block_on(async {
            for request in requests {
                once(&mut service, request, size).await;
            }
        });
        let taken = begun.elapsed().as_nanos() as f64 / BATCH as f64;
        let allocated = allocations() - allocated;
        let expected = if calls == Calls::Each { BATCH as u64 } else { 0 };
        assert_eq!(counter.load(Ordering::Relaxed) - called, expected, "who was called");
        (taken, allocated / BATCH as u64)
    })
}

const FRESH: &str = "max-age=3600";

fn hits(size: usize, name: &str, keys: usize, first: usize) -> Vec<Row> {
    let bytes = 1 << 30;
    let origin = || Origin::new(size, FRESH);
    let name = |contestant: &str| format!("{contestant}, {name}, {keys} keys");
    let bare = origin();
    let own = origin();
    let layer = tower_cache::CacheLayer::shared(tower_cache::MemoryStore::new(bytes));
    let (by_semantics, by_time, least) = (origin(), origin(), origin());
    let manager = MokaManager::new(MokaCache::new(100_000));
    let options = HttpCacheOptions::default();
    let rival = HttpCacheLayer::with_cache(HttpCache { mode: CacheMode::Default, manager, options });
    let other =
        tower_http_cache::CacheLayer::builder(tower_http_cache::prelude::InMemoryBackend::new(100_000));
    let other = other.ttl(std::time::Duration::from_secs(3600)).build();
    vec![
        Row(name("bare"), first, row(&bare, bare.clone(), keys, Calls::Each)),
        Row(name("map of responses"), first, row(&least, Floor::new(least.clone()), keys, Calls::None)),
        Row(name("tower-cache"), first, row(&own, layer.layer(own.clone()), keys, Calls::None)),
        Row(
            name("http-cache-tower"),
            first,
            row(&by_semantics, rival.layer(by_semantics.clone()), keys, Calls::None),
        ),
        Row(name("tower-http-cache"), first, row(&by_time, other.layer(by_time.clone()), keys, Calls::None)),
    ]
}

/// The least a stored answer can cost: a map in parts, under a lock each, of responses as they are sent. It has no rule, no
/// bound and no age, and believes every URI.
#[derive(Clone)]
struct Floor {
    inner: Origin,
    parts: Arc<[Mutex<HashMap<Uri, Stored>>; 64]>,
    hasher: RandomState,
}

type Stored = Arc<(HeaderMap, Bytes)>;

impl Floor {
    fn new(inner: Origin) -> Self {
        Self { inner, parts: Arc::new(std::array::from_fn(|_| Mutex::default())), hasher: RandomState::new() }
    }
}

impl Service<Request<peers::Body>> for Floor {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<peers::Body>) -> Self::Future {
        let part = self.hasher.hash_one(request.uri()) as usize % self.parts.len();
        let stored = self.parts[part].lock().unwrap().get(request.uri()).cloned();
        let stored = stored.unwrap_or_else(|| {
            let uri = request.uri().clone();
            let response = self.inner.call(request).into_inner().unwrap();
            // Its own copy, as a cache has.
            let stored = Arc::new((response.headers().clone(), Bytes::copy_from_slice(&self.inner.body)));
            self.parts[part].lock().unwrap().insert(uri, Arc::clone(&stored));
            stored
        });
        let mut response = Response::new(Full::new(stored.1.clone()));
        *response.headers_mut() = stored.0.clone();
        ready(Ok(response))
    }
}

/// The least that keeping can cost: what passes is copied, and put in the place of what passed a while before.
#[derive(Clone)]
struct Tee {
    inner: Origin,
    kept: Arc<Mutex<VecDeque<Stored>>>,
    bound: usize,
}

impl Service<Request<peers::Body>> for Tee {
    type Response = Response<Teeing>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<peers::Body>) -> Self::Future {
        let response = self.inner.call(request).into_inner().unwrap();
        let headers = response.headers().clone();
        let kept = Some((headers, Arc::clone(&self.kept), self.bound));
        ready(Ok(response.map(|body| Teeing { body, copy: Vec::new(), kept })))
    }
}

struct Teeing {
    body: Full<Bytes>,
    copy: Vec<u8>,
    kept: Option<(HeaderMap, Arc<Mutex<VecDeque<Stored>>>, usize)>,
}

impl Body for Teeing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.copy.extend_from_slice(frame.data_ref().unwrap());
        } else if let Some((headers, kept, bound)) = self.kept.take() {
            let stored = Arc::new((headers, std::mem::take(&mut self.copy).into()));
            let mut kept = kept.lock().unwrap();
            kept.push_back(stored);
            let gone = if kept.len() > bound { kept.pop_front() } else { None };
            drop(kept);
            drop(gone);
        }
        Poll::Ready(frame)
    }
}

/// Each for another URI, and stored, in what is full already.
fn storing(size: usize, name: &str, first: usize) -> Vec<Row> {
    const BYTES: usize = 32 << 20;
    let origin = || Origin::new(size, FRESH);
    let name = |contestant: &str| format!("{contestant}, {name}, stored");
    let (bare, kept, own, by_semantics) = (origin(), origin(), origin(), origin());
    let bound = BYTES / (size + 1024);
    let tee = Tee { inner: kept.clone(), kept: Arc::default(), bound };
    let layer = tower_cache::CacheLayer::shared(tower_cache::MemoryStore::new(BYTES as u64));
    let manager = MokaManager::new(MokaCache::new(bound as u64));
    let options = HttpCacheOptions::default();
    let rival = HttpCacheLayer::with_cache(HttpCache { mode: CacheMode::Default, manager, options });
    vec![
        Row(name("bare"), first, new_each(&bare, bare.clone(), 0)),
        Row(name("copy and queue"), first, new_each(&kept, tee, bound)),
        Row(name("tower-cache"), first, new_each(&own, layer.layer(own.clone()), 2 * bound)),
        Row(
            name("http-cache-tower"),
            first,
            new_each(&by_semantics, rival.layer(by_semantics.clone()), bound),
        ),
    ]
}

/// A batch of requests that have not been made before, after so many others.
fn new_each<S, B>(origin: &Origin, mut service: S, before: usize) -> Run
where
    S: Service<Request<peers::Body>, Response = Response<B>> + 'static,
    S::Error: Debug,
    B: Body<Data = Bytes>,
    B::Error: Debug,
{
    let (size, counter, mut next) = (origin.body.len(), Arc::clone(&origin.calls), 0_u64);
    let mut another = move || {
        next += 1;
        ask(&format!("http://example.com/orders/{next}?page=1"))
    };
    let mut filled = false;
    Box::new(move |runtime| {
        if !std::mem::replace(&mut filled, true) {
            for _ in 0..before {
                runtime.block_on(once(&mut service, another(), size));
            }
        }
        let requests: Vec<_> = (0..BATCH).map(|_| another()).collect();
        let (called, allocated) = (counter.load(Ordering::Relaxed), allocations());
        let begun = ThreadTime::now();
        runtime.block_on(async {
            for request in requests {
                once(&mut service, request, size).await;
            }
        });
        let taken = begun.elapsed().as_nanos() as f64 / BATCH as f64;
        let allocated = allocations() - allocated;
        assert_eq!(counter.load(Ordering::Relaxed) - called, BATCH as u64, "all were new");
        (taken, allocated / BATCH as u64)
    })
}

fn passing(first: usize) -> Vec<Row> {
    let origin = || Origin::new(1 << 10, "no-store");
    let bare = origin();
    let own = origin();
    let layer = tower_cache::CacheLayer::shared(tower_cache::MemoryStore::new(1 << 20));
    vec![
        Row("bare, no-store".into(), first, row(&bare, bare.clone(), 1, Calls::Each)),
        Row("tower-cache, no-store".into(), first, row(&own, layer.layer(own.clone()), 1, Calls::Each)),
    ]
}

fn main() {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut rows = Vec::new();
    for (size, name, keys) in [
        (1 << 10, "1 KiB", 1),
        (1 << 10, "1 KiB", 1_000),
        (1 << 10, "1 KiB", 10_000),
        (100 << 10, "100 KiB", 1),
        (100 << 10, "100 KiB", 1_000),
    ] {
        let first = rows.len();
        rows.extend(hits(size, name, keys, first));
    }
    rows.extend(passing(rows.len()));
    for (size, name) in [(1 << 10, "1 KiB"), (100 << 10, "100 KiB")] {
        rows.extend(storing(size, name, rows.len()));
    }
    let wanted = |row: &Row| filters.iter().all(|filter| row.0.contains(filter.as_str()));
    let bases: Vec<usize> = rows.iter().filter(|row| wanted(row)).map(|row| row.1).collect();
    let runs: Vec<bool> =
        rows.iter().enumerate().map(|(index, row)| wanted(row) || bases.contains(&index)).collect();
    let mut taken: Vec<Vec<f64>> = rows.iter().map(|_| Vec::new()).collect();
    let mut allocated = vec![0; rows.len()];
    for round in 0..ROUNDS + 5 {
        // Counting costs about as much as what is counted.
        peers::count_allocations(round < 5);
        for (index, row) in rows.iter_mut().enumerate().filter(|(index, _)| runs[*index]) {
            let (nanoseconds, allocations) = (row.2)(&runtime);
            if round >= 5 {
                taken[index].push(nanoseconds);
            } else {
                allocated[index] = allocations;
            }
        }
    }
    let medians: Vec<f64> = taken
        .iter_mut()
        .map(|all| {
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
        })
        .collect();
    println!("the allocator is {}", peers::ALLOCATOR);
    println!("{:<40} {:>9} {:>9} {:>7} {:>7}", "row", "ns", "added", "ratio", "allocs");
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| wanted(row)) {
        let (own, base) = (medians[index], medians[row.1]);
        println!("{:<40} {own:>9.1} {:>9.1} {:>7.2} {:>7}", row.0, own - base, own / base, allocated[index]);
    }
}

//! What the benches of all crates share: the request and the response that every contestant gets, the allocator, and a
//! count of allocations.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::alloc::{GlobalAlloc, Layout};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use tower::Service;

pub type Body = Full<Bytes>;

/// What memory comes from: the system's allocator, or mimalloc with the feature of that name.
#[cfg(not(feature = "mimalloc"))]
pub use std::alloc::System as Allocator;

#[cfg(feature = "mimalloc")]
pub use mimalloc::MiMalloc as Allocator;

/// As figures name it.
pub const ALLOCATOR: &str = if cfg!(feature = "mimalloc") { "mimalloc" } else { "the system's" };

/// Counts what is allocated. A bench that reports allocations declares it as its `#[global_allocator]`.
pub struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(true);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);

// Safety: it only counts and passes on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { Allocator.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { Allocator.realloc(pointer, layout, size) }
    }
}

#[inline]
fn count(size: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        ALLOCATED.fetch_add(size as u64, Ordering::Relaxed);
    }
}

/// Whether allocations are counted from now on; they are at first. Two atomic additions cost about as much as the
/// allocation itself, so a bench of small things counts in a round of its own and not while it takes times.
pub fn count_allocations(on: bool) {
    COUNTS.store(on, Ordering::Relaxed);
}

/// Allocations so far, of all threads.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Bytes allocated so far, by all threads; what is given back is not taken off.
pub fn allocated() -> u64 {
    ALLOCATED.load(Ordering::Relaxed)
}

/// Something that a layer outside has left.
#[derive(Clone)]
pub struct Identity;

/// Eight ordinary fields and one extension.
pub fn request(uri: &str) -> Request<Body> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri.parse().unwrap();
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
    request.extensions_mut().insert(Identity);
    request
}

/// Answers at once with two fields and a small body, and counts its calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bare;

static CALLS: AtomicU64 = AtomicU64::new(0);

/// How often [`Bare`] was called.
pub fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

impl<B> Service<Request<B>> for Bare {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("content-length", HeaderValue::from_static("2"));
        ready(Ok(response))
    }
}

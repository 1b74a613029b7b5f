//! The instance that was polled ready is the one that is called.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::Service;
use tower_cache::store::{Lookup, Purge, Stamp, StoreFuture};
use tower_cache::{CacheLayer, MemoryStore, Store};
use tower_test::{assert_request_eq, mock};

/// A memory store that takes a millisecond.
struct Slow(MemoryStore);

impl Store for Slow {
    fn lookup(&self, key: &tower_cache::key::CacheKey) -> StoreFuture<Lookup> {
        let lookup = self.0.lookup(key);
        StoreFuture::new(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            lookup.await
        })
    }

    fn commit(&self, entry: tower_cache::store::Entry, stamp: Stamp) -> StoreFuture<()> {
        self.0.commit(entry, stamp)
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        self.0.purge(purge)
    }
}

type Mock = mock::Mock<String, Response<Full<Bytes>>>;

/// The mock takes requests that can be compared.
#[derive(Clone)]
struct Named(Mock);

impl Service<Request<Full<Bytes>>> for Named {
    type Response = Response<Full<Bytes>>;
    type Error = <Mock as Service<String>>::Error;
    type Future = <Mock as Service<String>>::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.0.call(request.uri().path().to_owned())
    }
}

fn request(path: &str) -> Request<Full<Bytes>> {
    crate::support::request(http::Method::GET, &format!("http://example.com{path}"), &[])
}

fn fresh() -> Response<Full<Bytes>> {
    Response::builder().header("cache-control", "max-age=60").body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_inner_services() {
    let layer = CacheLayer::shared(MemoryStore::new(1 << 20));
    let (mut service, mut handle) = mock::spawn_with(|mock| tower::Layer::layer(&layer, Named(mock)));
    handle.allow(0);
    assert_pending(&service.poll_ready());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let call = tokio::spawn(service.call(request("/a")));
    assert_request_eq!(handle, "/a".to_owned()).send_response(fresh());
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    handle.send_error("gone");
    let std::task::Poll::Ready(Err(error)) = service.poll_ready() else { panic!("not failed") };
    assert_eq!(error.to_string(), "gone");
}

fn assert_pending<T>(poll: &std::task::Poll<T>) {
    assert!(poll.is_pending());
}

/// A service that must be polled ready before each call, and whose clones are not.
#[derive(Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<Full<Bytes>>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        self.ready = true;
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        std::future::ready(Ok(fresh()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_the_store_takes_the_ready_instance_along() {
    let layer = CacheLayer::shared(Slow(MemoryStore::new(1 << 20)));
    let mut service = tower::Layer::layer(&layer, Strict::default());
    for path in ["/a", "/b", "/a"] {
        std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        assert_eq!(service.call(request(path)).await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hit_calls_nobody() {
    let layer = CacheLayer::shared(MemoryStore::new(1 << 20));
    let (mut service, mut handle) = mock::spawn_with(|mock| tower::Layer::layer(&layer, Named(mock)));
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let call = tokio::spawn(service.call(request("/a")));
    assert_request_eq!(handle, "/a".to_owned()).send_response(fresh());
    call.await.unwrap().unwrap();
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    assert_eq!(service.call(request("/a")).await.unwrap().status(), 200);
    // Nothing has come but the first request.
    assert!(futures_util::poll!(std::pin::pin!(handle.next_request())).is_pending());
}

/// Readiness that is a permit, as that of tower's `ConcurrencyLimit`: one for all clones.
struct Permit {
    all: std::sync::Arc<tokio::sync::Semaphore>,
    one: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Clone for Permit {
    fn clone(&self) -> Self {
        Self { all: self.all.clone(), one: None }
    }
}

impl Service<Request<Full<Bytes>>> for Permit {
    type Response = Response<Full<Bytes>>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        if self.one.is_none() {
            self.one = self.all.clone().try_acquire_owned().ok();
        }
        if self.one.is_some() { std::task::Poll::Ready(Ok(())) } else { std::task::Poll::Pending }
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        assert!(self.one.take().is_some(), "called without being ready");
        std::future::ready(Ok(fresh()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_hit_keeps_a_permit_unless_it_is_to_give_it_back() {
    for release in [false, true] {
        let layer = CacheLayer::shared(MemoryStore::new(1 << 20));
        let layer = if release { layer.release_on_hit() } else { layer };
        let permit = Permit { all: std::sync::Arc::new(tokio::sync::Semaphore::new(1)), one: None };
        let mut service = tower::Layer::layer(&layer, permit);
        let mut other = service.clone();
        for _ in 0..2 {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
            let response = service.call(request("/a")).await.unwrap();
            let _ = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        }
        // The second was a hit, and `service` is not called again.
        let ready = std::future::poll_fn(|cx| other.poll_ready(cx));
        let waited = tokio::time::timeout(Duration::from_secs(60), ready).await;
        assert_eq!(waited.is_ok(), release);
        if release {
            assert_eq!(other.call(request("/b")).await.unwrap().status(), 200);
            // It is asked for anew, and what waited for a permit is called with one.
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
            assert_eq!(service.call(request("/c")).await.unwrap().status(), 200);
        }
    }
}

//! An origin, and caches over one server, each as another process would have it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_cache::redis::{RedisStore, RedisStoreBuilder};
use tower_cache::{Cache, CacheBuilder, CacheHandle, CacheLayer, CacheOutcome, CacheService};

type Answer = Arc<dyn Fn(&Parts, usize) -> Response<String> + Send + Sync>;

/// Counts its calls and answers what a function says of the request and their number.
#[derive(Clone)]
pub(crate) struct Origin {
    answer: Answer,
    calls: Arc<AtomicUsize>,
    /// What each call waits for.
    pub(crate) gate: Arc<tokio::sync::Semaphore>,
    last: Arc<Mutex<HeaderMap>>,
}

impl Origin {
    pub(crate) fn new(answer: impl Fn(&Parts, usize) -> Response<String> + Send + Sync + 'static) -> Self {
        let gate = Arc::new(tokio::sync::Semaphore::new(1000));
        Self { answer: Arc::new(answer), calls: Arc::default(), gate, last: Arc::default() }
    }

    pub(crate) fn sends(fields: &'static [(&'static str, &'static str)]) -> Self {
        Self::new(|_, call| response(fields, call.to_string()))
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn last(&self) -> HeaderMap {
        self.last.lock().unwrap().clone()
    }
}

pub(crate) fn response(fields: &[(&str, &str)], body: String) -> Response<String> {
    let mut response = Response::builder();
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap()
}

impl tower::Service<Request<Full<Bytes>>> for Origin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        *self.last.lock().unwrap() = request.headers().clone();
        let response = (self.answer)(&request.into_parts().0, call).map(Full::from);
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            let _permit = gate.acquire().await.unwrap();
            Ok(response)
        })
    }
}

/// A cache with a connection of its own.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) service: CacheService<Origin>,
    pub(crate) handle: CacheHandle,
}

/// Enough for a machine that is busy with other tests; what is tested is not how long it takes.
const PATIENT: Duration = Duration::from_secs(5);

impl Process {
    pub(crate) fn new(url: &str, origin: &Origin) -> Self {
        Self::of(RedisStore::builder(url).unwrap(), origin)
    }

    pub(crate) fn of(store: RedisStoreBuilder, origin: &Origin) -> Self {
        let store = store.step_timeout(PATIENT).build().unwrap();
        Self::with(Cache::builder().store_timeout(PATIENT).store(store), origin)
    }

    pub(crate) fn with(cache: CacheBuilder, origin: &Origin) -> Self {
        let cache = cache.build().unwrap();
        Self { handle: cache.handle(), service: CacheLayer::new(cache).layer(origin.clone()) }
    }

    pub(crate) async fn get(&self, uri: &str, fields: &[(&str, &str)]) -> Got {
        self.send("GET", uri, fields).await
    }

    pub(crate) async fn send(&self, method: &str, uri: &str, fields: &[(&str, &str)]) -> Got {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).unwrap();
        let (parts, body) = self.service.clone().oneshot(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let outcome = parts.extensions.get().map_or("", CacheOutcome::as_str);
        Got { status: parts.status, headers: parts.headers, outcome, body }
    }

    /// Asks until it is a hit: responses are stored in the background.
    pub(crate) async fn until_hit(&self, uri: &str, fields: &[(&str, &str)]) -> Got {
        for _ in 0..1000 {
            let got = self.get(uri, fields).await;
            if got.outcome == "hit" {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{uri} never becomes a hit");
    }
}

impl Process {
    /// Asks until it is no hit: where the node of a cluster that knows of purges answers late, what was known before does.
    pub(crate) async fn until_gone(&self, uri: &str) {
        for _ in 0..1000 {
            if self.get(uri, &[]).await.outcome != "hit" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{uri} never goes");
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) outcome: &'static str,
    pub(crate) body: String,
}

pub(crate) const URI: &str = "http://example.com/orders";

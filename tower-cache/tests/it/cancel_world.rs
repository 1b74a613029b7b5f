//! An origin, a store and a client that take a step at a time, so that a test can stop any of them after any step.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tower::{Service, ServiceExt};
use tower_cache::store::{Entry, Lookup, MemoryStore, Purge, Stamp, Store, StoreFuture};
use tower_cache::{BoxError, CacheOutcome, CacheService};

/// Pending so many times, each time asking to be polled again.
pub(crate) struct Pend(pub(crate) usize);

impl Future for Pend {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How a body of the origin ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    /// Whole, and its length was announced.
    Announced,
    Trailers,
    /// An error in the middle, of the first call alone.
    Broken,
    /// Shorter than announced, of the first call alone.
    Short,
    /// No response at all, of the first call alone.
    Refused,
}

/// Waits before its response and before each chunk, and counts its calls.
#[derive(Clone)]
pub(crate) struct Stepping {
    pub(crate) fields: &'static [(&'static str, &'static str)],
    pub(crate) ending: Ending,
    pub(crate) pends: usize,
    pub(crate) not_modified: bool,
    pub(crate) calls: Arc<AtomicUsize>,
}

const CHUNKS: usize = 4;

/// What the origin sends at this call: every octet of it says which call it was.
fn chunk(call: usize, index: usize) -> String {
    format!("{call}:{index};")
}

pub(crate) fn whole(call: usize) -> String {
    (0..CHUNKS).map(|index| chunk(call, index)).collect()
}

impl Service<Request<Full<Bytes>>> for Stepping {
    type Response = Response<SteppingBody>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let this = self.clone();
        let ending = if call == 0 || matches!(this.ending, Ending::Announced | Ending::Trailers) {
            this.ending
        } else {
            Ending::Whole
        };
        Box::pin(async move {
            Pend(this.pends).await;
            let mut response = Response::builder();
            for (name, value) in this.fields {
                response = response.header(*name, *value);
            }
            if this.not_modified && request.headers().contains_key("if-none-match") {
                let empty =
                    SteppingBody { chunks: VecDeque::new(), pend: Pend(0), pends: 0, ending, trailers: None };
                return Ok(response.status(304).body(empty).unwrap());
            }
            let mut chunks: VecDeque<_> = (0..CHUNKS).map(|index| chunk(call, index)).collect();
            if matches!(ending, Ending::Announced | Ending::Short) {
                response = response.header("content-length", whole(call).len());
            }
            match ending {
                Ending::Refused => return Err("refused"),
                Ending::Broken | Ending::Short => chunks.truncate(CHUNKS / 2),
                Ending::Trailers | Ending::Whole | Ending::Announced => {}
            }
            let trailers = (ending == Ending::Trailers).then(|| {
                HeaderMap::from_iter([("x-call".parse().unwrap(), call.to_string().parse().unwrap())])
            });
            let pends = this.pends;
            Ok(response.body(SteppingBody { chunks, pend: Pend(pends), pends, ending, trailers }).unwrap())
        })
    }
}

pub(crate) struct SteppingBody {
    chunks: VecDeque<String>,
    pend: Pend,
    pends: usize,
    ending: Ending,
    trailers: Option<HeaderMap>,
}

impl Body for SteppingBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        std::task::ready!(Pin::new(&mut self.pend).poll(cx));
        self.pend = Pend(self.pends);
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk.into()))));
        }
        if self.ending == Ending::Broken {
            return Poll::Ready(Some(Err("the origin hung up".into())));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        // As hyper does: known before it is polled where a length was announced.
        self.ending == Ending::Announced && self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A store that answers after some polls; without any, at once.
#[derive(Clone)]
pub(crate) struct Lazy {
    pub(crate) inner: MemoryStore,
    pub(crate) pends: usize,
}

impl Lazy {
    fn later<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MemoryStore) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        if self.pends == 0 {
            return work(&self.inner);
        }
        let (pends, inner) = (self.pends, self.inner.clone());
        StoreFuture::new(async move {
            Pend(pends).await;
            let answer = work(&inner).await;
            Pend(pends).await;
            answer
        })
    }
}

impl Store for Lazy {
    fn lookup(&self, key: &tower_cache::key::CacheKey) -> StoreFuture<Lookup> {
        let key = key.clone();
        self.later(move |store| store.lookup(&key))
    }

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        self.later(move |store| store.commit(entry, stamp))
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        let purge = purge.clone();
        self.later(move |store| store.purge(&purge))
    }
}

/// What a client saw, as far as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A body that ended as complete bodies do, and whether that is in accord with `Content-Length`.
    Ended { body: String, length_holds: bool, trailers: bool, outcome: &'static str },
    /// The body broke off.
    BrokeOff,
    /// The service failed.
    Failed,
}

/// A GET that rests after each step: before and after the response, and after each frame.
pub(crate) async fn client<S>(service: S, uri: &str) -> Seen
where
    S: Service<
            Request<Full<Bytes>>,
            Response = Response<tower_cache::ResponseBody<SteppingBody>>,
            Error = &'static str,
        >,
{
    let request = crate::support::request(http::Method::GET, uri, &[]);
    let Ok(response) = service.oneshot(request).await else { return Seen::Failed };
    Pend(1).await;
    assert_eq!(response.status(), StatusCode::OK);
    let outcome = response.extensions().get::<CacheOutcome>().map_or("", |outcome| outcome.as_str());
    let length: Option<usize> =
        response.headers().get("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
    let mut collected = (Vec::new(), false);
    let mut body = std::pin::pin!(response.into_body());
    while !body.is_end_stream() {
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => break,
            Some(Err(_)) => return Seen::BrokeOff,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => collected.0.extend_from_slice(&data),
                Err(_) => collected.1 = true,
            },
        }
        Pend(1).await;
    }
    let (body, trailers) = (String::from_utf8(collected.0).unwrap(), collected.1);
    let length_holds = length.is_none_or(|length| length == body.len());
    Seen::Ended { body, length_holds, trailers, outcome }
}

/// A client that is polled by hand, so often at most.
pub(crate) struct Hand {
    future: Option<Pin<Box<dyn Future<Output = Seen> + Send>>>,
    pub(crate) polls: usize,
    pub(crate) seen: Option<Seen>,
}

impl Hand {
    pub(crate) fn new(service: &CacheService<Stepping>, uri: &str) -> Self {
        let (service, uri) = (service.clone(), uri.to_owned());
        Self { future: Some(Box::pin(async move { client(service, &uri).await })), polls: 0, seen: None }
    }

    /// Takes a step, or leaves when it has taken `limit` of them.
    pub(crate) fn step(&mut self, limit: usize) {
        if self.polls >= limit {
            self.future = None;
        }
        let Some(future) = &mut self.future else { return };
        self.polls += 1;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(seen) = future.as_mut().poll(&mut cx) {
            self.seen = Some(seen);
            self.future = None;
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.future.is_none()
    }
}

//! An origin that can be told what to answer, and a client that notes what it got.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, request::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};
use tower_cache::{BoxError, Cache, CacheBuilder, CacheLayer, CacheOutcome, CacheService};

pub(crate) type Answer = Response<TestBody>;
pub(crate) type Handler = dyn Fn(&Parts) -> Answer + Send + Sync;

/// A service that answers what its function says, after a time, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) handler: Arc<Handler>,
    pub(crate) asked: Arc<Mutex<Vec<Parts>>>,
    pub(crate) delay: Duration,
}

impl Origin {
    pub(crate) fn new(handler: impl Fn(&Parts) -> Answer + Send + Sync + 'static) -> Self {
        Self { handler: Arc::new(handler), asked: Arc::default(), delay: Duration::ZERO }
    }

    /// One that always sends these fields, and a body that counts its calls.
    pub(crate) fn sends(fields: &'static [(&'static str, &'static str)]) -> Self {
        let origin = Self::new(|_| answer(&[], ""));
        let asked = Arc::clone(&origin.asked);
        let handler = move |_: &Parts| answer(fields, &asked.lock().unwrap().len().to_string());
        Self { handler: Arc::new(handler), ..origin }
    }

    pub(crate) fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> HeaderMap {
        self.asked.lock().unwrap().last().unwrap().headers.clone()
    }

    pub(crate) fn behind(&self, cache: CacheBuilder) -> CacheService<Self> {
        self.behind_cache(&cache.build().unwrap())
    }

    pub(crate) fn behind_cache(&self, cache: &Cache) -> CacheService<Self> {
        CacheLayer::new(cache.clone()).layer(self.clone())
    }
}

impl<B> Service<Request<B>> for Origin {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, _) = request.into_parts();
        self.asked.lock().unwrap().push(parts.clone());
        let (handler, delay) = (Arc::clone(&self.handler), self.delay);
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Ok(handler(&parts))
        })
    }
}

pub(crate) fn answer(fields: &[(&str, &str)], body: &str) -> Answer {
    let mut response = Response::builder();
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(TestBody::of(&[body])).unwrap()
}

/// A body of prepared frames; a `None` takes a second, an error ends it.
pub(crate) struct TestBody {
    frames: VecDeque<Piece>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    hint: SizeHint,
}

pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    Pause(Duration),
    Fail,
}

impl TestBody {
    pub(crate) fn of(data: &[&str]) -> Self {
        let data = data.iter().filter(|data| !data.is_empty());
        Self::new(data.map(|data| Piece::Data(Bytes::copy_from_slice(data.as_bytes()))).collect())
    }

    pub(crate) fn new(frames: Vec<Piece>) -> Self {
        Self { frames: frames.into(), pause: None, hint: SizeHint::default() }
    }

    pub(crate) fn hinting(mut self, size: u64) -> Self {
        self.hint = SizeHint::with_exact(size);
        self
    }
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            return Poll::Ready(match self.frames.pop_front() {
                Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Piece::Fail) => Some(Err("the origin hung up".into())),
                Some(Piece::Pause(time)) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(time)));
                    continue;
                }
                None => None,
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.pause.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// What a client got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) outcome: Option<CacheOutcome>,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Got {
    /// `hit`, `miss` and so on; nothing where the cache leaves no trace.
    pub(crate) fn outcome(&self) -> &'static str {
        self.outcome.map_or("", |outcome| outcome.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) fn request(method: Method, uri: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

pub(crate) const URI: &str = "http://example.com/orders?page=1";

/// GETs [`URI`].
pub(crate) async fn get<S>(service: &S, fields: &[(&str, &str)]) -> Got
where
    S: Service<
            Request<Full<Bytes>>,
            Response = Response<tower_cache::ResponseBody<TestBody>>,
            Error = Infallible,
        > + Clone,
{
    send(service, request(Method::GET, URI, fields)).await
}

pub(crate) async fn send<S>(service: &S, request: Request<Full<Bytes>>) -> Got
where
    S: Service<
            Request<Full<Bytes>>,
            Response = Response<tower_cache::ResponseBody<TestBody>>,
            Error = Infallible,
        > + Clone,
{
    let response = service.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    let outcome = parts.extensions.get().copied();
    Got { status: parts.status, headers: parts.headers, outcome, body, trailers }
}

pub(crate) async fn seconds(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// Lets what runs in the background run.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

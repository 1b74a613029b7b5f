//! An upstream that follows a script, and remembers what it was sent.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, Service, ServiceExt};
use tower_breaker::BoxError;
use tower_breaker::retry::{Attempt, BoxedErrors, HttpPolicyBuilder, RetryLayer};

pub(crate) type ResBody = UnsyncBoxBody<Bytes, BoxError>;

/// One request as the upstream saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    /// `Err` when the content ended with an error.
    pub(crate) content: Result<Bytes, String>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) at: tokio::time::Instant,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Whole(u16, &'static [(&'static str, &'static str)]),
    /// Frames after a status 200.
    Frames(Vec<Frame<Bytes>>),
    Fails(std::io::ErrorKind),
    Hangs,
    Late(Duration, u16),
}

pub(crate) use Answer::{Fails, Frames, Hangs, Late, Whole};

type Script = Arc<dyn Fn(usize) -> Answer + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Upstream {
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
    /// Marks each attempt, as a balancer does.
    pub(crate) balanced: bool,
}

impl Upstream {
    /// `script` is asked with the number of the request, from 0.
    pub(crate) fn new(script: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        Self { seen: Arc::default(), script: Arc::new(script), balanced: false }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

pub(crate) fn frames(frames: Vec<Frame<Bytes>>) -> ResBody {
    StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok::<_, BoxError>))).boxed_unsync()
}

pub(crate) fn data(data: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(data.as_bytes()))
}

pub(crate) fn trailers(fields: &[(&'static str, &'static str)]) -> Frame<Bytes> {
    Frame::trailers(fields.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect())
}

fn answer(status: u16, fields: &[(&str, &str)]) -> Response<ResBody> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(frames(vec![data("answer")])).unwrap()
}

impl<B> Service<Request<B>> for Upstream
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<ResBody>, BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            if this.balanced {
                let attempt = parts.extensions.get::<Attempt>().unwrap();
                attempt.mark(u64::from(attempt.number()));
            }
            let collected = body.collect().await;
            let (content, trailers) = match collected {
                Ok(body) => {
                    let trailers = body.trailers().cloned();
                    (Ok(body.to_bytes()), trailers)
                }
                Err(error) => (Err(error.to_string()), None),
            };
            let number = {
                let mut seen = this.seen.lock().unwrap();
                let at = tokio::time::Instant::now();
                seen.push(Seen { headers: parts.headers, content, trailers, at });
                seen.len() - 1
            };
            match (this.script)(number) {
                Whole(status, fields) => Ok(answer(status, fields)),
                Frames(sent) => Ok(Response::new(frames(sent))),
                Fails(kind) => Err(std::io::Error::from(kind).into()),
                Hangs => std::future::pending().await,
                Late(time, status) => {
                    tokio::time::sleep(time).await;
                    Ok(answer(status, &[]))
                }
            }
        })
    }
}

pub(crate) type ReqBody = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) fn request(method: Method, content: &'static str) -> Request<ReqBody> {
    let body = http_body_util::Full::new(Bytes::from_static(content.as_bytes()));
    Request::builder().method(method).uri("http://upstream/").body(body.boxed_unsync()).unwrap()
}

pub(crate) fn with(
    mut request: Request<ReqBody>,
    name: &'static str,
    value: &'static str,
) -> Request<ReqBody> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// For clients whose errors are boxes.
pub(crate) fn retrying(policy: HttpPolicyBuilder) -> RetryLayer<BoxedErrors> {
    RetryLayer::new(policy.build().unwrap()).boxed_errors()
}

/// Sends one request through a layer of this policy.
pub(crate) async fn send(
    policy: HttpPolicyBuilder,
    upstream: &Upstream,
    request: Request<ReqBody>,
) -> Result<Response<Bytes>, BoxError> {
    let response = retrying(policy).layer(upstream.clone()).oneshot(request).await?;
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

/// The status of the answer, and how often the upstream was asked.
pub(crate) async fn outcome(
    policy: HttpPolicyBuilder,
    script: impl Fn(usize) -> Answer + Send + Sync + 'static,
    request: Request<ReqBody>,
) -> (Option<u16>, usize) {
    let upstream = Upstream::new(script);
    let answer = send(policy, &upstream, request).await;
    (answer.ok().map(|answer| answer.status().as_u16()), upstream.count())
}

/// First this answer, then 200.
pub(crate) fn then_well(first: fn() -> Answer) -> impl Fn(usize) -> Answer + Send + Sync + 'static {
    move |number| if number == 0 { first() } else { Whole(200, &[]) }
}

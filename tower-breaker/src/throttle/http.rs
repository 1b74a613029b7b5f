//! The HTTP form: rejections are responses.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::layer::Admission;
use super::{Pass, Throttle};
use crate::body::ResponseBody;
use crate::error::{Rejected, says_nothing};
use crate::http::CutShort;
use crate::policy::Outcome;
use crate::rejection::{Negotiated, RenderRejection};

/// Puts a [`Throttle`] before an HTTP upstream. Rejections are 503 (or gRPC unavailable), so the error type stays what it
/// was; the [`Rejected`](crate::Rejected) is in the extensions of such a response.
#[derive(Clone)]
pub struct HttpThrottleLayer {
    throttle: Throttle,
    overloaded: fn(StatusCode, &HeaderMap) -> bool,
    render: Arc<dyn RenderRejection>,
}

impl HttpThrottleLayer {
    /// Not accepted are errors, the statuses 429, 503 and 504, and gRPC's `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED` and
    /// `UNAVAILABLE` in the header block: an upstream that refuses does so before any data. Rejections of this crate from
    /// further in, and boxed errors of hyper clients that the request's own content broke off, count nothing.
    #[must_use]
    pub fn new(throttle: Throttle) -> Self {
        Self { throttle, overloaded, render: Arc::new(Negotiated) }
    }

    /// Which responses were not accepted. Default: see [`new`](Self::new).
    #[must_use]
    pub fn overloaded(self, overloaded: fn(StatusCode, &HeaderMap) -> bool) -> Self {
        Self { overloaded, ..self }
    }

    /// How rejections look. Default: [`Negotiated`].
    #[must_use]
    pub fn render_with(self, render: impl RenderRejection) -> Self {
        Self { render: Arc::new(render), ..self }
    }
}

/// An answer of this side, of a bulkhead further in say, is none of the upstream.
fn judge<B, E: 'static>(
    result: &Result<Response<B>, E>,
    overloaded: fn(StatusCode, &HeaderMap) -> bool,
) -> Outcome {
    match result {
        Ok(response) if here(response.extensions()) => Outcome::Ignored,
        Err(error) if says_nothing(error) => Outcome::Ignored,
        Ok(response) if !overloaded(response.status(), response.headers()) => Outcome::Success,
        _ => Outcome::Failure,
    }
}

fn here(extensions: &Extensions) -> bool {
    extensions.get::<Rejected>().is_some() || extensions.get::<CutShort>().is_some()
}

fn overloaded(status: StatusCode, headers: &HeaderMap) -> bool {
    let grpc =
        || headers.get("grpc-status").is_some_and(|code| matches!(code.as_bytes(), b"4" | b"8" | b"14"));
    matches!(status.as_u16(), 429 | 503 | 504) || grpc()
}

impl fmt::Debug for HttpThrottleLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpThrottleLayer").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for HttpThrottleLayer {
    type Service = HttpThrottleService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HttpThrottleService {
            inner,
            admission: Admission::new(self.throttle.clone()),
            overloaded: self.overloaded,
            render: self.render.clone(),
        }
    }
}

/// What [`HttpThrottleLayer`] builds.
#[derive(Clone)]
pub struct HttpThrottleService<S> {
    inner: S,
    admission: Admission,
    overloaded: fn(StatusCode, &HeaderMap) -> bool,
    render: Arc<dyn RenderRejection>,
}

impl<S: fmt::Debug> fmt::Debug for HttpThrottleService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpThrottleService")
            .field("inner", &self.inner)
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for HttpThrottleService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>, Error: 'static>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = HttpThrottleFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.admission.poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let state = match self.admission.admit() {
            Ok(pass) => State::Passed {
                inner: self.inner.call(request),
                pass: Some(pass),
                overloaded: self.overloaded,
            },
            Err(rejected) => {
                let (parts, _) = request.into_parts();
                let mut response = self.render.render(&rejected, &parts);
                response.extensions_mut().insert(rejected);
                State::Rejected { response: Some(response) }
            }
        };
        HttpThrottleFuture { state }
    }
}

pin_project! {
    /// The future of [`HttpThrottleService`]. Dropped before its end, the request counts nothing.
    pub struct HttpThrottleFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Passed { #[pin] inner: F, pass: Option<Pass>, overloaded: fn(StatusCode, &HeaderMap) -> bool },
        Rejected { response: Option<Response<Bytes>> },
    }
}

impl<F> fmt::Debug for HttpThrottleFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Passed { .. } => "HttpThrottleFuture(passed)",
            State::Rejected { .. } => "HttpThrottleFuture(rejected)",
        })
    }
}

impl<F, B, E> Future for HttpThrottleFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: 'static,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passed { inner, pass, overloaded } => {
                let result = ready!(inner.poll(cx));
                if let Some(pass) = pass.take() {
                    pass.record(judge(&result, *overloaded));
                }
                Poll::Ready(result.map(|response| response.map(ResponseBody::inner)))
            }
            StateProj::Rejected { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
                None => Poll::Pending,
            },
        }
    }
}

//! The HTTP form: rejections are responses, and a response counts only once its body has ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::breaker::Breaker;
use crate::classify::{ClassifyHttp, Head, HttpClassifier};
use crate::gate::{Gate, Mode};
use crate::guarded::GuardedBody;
use crate::layer::{Start, refresh};
use crate::permit::Permit;
use crate::policy::Verdict;
use crate::rejection::{Negotiated, RenderRejection, reject};

/// Puts a [`Breaker`] before an HTTP service, a handler or an upstream. Rejections are 503 with `Retry-After` (or gRPC
/// unavailable), so the error type stays what it was; the [`Rejected`](crate::Rejected) is in the extensions of such a
/// response.
#[derive(Clone)]
pub struct HttpBreakerLayer<C = HttpClassifier> {
    breaker: Breaker,
    classify: C,
    mode: Mode,
    render: Arc<dyn RenderRejection>,
}

impl HttpBreakerLayer {
    /// Judges by [`HttpClassifier`].
    #[must_use]
    pub fn new(breaker: Breaker) -> Self {
        Self { breaker, classify: HttpClassifier::new(), mode: Mode::default(), render: Arc::new(Negotiated) }
    }
}

impl<C> HttpBreakerLayer<C> {
    /// Judges responses: a [`ClassifyHttp`] or a closure over status and headers.
    #[must_use]
    pub fn classify<D: ClassifyHttp>(self, classify: D) -> HttpBreakerLayer<D> {
        HttpBreakerLayer { breaker: self.breaker, classify, mode: self.mode, render: self.render }
    }

    /// What an open breaker does to readiness. Default: [`Mode::Reject`].
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// How rejections look. Default: [`Negotiated`].
    #[must_use]
    pub fn render_with(self, render: impl RenderRejection) -> Self {
        Self { render: Arc::new(render), ..self }
    }
}

impl<C> fmt::Debug for HttpBreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBreakerLayer")
            .field("breaker", &self.breaker)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl<S, C: Clone> Layer<S> for HttpBreakerLayer<C> {
    type Service = HttpBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let gate = Gate::new(self.breaker.clone(), self.mode);
        HttpBreakerService {
            inner,
            classify: self.classify.clone(),
            gate,
            render: self.render.clone(),
            release: None,
        }
    }
}

/// What [`HttpBreakerLayer`] builds.
#[derive(Clone)]
pub struct HttpBreakerService<S, C = HttpClassifier> {
    inner: S,
    classify: C,
    gate: Gate,
    render: Arc<dyn RenderRejection>,
    release: Option<fn(&mut S)>,
}

impl<S: Clone, C> HttpBreakerService<S, C> {
    /// Gives the inner service's readiness back whenever a call is rejected; see
    /// [`BreakerService::release_on_reject`](crate::layer::BreakerService::release_on_reject).
    #[must_use]
    pub fn release_on_reject(self) -> Self {
        Self { release: Some(refresh), ..self }
    }
}

impl<S, C> HttpBreakerService<S, C> {
    /// A call that may not pass at once.
    #[inline(never)]
    fn refuse_or_ask<B>(&mut self, request: Request<B>) -> HttpResponseFuture<S::Future, C>
    where
        S: Service<Request<B>>,
        C: Clone,
    {
        if let Some(rejected) = self.gate.refuse_at_once() {
            self.released();
            let response = reject(&*self.render, rejected, request);
            return HttpResponseFuture { kind: Kind::Rejected { response: Some(response) } };
        }
        match self.gate.admit() {
            Ok(permit) => {
                HttpResponseFuture::start(&mut self.inner, request, Some(permit), self.classify.clone())
            }
            Err(rejected) => {
                self.released();
                let response = reject(&*self.render, rejected, request);
                HttpResponseFuture { kind: Kind::Rejected { response: Some(response) } }
            }
        }
    }
}

impl<S, C> HttpBreakerService<S, C> {
    /// A call was rejected; also one before which the inner service was not ready, for it may wait in a queue.
    fn released(&mut self) {
        if let Some(release) = self.release {
            release(&mut self.inner);
            self.gate.released();
        }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for HttpBreakerService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBreakerService")
            .field("inner", &self.inner)
            .field("breaker", self.gate.breaker())
            .finish_non_exhaustive()
    }
}

impl<S, C, ReqB, ResB> Service<Request<ReqB>> for HttpBreakerService<S, C>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    S::Error: 'static,
    C: ClassifyHttp + Clone,
    ResB: Body<Data = Bytes>,
    ResB::Error: 'static,
{
    type Response = Response<ResponseBody<GuardedBody<ResB, C>>>;
    type Error = S::Error;
    type Future = HttpResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.gate.poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        if let Some(permit) = self.gate.admit_at_once() {
            return HttpResponseFuture::start(&mut self.inner, request, Some(permit), self.classify.clone());
        }
        self.refuse_or_ask(request)
    }
}

pin_project! {
    /// The future of [`HttpBreakerService`]. Dropped before its end, it is a cancelled call.
    pub struct HttpResponseFuture<F, C> {
        #[pin]
        kind: Kind<F, C>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, C> {
        Guarded { #[pin] inner: F, permit: Option<Permit>, classify: Option<C>, head: bool },
        Rejected { response: Option<Response<Bytes>> },
    }
}

impl<S, B, C> Start<S, Request<B>, C> for HttpResponseFuture<S::Future, C>
where
    S: Service<Request<B>>,
{
    fn start(inner: &mut S, request: Request<B>, permit: Option<Permit>, classify: C) -> Self {
        let head = *request.method() == Method::HEAD;
        Self { kind: Kind::Guarded { inner: inner.call(request), permit, classify: Some(classify), head } }
    }
}

impl<F, C> fmt::Debug for HttpResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Guarded { .. } => "HttpResponseFuture(guarded)",
            Kind::Rejected { .. } => "HttpResponseFuture(rejected)",
        })
    }
}

impl<F, C, B, E> Future for HttpResponseFuture<F, C>
where
    F: Future<Output = Result<Response<B>, E>>,
    C: ClassifyHttp,
    B: Body<Data = Bytes>,
    E: 'static,
{
    type Output = Result<Response<ResponseBody<GuardedBody<B, C>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Guarded { inner, permit, classify, head } => {
                let result = match permit.as_mut() {
                    Some(permit) => ready!(permit.watch(|| inner.poll(cx))),
                    None => ready!(inner.poll(cx)),
                };
                let (Some(permit), Some(mut classify)) = (permit.take(), classify.take()) else {
                    let pass = |body| ResponseBody::inner(GuardedBody::decided(body));
                    return Poll::Ready(result.map(|response| response.map(pass)));
                };
                match result {
                    Ok(response) => Poll::Ready(Ok(guard(response, permit, classify, *head))),
                    Err(error) => {
                        permit.record(classify.error(&error));
                        Poll::Ready(Err(error))
                    }
                }
            }
            KindProj::Rejected { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
                None => Poll::Pending,
            },
        }
    }
}

/// In the extensions of an answer that stands for one whose caller had no time left to wait for it: no more is known of
/// the upstream than of a call that is cancelled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutShort;

/// Decides by the head where that is enough, else hands the permit to the body.
fn guard<B, C>(
    response: Response<B>,
    mut permit: Permit,
    mut classify: C,
    head: bool,
) -> Response<ResponseBody<GuardedBody<B, C>>>
where
    B: Body<Data = Bytes>,
    C: ClassifyHttp,
{
    if response.extensions().get::<CutShort>().is_some() {
        // Dropped, the permit is that of a cancelled call.
        drop(permit);
        return response.map(|body| ResponseBody::inner(GuardedBody::decided(body)));
    }
    let (parts, body) = response.into_parts();
    let response = Response::from_parts(parts, ());
    let guarded = match classify.head(&response) {
        Head::Decided(verdict) => {
            permit.record(verdict);
            GuardedBody::decided(body)
        }
        Head::AtEnd => {
            let owed = promised(&response, head).or_else(|| body.size_hint().exact());
            if head || body.is_end_stream() {
                let short = !head && owed.is_some_and(|owed| owed > 0);
                permit.record(if short { Verdict::FAILURE } else { classify.end(None) });
                GuardedBody::decided(body)
            } else {
                permit.answered();
                GuardedBody::guarded(body, permit, classify, owed)
            }
        }
    };
    response.map(|()| ResponseBody::inner(guarded))
}

/// The length of the content, when the head gives one that stands for content (RFC 9110 §8.6).
fn promised(response: &Response<()>, head: bool) -> Option<u64> {
    if head || matches!(response.status().as_u16(), 100..=199 | 204 | 304) {
        return None;
    }
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

//! Another service answers for calls that were not let through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::error::{BoxError, Error, Rejected};

/// Calls another service in place of one that a breaker, bulkhead or throttle below rejects; for clients.
///
/// The fallback gets a clone of the request, and its error takes the place of the inner one. It stands outside of what
/// rejects, and is asked for its readiness only when it is needed.
#[derive(Debug, Clone)]
pub struct FallbackLayer<F> {
    fallback: F,
    on_failure: bool,
}

impl<F> FallbackLayer<F> {
    /// `fallback` answers rejected calls.
    #[must_use]
    pub fn new(fallback: F) -> Self {
        Self { fallback, on_failure: false }
    }

    /// It also answers calls that were made and failed with an error. Default: no, for a failed call may have had its
    /// effect already.
    #[must_use]
    pub fn on_failure(self) -> Self {
        Self { on_failure: true, ..self }
    }
}

impl<S, F: Clone> Layer<S> for FallbackLayer<F> {
    type Service = FallbackService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService { inner, fallback: self.fallback.clone(), on_failure: self.on_failure }
    }
}

/// What [`FallbackLayer`] builds.
#[derive(Debug, Clone)]
pub struct FallbackService<S, F> {
    inner: S,
    fallback: F,
    on_failure: bool,
}

impl<S, F, R, T, E> Service<R> for FallbackService<S, F>
where
    S: Service<R, Response = T, Error = Error<E>>,
    F: Service<R, Response = T, Error = E> + Clone,
    R: Clone,
{
    type Response = T;
    type Error = Error<E>;
    type Future = FallbackFuture<S::Future, F, R, F::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let spare = Spare { fallback: self.fallback.clone(), request: Some(request.clone()) };
        let future = self.inner.call(request);
        FallbackFuture { kind: Kind::First { future, spare: Some(spare) }, on_failure: self.on_failure }
    }
}

/// The fallback and the request for it.
struct Spare<F, R> {
    fallback: F,
    request: Option<R>,
}

impl<F, R> Spare<F, R> {
    fn poll_call(&mut self, cx: &mut Context<'_>) -> Poll<Result<F::Future, F::Error>>
    where
        F: Service<R>,
    {
        ready!(self.fallback.poll_ready(cx))?;
        match self.request.take() {
            Some(request) => Poll::Ready(Ok(self.fallback.call(request))),
            None => Poll::Pending,
        }
    }
}

pin_project! {
    /// The future of [`FallbackService`] and [`HttpFallbackService`].
    pub struct FallbackFuture<A, F, R, B> {
        #[pin]
        kind: Kind<A, F, R, B>,
        on_failure: bool,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<A, F, R, B> {
        First { #[pin] future: A, spare: Option<Spare<F, R>> },
        Readying { spare: Spare<F, R> },
        Second { #[pin] future: B },
    }
}

impl<A, F, R, B> fmt::Debug for FallbackFuture<A, F, R, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::First { .. } => "FallbackFuture(first)",
            Kind::Readying { .. } => "FallbackFuture(readying)",
            Kind::Second { .. } => "FallbackFuture(second)",
        })
    }
}

/// What came of the first or the second service.
enum Came<X, Y> {
    First(X),
    Second(Y),
}

impl<A, F, R> Kind<A, F, R, F::Future>
where
    A: Future,
    F: Service<R>,
{
    /// `prepare` says whether the fallback is needed, and gives it what it should know.
    #[allow(clippy::type_complexity, reason = "the output of either service")]
    fn poll_kind(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        prepare: impl Fn(&A::Output, &mut R) -> bool,
    ) -> Poll<Came<A::Output, Result<F::Response, F::Error>>> {
        loop {
            let next = match self.as_mut().project() {
                KindProj::First { future, spare } => {
                    let output = ready!(future.poll(cx));
                    let Some(mut spare) = spare.take() else { return Poll::Ready(Came::First(output)) };
                    let needed = spare.request.as_mut().is_some_and(|request| prepare(&output, request));
                    if !needed {
                        return Poll::Ready(Came::First(output));
                    }
                    Self::Readying { spare }
                }
                KindProj::Readying { spare } => match ready!(spare.poll_call(cx)) {
                    Ok(future) => Self::Second { future },
                    Err(error) => return Poll::Ready(Came::Second(Err(error))),
                },
                KindProj::Second { future } => return future.poll(cx).map(Came::Second),
            };
            self.set(next);
        }
    }
}

impl<A, F, R, T, E> Future for FallbackFuture<A, F, R, F::Future>
where
    A: Future<Output = Result<T, Error<E>>>,
    F: Service<R, Response = T, Error = E>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let on_failure = *this.on_failure;
        let prepare = |result: &Result<T, Error<E>>, _: &mut R| match result {
            Ok(_) => false,
            Err(error) => on_failure || error.rejection().is_some(),
        };
        Poll::Ready(match ready!(this.kind.poll_kind(cx, prepare)) {
            Came::First(result) => result,
            Came::Second(result) => result.map_err(Error::Inner),
        })
    }
}

/// Calls another service in place of an HTTP service below that rejects (a response with [`Rejected`] in its
/// extensions).
///
/// The fallback gets the head of the request as a `Request<()>`, with the [`Rejected`] in its extensions: the body has
/// gone with the first call. It stands outside of what rejects.
#[derive(Debug, Clone)]
pub struct HttpFallbackLayer<F> {
    fallback: F,
    on_failure: bool,
}

impl<F> HttpFallbackLayer<F> {
    /// `fallback` answers rejected calls.
    #[must_use]
    pub fn new(fallback: F) -> Self {
        Self { fallback, on_failure: false }
    }

    /// It also answers calls that were made and came to an error or a 5xx. Default: no, for a failed call may have had
    /// its effect already.
    #[must_use]
    pub fn on_failure(self) -> Self {
        Self { on_failure: true, ..self }
    }
}

impl<S, F: Clone> Layer<S> for HttpFallbackLayer<F> {
    type Service = HttpFallbackService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        HttpFallbackService { inner, fallback: self.fallback.clone(), on_failure: self.on_failure }
    }
}

/// What [`HttpFallbackLayer`] builds.
#[derive(Debug, Clone)]
pub struct HttpFallbackService<S, F> {
    inner: S,
    fallback: F,
    on_failure: bool,
}

impl<S, F, ReqB, A, B> Service<Request<ReqB>> for HttpFallbackService<S, F>
where
    S: Service<Request<ReqB>, Response = Response<A>>,
    F: Service<Request<()>, Response = Response<B>> + Clone,
    F::Error: Into<S::Error>,
    A: Body<Data = Bytes>,
    B: Body<Data = Bytes>,
{
    type Response = Response<FallbackBody<A, B>>;
    type Error = S::Error;
    type Future = HttpFallbackFuture<S::Future, F, F::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let spare = Request::from_parts(parts.clone(), ());
        let spare = Spare { fallback: self.fallback.clone(), request: Some(spare) };
        let future = self.inner.call(Request::from_parts(parts, body));
        let inner =
            FallbackFuture { kind: Kind::First { future, spare: Some(spare) }, on_failure: self.on_failure };
        HttpFallbackFuture { inner }
    }
}

pin_project! {
    /// The future of [`HttpFallbackService`].
    #[derive(Debug)]
    pub struct HttpFallbackFuture<A, F, B> {
        #[pin]
        inner: FallbackFuture<A, F, Request<()>, B>,
    }
}

impl<A, F, X, Y, E> Future for HttpFallbackFuture<A, F, F::Future>
where
    A: Future<Output = Result<Response<X>, E>>,
    F: Service<Request<()>, Response = Response<Y>>,
    F::Error: Into<E>,
{
    type Output = Result<Response<FallbackBody<X, Y>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project().inner.project();
        let on_failure = *this.on_failure;
        let prepare = |result: &Result<Response<X>, E>, request: &mut Request<()>| match result {
            Ok(response) => match response.extensions().get::<Rejected>() {
                Some(rejected) => {
                    request.extensions_mut().insert(rejected.clone());
                    true
                }
                None => on_failure && response.status().is_server_error(),
            },
            Err(_) => on_failure,
        };
        Poll::Ready(match ready!(this.kind.poll_kind(cx, prepare)) {
            Came::First(result) => {
                result.map(|response| response.map(|body| FallbackBody { kind: Either::First { body } }))
            }
            Came::Second(result) => result
                .map(|response| response.map(|body| FallbackBody { kind: Either::Second { body } }))
                .map_err(Into::into),
        })
    }
}

pin_project! {
    /// The body of the first service or of the fallback, passed through untouched.
    #[derive(Debug)]
    pub struct FallbackBody<A, B> {
        #[pin]
        kind: Either<A, B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = EitherProj]
    enum Either<A, B> {
        First { #[pin] body: A },
        Second { #[pin] body: B },
    }
}

/// What layers around this one answer with that make a body of the same type, such as those for CORS and timeouts of
/// `tower-http`.
impl<A: Default, B> Default for FallbackBody<A, B> {
    fn default() -> Self {
        Self { kind: Either::First { body: A::default() } }
    }
}

impl<A, B> Body for FallbackBody<A, B>
where
    A: Body<Data = Bytes>,
    A::Error: Into<BoxError>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().kind.project() {
            EitherProj::First { body } => body.poll_frame(cx).map_err(Into::into),
            EitherProj::Second { body } => body.poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Either::First { body } => body.is_end_stream(),
            Either::Second { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Either::First { body } => body.size_hint(),
            Either::Second { body } => body.size_hint(),
        }
    }
}

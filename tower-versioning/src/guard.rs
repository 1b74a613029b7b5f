//! Handlers that exist in some versions only.
//!
//! A [`VersionRange`] is a layer: it answers 404, `unsupported-version`, to requests of versions outside of the range.
//! Requests without an [`ApiVersion`] (neutral ones) pass. What [`VersionLayer::render_with`](crate::VersionLayer::render_with) sets
//! is not known here: the answer is that of [`Negotiated`], with the [`VersionError`] in its extensions for those who give
//! it another form.
//!
//! ```
//! use axum::{Router, handler::Handler, routing::get};
//! use tower_versioning::{Version, VersionRange};
//! let since_2 = VersionRange::since(Version::major(2));
//! let router: Router = Router::new().route("/refunds", get(async || "refunds").layer(since_2));
//! # let _ = router;
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::policy::decide::{Refusal, VersionErrorKind};
use crate::policy::range::VersionRange;
use crate::rejection::{Negotiated, RenderRejection, VersionError};
use crate::resolved::ApiVersion;

impl<S> Layer<S> for VersionRange {
    type Service = InRange<S>;

    fn layer(&self, inner: S) -> InRange<S> {
        InRange { inner, range: *self }
    }
}

/// What a [`VersionRange`] builds as a layer.
#[derive(Debug, Clone)]
pub struct InRange<S> {
    inner: S,
    range: VersionRange,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for InRange<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let version = request.extensions().get::<ApiVersion>().map(ApiVersion::version);
        match version.filter(|version| !self.range.contains(*version)) {
            None => ResponseFuture { state: State::Passed { inner: self.inner.call(request) } },
            Some(version) => {
                let refusal = Refusal {
                    kind: VersionErrorKind::Unsupported,
                    status: StatusCode::NOT_FOUND,
                    requested: Some(version),
                    gone: None,
                    text: None,
                };
                let error = VersionError::new(refusal, Arc::default());
                let mut response = Negotiated.render(&error, &request.into_parts().0);
                response.extensions_mut().insert(error);
                ResponseFuture { state: State::Refused { response: Some(response) } }
            }
        }
    }
}

pin_project! {
    /// The future of [`InRange`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Passed { #[pin] inner: F },
        Refused { response: Option<Response<Bytes>> },
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passed { inner } => Poll::Ready(Ok(ready!(inner.poll(cx))?.map(ResponseBody::inner))),
            StateProj::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
                None => Poll::Pending,
            },
        }
    }
}

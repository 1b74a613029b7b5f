//! The id inside of problem documents (RFC 9457) that handlers or other layers wrote.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::context::Correlation;

/// Adds the member `correlation_id` to `application/problem+json` bodies; goes inside of
/// [`CorrelationLayer`](crate::CorrelationLayer).
///
/// Nothing is buffered: the member goes in front of the first one, in the first frame. Encoded (compressed) documents,
/// and those whose first frame is no object or has the member already, are passed on as they are.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ProblemIdLayer;

impl ProblemIdLayer {
    /// The layer; there is nothing to configure.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for ProblemIdLayer {
    type Service = ProblemId<S>;

    fn layer(&self, inner: S) -> ProblemId<S> {
        ProblemId { inner }
    }
}

/// What [`ProblemIdLayer`] builds.
#[derive(Debug, Clone)]
pub struct ProblemId<S> {
    inner: S,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for ProblemId<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ProblemBody<ResB>>;
    type Error = S::Error;
    type Future = ProblemFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        // A HEAD response has the length of what GET would give, but no body to put anything in.
        let correlation = request.extensions().get::<Correlation>().cloned();
        let correlation = correlation.filter(|_| request.method() != http::Method::HEAD);
        ProblemFuture { inner: self.inner.call(request), correlation }
    }
}

pin_project! {
    /// The future of [`ProblemId`].
    #[derive(Debug)]
    pub struct ProblemFuture<F> {
        #[pin]
        inner: F,
        correlation: Option<Correlation>,
    }
}

impl<F, B, E> Future for ProblemFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ProblemBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let wanted = kind.eq_ignore_ascii_case(b"application/problem+json")
            && !response.headers().contains_key(header::CONTENT_ENCODING);
        let correlation = this.correlation.take().filter(|_| wanted);
        if correlation.is_some() {
            // The length changes only when the document is seen; the transport frames what is sent.
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Poll::Ready(Ok(response.map(|inner| ProblemBody { inner, correlation })))
    }
}

pin_project! {
    /// The inner body, with the member in its first frame when it is a problem document.
    #[derive(Debug)]
    pub struct ProblemBody<B> {
        #[pin]
        inner: B,
        correlation: Option<Correlation>,
    }
}

impl<B: Body<Data = Bytes>> Body for ProblemBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        Poll::Ready(match (frame, this.correlation.take()) {
            (Some(Ok(frame)), Some(correlation)) => {
                Some(Ok(frame.map_data(|data| name(&data, &correlation))))
            }
            (frame, _) => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.correlation.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

const MEMBER: &[u8] = b"\"correlation_id\"";

/// The document with the member in front of the others.
fn name(data: &Bytes, correlation: &Correlation) -> Bytes {
    let id = correlation.id().as_bytes();
    let known = data.windows(MEMBER.len()).any(|window| window == MEMBER);
    let start = data.iter().position(|byte| !byte.is_ascii_whitespace());
    let Some(start) = start.filter(|&start| data[start] == b'{' && !known) else { return data.clone() };
    // An id may hold these two only where the validation was told so.
    if id.contains(&b'"') || id.contains(&b'\\') {
        return data.clone();
    }
    let rest = &data[start + 1..];
    let empty = rest.iter().find(|byte| !byte.is_ascii_whitespace()).is_none_or(|&byte| byte == b'}');
    let mut out = BytesMut::with_capacity(data.len() + id.len() + MEMBER.len() + 5);
    out.put_slice(b"{");
    out.put_slice(MEMBER);
    out.put_slice(b":\"");
    out.put_slice(id);
    out.put_slice(if empty { b"\"" } else { b"\"," });
    out.put_slice(rest);
    out.freeze()
}

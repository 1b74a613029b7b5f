//! The response body under the correlation of its request.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::context::{Correlation, sync_scope};
use crate::span::Span;

pin_project! {
    /// The inner body, passed through untouched; code that produces it sees the [`Correlation`] as
    /// [`current`](crate::current) and its log lines stand in the request's span.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: B,
        correlation: Correlation,
        span: Span,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(inner: B, correlation: Correlation, span: Span) -> Self {
        Self { inner, correlation, span }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        this.span.in_scope(|| sync_scope(this.correlation, || this.inner.poll_frame(cx)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

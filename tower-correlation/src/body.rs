//! The response body under the correlation of its request.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::ambient::Entered;
use crate::context::Correlation;
use crate::span::Span;

pin_project! {
    /// The inner body, passed through untouched; code that produces it sees the [`Correlation`] as
    /// [`current`](crate::current) and its log lines stand in the request's span.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: Option<B>,
        slot: Option<Correlation>,
        span: Span,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // A body that is dropped before its end belongs to the request too.
            if this.inner.is_some() {
                let _span = this.span.enter();
                let _current = Entered::new(this.slot);
                this.inner.set(None);
            }
        }
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(inner: B, slot: Option<Correlation>, span: Span) -> Self {
        Self { inner: Some(inner), slot, span }
    }
}

/// Empty: what layers around this one answer with that make a body of the same type, such as those for CORS and timeouts of
/// `tower-http`.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self { inner: None, slot: None, span: Span::none() }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        // It is there until it has ended.
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let _span = this.span.enter();
        let _current = Entered::new(this.slot);
        let frame = inner.poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) {
            this.inner.set(None);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

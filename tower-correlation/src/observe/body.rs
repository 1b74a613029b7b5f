//! The response body under observation.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::call::{Call, Watch};
use super::layer::enter;
use crate::context::Correlation;
use crate::policy::record::Outcome;

pin_project! {
    /// The inner body, passed through untouched; what passes is counted, and its end ends the call.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: B,
        call: Option<Call>,
        // The correlation with the threshold of this service, where the first one decides for all.
        told: Option<Correlation>,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: B, call: Option<Call>, told: Option<Correlation>) -> Self {
        Self { inner, call, told }
    }
}

/// What layers around this one answer with that make a body of the same type, such as those for CORS and timeouts of
/// `tower-http`.
impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None, None)
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
        let watch = Watch::new(this.call);
        let current = enter(this.told);
        let frame = this.inner.as_mut().poll_frame(cx);
        drop(current);
        watch.over();
        let frame = ready!(frame);
        if let Some(call) = this.call {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        call.data(data.remaining());
                    } else if let Some(trailers) = frame.trailers_ref() {
                        call.trailers(trailers);
                    }
                    // Nothing comes behind trailers (RFC 9110 §6.5): transports drop the body once they have them.
                    if frame.is_trailers() || this.inner.is_end_stream() {
                        call.finish(Outcome::Complete);
                    }
                }
                Some(Err(_)) => call.finish(Outcome::Error),
                None => call.finish(Outcome::Complete),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

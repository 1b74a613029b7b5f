//! A response body of which some frames were looked at.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// The response body of a [`Retry`](super::Retry): what was read to decide, then the rest, untouched.
pub struct RetriedBody<B: Body> {
    read: VecDeque<Result<Frame<Bytes>, B::Error>>,
    /// None when all of it was read.
    rest: Option<B>,
}

/// What reading one frame ahead has shown.
pub(super) enum Ahead {
    /// So many octets.
    Data(usize),
    Trailers,
    Broken,
    End,
}

impl<B: Body> RetriedBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self { read: VecDeque::new(), rest: Some(body) }
    }

    /// An answer of our own.
    pub(super) fn own(data: Bytes) -> Self {
        let read = if data.is_empty() { None } else { Some(Ok(Frame::data(data))) };
        Self { read: read.into_iter().collect(), rest: None }
    }

    /// The trailers, if they were read.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.read.back()?.as_ref().ok()?.trailers_ref()
    }
}

impl<B: Body<Data = Bytes> + Unpin> RetriedBody<B> {
    /// Reads one frame and keeps it.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Ahead> {
        let Some(body) = &mut self.rest else { return Poll::Ready(Ahead::End) };
        Pin::new(body).poll_frame(cx).map(|frame| {
            let seen = match &frame {
                None => Ahead::End,
                Some(Err(_)) => Ahead::Broken,
                Some(Ok(frame)) => frame.data_ref().map_or(Ahead::Trailers, |data| Ahead::Data(data.len())),
            };
            // An error is an end too.
            if !matches!(frame, Some(Ok(_))) {
                self.rest = None;
            }
            self.read.extend(frame);
            seen
        })
    }
}

/// Nothing in here is pinned but the rest, and that only while it is polled.
impl<B: Body + Unpin> Unpin for RetriedBody<B> {}

/// What layers around this one answer with that make a body of the same type, such as those for CORS and timeouts of
/// `tower-http`.
impl<B: Body> Default for RetriedBody<B> {
    fn default() -> Self {
        Self::own(Bytes::new())
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RetriedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.read.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match &mut self.rest {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self
            .read
            .iter()
            .filter_map(|frame| frame.as_ref().ok()?.data_ref())
            .map(|data| data.len() as u64)
            .sum();
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

impl<B: Body> fmt::Debug for RetriedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetriedBody")
            .field("read", &self.read.len())
            .field("rest", &self.rest.is_some())
            .finish_non_exhaustive()
    }
}

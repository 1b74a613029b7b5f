//! The response body of a layer that sometimes answers itself, and stores what passes.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::error::BoxError;
use crate::flight::Reader;
use crate::store::{Pieces, StoredBody};

pin_project! {
    /// The inner service's body, passed through untouched (data, trailers, size hint) and perhaps stored meanwhile; or
    /// a stored one, one that another request is fetching, or the layer's own answer.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Own { body: OwnBody },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    pub(crate) fn own(body: OwnBody) -> Self {
        Self { kind: Kind::Own { body } }
    }

    /// Whether reading it to its end stores it.
    pub(crate) fn is_fill(&self) -> bool {
        matches!(self.kind, Kind::Own { body: OwnBody::Reading { .. } })
    }
}

/// Empty: what layers around this one answer with that make a body of the same type, such as those for CORS and timeouts of
/// `tower-http`.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::own(OwnBody::empty())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProj::Inner { body } => {
                let frame = ready!(body.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            KindProj::Own { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { body } => body.size_hint(),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Inner { .. } => "Inner",
            Kind::Own { .. } => "Own",
        };
        f.debug_tuple("ResponseBody").field(&kind).finish()
    }
}

/// A body the inner service has no part in.
#[derive(Debug)]
pub(crate) enum OwnBody {
    Data(Option<Bytes>),
    /// `left` octets from `skip` octets into the piece at `chunk`.
    Stored {
        body: Arc<Pieces>,
        chunk: usize,
        skip: u64,
        left: u64,
        trailers_sent: bool,
    },
    /// From a flight, as the one that fetches or as another.
    Reading {
        reader: Reader,
        length: Option<u64>,
    },
}

impl OwnBody {
    pub(crate) fn empty() -> Self {
        Self::Data(None)
    }

    pub(crate) fn data(data: Bytes) -> Self {
        Self::Data(Some(data).filter(|data| !data.is_empty()))
    }

    /// All of what is stored.
    pub(crate) fn stored(body: &StoredBody) -> Self {
        match body {
            StoredBody::Whole(content) => Self::data(content.clone()),
            StoredBody::Pieces(body) => {
                let (left, trailers_sent) = (body.len, body.trailers.is_none());
                Self::Stored { body: Arc::clone(body), chunk: 0, skip: 0, left, trailers_sent }
            }
        }
    }

    /// Part of a stored body; trailers are about the whole and stay out.
    pub(crate) fn part(body: &StoredBody, part: &Range<u64>) -> Self {
        let body = match body {
            StoredBody::Whole(content) => {
                // Both fit: neither is larger than the content.
                let [start, end] =
                    [part.start, part.end].map(|place| place.min(content.len() as u64) as usize);
                return Self::data(content.slice(start.min(end)..end));
            }
            StoredBody::Pieces(body) => Arc::clone(body),
        };
        let (mut chunk, mut skip) = (0, part.start);
        while let Some(length) =
            body.chunks.get(chunk).map(|data| data.len() as u64).filter(|length| skip >= *length)
        {
            skip -= length;
            chunk += 1;
        }
        Self::Stored { body, chunk, skip, left: part.end - part.start, trailers_sent: true }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Data(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Self::Stored { body, chunk, skip, left, trailers_sent } => {
                if let Some(data) = body.chunks.get(*chunk).filter(|_| *left > 0) {
                    *chunk += 1;
                    // Both fit: neither is larger than the piece.
                    let start = std::mem::take(skip).min(data.len() as u64) as usize;
                    let end = (data.len() as u64).min(start as u64 + *left) as usize;
                    *left -= (end - start) as u64;
                    return Poll::Ready(Some(Ok(Frame::data(data.slice(start..end)))));
                }
                if std::mem::replace(trailers_sent, true) {
                    return Poll::Ready(None);
                }
                Poll::Ready(body.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Self::Reading { reader, length } => {
                let frame = ready!(reader.poll_frame(cx));
                if let (Some(Ok(frame)), Some(length)) = (&frame, length) {
                    let sent = frame.data_ref().map_or(0, Bytes::len);
                    *length = length.saturating_sub(sent as u64);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Data(data) => data.is_none(),
            Self::Stored { left, trailers_sent, .. } => *left == 0 && *trailers_sent,
            Self::Reading { reader, .. } => reader.is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Data(data) => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Self::Stored { left, trailers_sent: true, .. } => SizeHint::with_exact(*left),
            // HTTP/1 has no place for trailers behind a content whose length was announced (RFC 9112 §7.1.2).
            Self::Stored { left, .. } => {
                let mut hint = SizeHint::new();
                hint.set_lower(*left);
                hint
            }
            Self::Reading { length: Some(length), .. } => SizeHint::with_exact(*length),
            Self::Reading { length: None, .. } => SizeHint::default(),
        }
    }
}

pin_project! {
    /// A body whose error is boxed, so that bodies of any kind can be kept in one place.
    pub(crate) struct Erased<B> {
        #[pin]
        body: B,
    }
}

impl<B> Erased<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body }
    }
}

impl<B> Body for Erased<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.project().body.poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Bodies: as they came, or whole.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A body that passed untouched (data, trailers, size hint), or one that was read and perhaps translated.
    pub struct MigrateBody<B> where B: Body {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> where B: Body {
        Passed { #[pin] body: B },
        Read { data: Bytes, trailers: Option<HeaderMap>, error: Option<B::Error> },
    }
}

impl<B: Body> MigrateBody<B> {
    pub(crate) fn passed(body: B) -> Self {
        Self { kind: Kind::Passed { body } }
    }

    pub(crate) fn whole(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { kind: Kind::Read { data, trailers, error: None } }
    }

    /// The error alone: what was read before is of another version.
    pub(crate) fn broken(error: B::Error) -> Self {
        Self { kind: Kind::Read { data: Bytes::new(), trailers: None, error: Some(error) } }
    }
}

/// Empty: what layers around this one answer with that make a body of the same type.
impl<B: Body> Default for MigrateBody<B> {
    fn default() -> Self {
        Self::whole(Bytes::new(), None)
    }
}

impl<B: Body<Data = Bytes>> Body for MigrateBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProj::Passed { body } => body.poll_frame(cx),
            KindProj::Read { data, trailers, error } => Poll::Ready(if !data.is_empty() {
                Some(Ok(Frame::data(std::mem::take(data))))
            } else if let Some(error) = error.take() {
                Some(Err(error))
            } else {
                trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passed { body } => body.is_end_stream(),
            Kind::Read { data, trailers, error } => data.is_empty() && trailers.is_none() && error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Passed { body } => body.size_hint(),
            Kind::Read { error: Some(_), .. } => SizeHint::default(),
            Kind::Read { data, .. } => SizeHint::with_exact(data.len() as u64),
        }
    }
}

impl<B: Body> fmt::Debug for MigrateBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Passed { .. } => "MigrateBody(passed)",
            Kind::Read { .. } => "MigrateBody(read)",
        })
    }
}

pin_project! {
    /// Reads a body up to a limit.
    #[derive(Debug)]
    pub(crate) struct Gather<B> {
        #[pin]
        body: B,
        limit: usize,
        first: Bytes,
        more: BytesMut,
        trailers: Option<HeaderMap>,
    }
}

/// What reading came to.
pub(crate) enum Gathered<E> {
    Whole(Bytes, Option<HeaderMap>),
    TooLarge,
    Broken(E),
}

impl<B: Body<Data = Bytes>> Gather<B> {
    pub(crate) fn new(body: B, limit: usize) -> Self {
        Self { body, limit, first: Bytes::new(), more: BytesMut::new(), trailers: None }
    }

    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Gathered<B::Error>> {
        let mut this = self.project();
        // What is announced as too large is not read.
        if this.body.size_hint().lower() > *this.limit as u64 {
            return Poll::Ready(Gathered::TooLarge);
        }
        loop {
            let frame = match ready!(this.body.as_mut().poll_frame(cx)) {
                None => {
                    return Poll::Ready(Gathered::Whole(whole(this.first, this.more), this.trailers.take()));
                }
                Some(Err(error)) => {
                    return Poll::Ready(Gathered::Broken(error));
                }
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) if this.first.len().max(this.more.len()) + data.len() > *this.limit => {
                    return Poll::Ready(Gathered::TooLarge);
                }
                // One piece is the rule, and need not be copied.
                Ok(data) if this.first.is_empty() && this.more.is_empty() => *this.first = data,
                Ok(data) => {
                    if this.more.is_empty() {
                        this.more.extend_from_slice(&std::mem::take(this.first));
                    }
                    this.more.extend_from_slice(&data);
                }
                Err(frame) => match (frame.into_trailers(), &mut *this.trailers) {
                    (Ok(trailers), Some(before)) => before.extend(trailers),
                    (Ok(trailers), empty) => *empty = Some(trailers),
                    (Err(_), _) => {}
                },
            }
        }
    }
}

fn whole(first: &mut Bytes, more: &mut BytesMut) -> Bytes {
    if more.is_empty() { std::mem::take(first) } else { std::mem::take(more).freeze() }
}

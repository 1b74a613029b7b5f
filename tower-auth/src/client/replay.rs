//! Which requests can be sent twice.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;

use bytes::{Buf, Bytes};
use http::header;
use http::request::Parts;
use http_body::Body;

use super::Rejected;

/// Decides which requests can be sent a second time, and makes the second body.
pub trait Replay<B> {
    /// The body for the first attempt, and where possible one for the second.
    fn copy(&self, request: &Parts, body: B) -> Replayable<B>;
}

/// What [`Replay`] answers.
pub enum Replayable<B> {
    /// Sent once only.
    No(B),
    /// May be sent twice.
    Yes {
        /// For the first attempt.
        first: B,
        /// For the second.
        second: B,
    },
    /// May be sent twice once it has been read.
    After(Buffering<B>),
}

impl<B> fmt::Debug for Replayable<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No(_) => "No",
            Self::Yes { .. } => "Yes",
            Self::After(_) => "After",
        })
    }
}

/// Reads a body; gives the bodies of both attempts.
pub type Buffering<B> = Pin<Box<dyn Future<Output = Result<(B, B), Rejected>> + Send>>;

/// Nothing is repeated.
#[derive(Debug, Clone, Copy, Default)]
pub struct Never;

impl<B> Replay<B> for Never {
    fn copy(&self, _: &Parts, body: B) -> Replayable<B> {
        Replayable::No(body)
    }
}

/// Requests whose body is empty from the start, which costs nothing to repeat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bodiless;

impl<B: Body + Default> Replay<B> for Bodiless {
    fn copy(&self, _: &Parts, body: B) -> Replayable<B> {
        if body.is_end_stream() {
            Replayable::Yes { first: body, second: B::default() }
        } else {
            Replayable::No(body)
        }
    }
}

/// Requests without a body, and those whose body says that it has at most so many bytes; such a body is read before the
/// first attempt. A body of unknown or greater length, one that announces trailers (RFC 9110 §6.6.2) and any of gRPC is
/// passed through and sent once.
#[derive(Debug, Clone, Copy)]
pub struct UpTo(
    /// Bytes.
    pub u64,
);

impl<B> Replay<B> for UpTo
where
    B: Body + From<Bytes> + Send + 'static,
    B::Data: Send,
{
    fn copy(&self, request: &Parts, body: B) -> Replayable<B> {
        if body.is_end_stream() {
            return Replayable::Yes { first: body, second: B::from(Bytes::new()) };
        }
        let length = body.size_hint().exact().filter(|length| *length <= self.0);
        let trailers =
            request.headers.contains_key(header::TRAILER) || crate::grpc::is_grpc(&request.headers);
        match length.and_then(|length| usize::try_from(length).ok()) {
            Some(length) if !trailers => Replayable::After(Box::pin(read(body, length))),
            _ => Replayable::No(body),
        }
    }
}

async fn read<B: Body + From<Bytes>>(body: B, length: usize) -> Result<(B, B), Rejected> {
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::with_capacity(length.min(64 * 1024));
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        // Trailers nobody announced cannot be repeated, and dropping them would change the request.
        let mut data = frame.ok().and_then(|frame| frame.into_data().ok()).ok_or(Rejected::Body)?;
        if bytes.len() + data.remaining() > length {
            return Err(Rejected::Body);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let read = chunk.len();
            bytes.extend_from_slice(chunk);
            data.advance(read);
        }
    }
    // Less than it said: a `Content-Length` made of that would be wrong.
    if bytes.len() < length {
        return Err(Rejected::Body);
    }
    let bytes = Bytes::from(bytes);
    Ok((B::from(bytes.clone()), B::from(bytes)))
}

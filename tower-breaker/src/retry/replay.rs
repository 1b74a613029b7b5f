//! A request body that can be sent again.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::tape::{Piece, Tape, lock, poll_next, wake};
use crate::error::BoxError;

/// Octets of a request body that are kept, when nothing else is said: 64 KiB. Most calls between services are smaller,
/// and a thousand of them under way hold 64 MiB.
pub const DEFAULT_LIMIT: usize = 64 << 10;

/// A request body that is recorded while it is sent, data and trailers, up to a limit. A clone starts from the beginning:
/// it replays what is recorded and goes on with the rest of the original.
///
/// The clone that was asked for a frame last has the floor; all others end with an error, never as if the content were
/// complete. Beyond the limit the record is let go and the body passes on unrecorded, once.
///
/// [`RetryLayer`](super::RetryLayer) makes these itself; with tower's `Retry`, make them before it:
///
/// ```
/// # use http_body_util::Full;
/// # use bytes::Bytes;
/// use tower_breaker::retry::ReplayBody;
///
/// let body = ReplayBody::new(Full::new(Bytes::from_static(b"content")));
/// assert!(body.replayable());
/// ```
pub struct ReplayBody<B> {
    kind: Kind<B>,
}

enum Kind<B> {
    /// Nothing to record.
    Empty,
    /// Known to be too long from the start.
    Once(B),
    Taped {
        tape: Arc<Mutex<Tape<B>>>,
        reader: Option<u64>,
        position: usize,
    },
    /// Clone of what exists once.
    Spent,
}

/// What went wrong with a [`ReplayBody`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The original body's own error.
    Inner(BoxError),
    /// Another attempt sends the content now.
    Superseded,
    /// The beginning of the content is not recorded any more.
    Gone,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inner(_) => "the content could not be read",
            Self::Superseded => "another attempt sends the content now",
            Self::Gone => "the content is longer than what is kept for another attempt",
        })
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inner(error) => Some(&**error),
            _ => None,
        }
    }
}

impl<B: Body> ReplayBody<B> {
    /// Records up to [`DEFAULT_LIMIT`] octets.
    pub fn new(body: B) -> Self {
        Self::with_limit(body, DEFAULT_LIMIT)
    }

    /// Records up to `limit` octets, and at most 1,024 frames.
    pub fn with_limit(body: B, limit: usize) -> Self {
        if body.is_end_stream() {
            return Self { kind: Kind::Empty };
        }
        if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > limit) {
            return Self { kind: Kind::Once(body) };
        }
        let tape = Arc::new(Mutex::new(Tape::new(body, limit)));
        Self { kind: Kind::Taped { tape, reader: None, position: 0 } }
    }
}

impl<B> ReplayBody<B> {
    /// Whether a clone made now could be sent: nothing is lost so far.
    #[must_use]
    pub fn replayable(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Once(_) | Kind::Spent => false,
            Kind::Taped { tape, .. } => lock(tape).recording,
        }
    }

    /// Takes the floor for a clone that is yet to be made; `false` when it would have nothing to say.
    pub(crate) fn claim(&self) -> bool {
        match &self.kind {
            Kind::Taped { tape, .. } => {
                let mut tape = lock(tape);
                if !tape.recording {
                    return false;
                }
                let waiting = tape.next_reader();
                drop(tape);
                wake(waiting);
                true
            }
            _ => self.replayable(),
        }
    }

    /// There will be no other attempt: what was recorded need not be kept.
    pub(crate) fn release(&self) {
        if let Kind::Taped { tape, .. } = &self.kind {
            lock(tape).recording = false;
        }
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = ReplayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplayError>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Once(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|e| ReplayError::Inner(e.into())))),
            Kind::Spent => Poll::Ready(Some(Err(ReplayError::Gone))),
            Kind::Taped { tape, reader, position } => {
                let next = poll_next(tape, reader, *position, cx);
                if let Poll::Ready(Some(Ok(_))) = next {
                    *position += 1;
                }
                next.map(|next| next.map(|piece| piece.map(Frame::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Once(body) => body.is_end_stream(),
            Kind::Spent => false,
            Kind::Taped { tape, position, .. } => {
                let tape = lock(tape);
                !tape.polled
                    && *position >= tape.first + tape.frames.len()
                    && tape.body.as_ref().is_none_or(Body::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Once(body) => body.size_hint(),
            Kind::Spent => SizeHint::default(),
            Kind::Taped { tape, position, .. } => {
                let tape = lock(tape);
                let coming = tape.frames.iter().skip(position.saturating_sub(tape.first));
                let recorded: u64 = coming
                    .map(|piece| if let Piece::Data(data) = piece { data.len() as u64 } else { 0 })
                    .sum();
                let rest = match &tape.body {
                    Some(body) => body.size_hint(),
                    None if tape.polled => SizeHint::default(),
                    None => SizeHint::with_exact(0),
                };
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(recorded));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(recorded));
                }
                hint
            }
        }
    }
}

impl<B> Clone for ReplayBody<B> {
    /// From the beginning; takes the floor when it is first asked for a frame.
    fn clone(&self) -> Self {
        let kind = match &self.kind {
            Kind::Empty => Kind::Empty,
            Kind::Once(_) | Kind::Spent => Kind::Spent,
            Kind::Taped { tape, .. } => Kind::Taped { tape: tape.clone(), reader: None, position: 0 },
        };
        Self { kind }
    }
}

impl<B: Default + Body> Default for ReplayBody<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Empty => "ReplayBody(empty)",
            Kind::Once(_) => "ReplayBody(once)",
            Kind::Taped { .. } => "ReplayBody(recorded)",
            Kind::Spent => "ReplayBody(spent)",
        })
    }
}

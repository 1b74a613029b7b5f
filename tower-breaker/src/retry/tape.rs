//! What the attempts of one request share of its content: the frames so far, and the body that the others come from.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use super::replay::ReplayError;
use crate::error::BoxError;

/// Frames that are kept: octet by octet, 64 KiB would cost megabytes.
const MAX_FRAMES: usize = 1024;

/// The content of a request, shared by its attempts, one of which has the floor.
pub(super) struct Tape<B> {
    /// What is left to record; none when it has ended, or while it is polled.
    pub(super) body: Option<B>,
    /// Somebody polls it, which is done without the lock: its wakers may use this body.
    pub(super) polled: bool,
    pub(super) frames: Vec<Piece>,
    /// Position of the first frame in `frames`: those before were let go.
    pub(super) first: usize,
    octets: usize,
    limit: usize,
    pub(super) recording: bool,
    /// Who has the floor; 0 is nobody.
    reader: u64,
    waker: Option<Waker>,
}

#[derive(Clone)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(data) => Self::data(data),
            Piece::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

/// Nothing in here panics within the lock; should it, the frames are whole.
pub(super) fn lock<B>(tape: &Mutex<Tape<B>>) -> MutexGuard<'_, Tape<B>> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakers are called, and dropped, without the lock.
pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<B> Tape<B> {
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self {
            body: Some(body),
            polled: false,
            frames: Vec::new(),
            first: 0,
            octets: 0,
            limit,
            recording: true,
            reader: 0,
            waker: None,
        }
    }

    /// Takes the floor. Whoever waits is to be told, so that its stream is reset and does not hang on its connection.
    #[must_use]
    pub(super) fn next_reader(&mut self) -> Option<Waker> {
        self.reader += 1;
        self.waker.take()
    }

    /// Who waits for the next frame; the one that waited before.
    fn waits(&mut self, waker: Waker) -> Option<Waker> {
        self.waker.replace(waker)
    }

    /// The frame at `position`, if it is recorded.
    fn recorded(&mut self, position: usize) -> Option<Piece> {
        let piece = self.frames.get(position.checked_sub(self.first)?).cloned();
        if !self.recording && position + 1 >= self.first + self.frames.len() {
            self.let_go(position + usize::from(piece.is_some()));
        }
        piece
    }

    fn let_go(&mut self, first: usize) {
        self.frames = Vec::new();
        self.first = first;
    }

    /// Keeps a frame; one that was on its way when another attempt took the floor, whatever it does to the limit.
    fn record(&mut self, position: usize, piece: &Piece, superseded: bool) {
        let octets = match piece {
            Piece::Data(data) => data.len(),
            Piece::Trailers(trailers) => {
                trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
            }
        };
        self.octets = self.octets.saturating_add(octets);
        if !superseded && (self.octets > self.limit || self.frames.len() >= MAX_FRAMES) {
            self.recording = false;
        }
        if self.recording || superseded {
            self.frames.push(piece.clone());
        } else {
            self.let_go(position + 1);
        }
    }
}

/// The body while it is polled. A panic takes it along: nobody can send the rest of it.
struct Polled<'a, B> {
    tape: &'a Mutex<Tape<B>>,
    body: Option<B>,
    out: bool,
}

impl<B> Drop for Polled<'_, B> {
    fn drop(&mut self) {
        if self.out {
            let mut tape = lock(self.tape);
            (tape.polled, tape.recording) = (false, false);
            let waiting = tape.waker.take();
            drop(tape);
            wake(waiting);
        }
    }
}

type Next = Option<Result<Piece, ReplayError>>;

impl<B> Polled<'_, B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { return Poll::Pending };
            let piece = match frame {
                None => {
                    self.body = None;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(ReplayError::Inner(error.into()))));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Piece::Data(data),
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => Piece::Trailers(trailers),
                        // http-body 1 has no third kind.
                        Err(_) => continue,
                    },
                },
            };
            return Poll::Ready(Some(Ok(piece)));
        }
    }

    /// Puts the body back and keeps what came. Whoever took the floor meanwhile is woken; and so, when it is still ours,
    /// `waker` is kept.
    fn put_back(mut self, reader: u64, position: usize, next: Poll<Next>, waker: Waker) -> Poll<Next> {
        self.out = false;
        let mut tape = lock(self.tape);
        tape.polled = false;
        tape.body = self.body.take();
        let superseded = tape.reader != reader;
        match &next {
            Poll::Ready(Some(Ok(piece))) => tape.record(position, piece, superseded),
            // Nobody can send the rest of it.
            Poll::Ready(Some(Err(_))) => tape.recording = false,
            Poll::Ready(None) | Poll::Pending => {}
        }
        let (stale, waiting) = match (superseded, next.is_pending()) {
            (true, _) => (None, tape.waker.take()),
            (false, true) => (tape.waits(waker), None),
            (false, false) => (tape.waker.take(), None),
        };
        drop(tape);
        drop(stale);
        wake(waiting);
        if superseded { Poll::Ready(Some(Err(ReplayError::Superseded))) } else { next }
    }
}

/// The next frame for `reader`, who has the floor from its first question on.
pub(super) fn poll_next<B>(
    tape: &Mutex<Tape<B>>,
    reader: &mut Option<u64>,
    position: usize,
    cx: &mut Context<'_>,
) -> Poll<Next>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let waker = cx.waker().clone();
    let mut taken = lock(tape);
    let mut before = None;
    let me = *reader.get_or_insert_with(|| {
        before = taken.next_reader();
        taken.reader
    });
    let known = if me != taken.reader {
        Some(Err(ReplayError::Superseded))
    } else if position < taken.first {
        Some(Err(ReplayError::Gone))
    } else {
        taken.recorded(position).map(Ok)
    };
    if known.is_some() || taken.polled {
        // The one that polls wakes us when it has done so.
        let stale = if known.is_none() { taken.waits(waker) } else { None };
        drop(taken);
        wake(before);
        drop(stale);
        return if known.is_some() { Poll::Ready(known) } else { Poll::Pending };
    }
    let mut polled = Polled { tape, body: taken.body.take(), out: true };
    taken.polled = true;
    drop(taken);
    wake(before);
    let next = polled.poll(cx);
    polled.put_back(me, position, next, waker)
}

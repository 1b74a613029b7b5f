//! Responses that are being fetched: one request fetches, others wait for the head, and whoever reads the content
//! fetches it for all.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame};
use tokio::time::Sleep;

use crate::cache;
use crate::content::{Content, End};
use crate::error::{BoxError, Interrupted};
use crate::fill::Recorder;
use crate::key::CacheKey;
use crate::store::{Head, StoredBody};

/// One response on its way.
pub(crate) struct Flight {
    /// By which others find it, if they can.
    key: Option<CacheKey>,
    state: Mutex<State>,
    /// Where the content comes from. Locked while it is polled, and never while the state is.
    source: Mutex<Option<Source>>,
}

struct State {
    phase: Phase,
    /// One place for each reader; most often there is one alone.
    first: Place,
    others: Vec<Place>,
    /// Those of the others that are free.
    free: Vec<usize>,
    /// The reader whose request fetches is among them.
    led: bool,
    /// Since when nothing comes, while something is waited for.
    waits_since: Option<Instant>,
}

#[derive(Default)]
struct Place {
    waker: Option<Waker>,
    /// The number of chunks that have been read.
    next: usize,
    taken: bool,
}

#[expect(clippy::large_enum_variant, reason = "nearly all come to have a body, within one allocation")]
enum Phase {
    /// No response yet.
    Calling,
    /// There is nothing to share; every follower goes its own way.
    Released(Release),
    /// The response is there, its content arrives.
    Body(Content),
}

/// Why there is nothing to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// The response is not for others: each follower asks for itself, at the same time.
    NotShared,
    /// It is not, and was asked for with credentials: those who have none of their own try again.
    Personal,
    /// The fetching request was cancelled: one of the followers takes its place.
    Abandoned,
    /// The origin failed, or its response broke off: one of the followers takes its place, once.
    Failed,
    /// The origin failed, with this status or without any, and something stale was good enough for the one who asked.
    Stale(Option<StatusCode>),
}

/// The origin's body, and where it is recorded.
pub(crate) struct Source {
    pub(crate) body: Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>,
    pub(crate) recorder: Recorder,
}

impl State {
    fn readers(&self) -> usize {
        usize::from(self.first.taken) + self.others.len() - self.free.len()
    }

    /// Takes a place that is free.
    fn enter(&mut self) -> usize {
        let number = if self.first.taken {
            self.free.pop().unwrap_or_else(|| {
                self.others.push(Place::default());
                self.others.len()
            })
        } else {
            0
        };
        *self.place(number) = Place { taken: true, ..Place::default() };
        number
    }

    /// A place by its number.
    fn place(&mut self, number: usize) -> &mut Place {
        match number.checked_sub(1) {
            None => &mut self.first,
            Some(other) => &mut self.others[other],
        }
    }

    fn leave(&mut self, number: usize) {
        *self.place(number) = Place::default();
        if number > 0 {
            self.free.push(number);
        }
    }

    /// Adds a piece, as [`Flight::push`] does.
    fn push(&mut self, data: Bytes, limit: usize) -> usize {
        let Phase::Body(content) = &mut self.phase else { return 0 };
        content.kept &= content.bytes.saturating_add(data.len()) <= limit;
        content.bytes += data.len();
        content.chunks.push(data);
        if content.kept {
            return content.bytes;
        }
        let read = self.read();
        let Phase::Body(content) = &mut self.phase else { return 0 };
        // What all have read goes; who reads more slowly than `limit` allows has lost the thread.
        while content.gone < read.unwrap_or(usize::MAX) || content.bytes > limit.max(MIN_WINDOW) {
            if content.chunks.len() <= 1 {
                break;
            }
            let gone = content.chunks.pop().map_or(0, |chunk| chunk.len());
            content.bytes -= gone;
            content.gone += 1;
        }
        content.bytes
    }

    fn end(
        &mut self,
        end: End,
        last: Option<(Bytes, usize)>,
        trailers: Option<HeaderMap>,
    ) -> Option<&mut Content> {
        if let Some((data, limit)) = last {
            self.push(data, limit);
        }
        let Phase::Body(content) = &mut self.phase else { return None };
        (content.end, content.trailers) = (Some(end), trailers);
        Some(content)
    }

    /// The number of chunks that all readers have read.
    fn read(&self) -> Option<usize> {
        let places = std::iter::once(&self.first).chain(&self.others);
        places.filter(|place| place.taken).map(|place| place.next).min()
    }
}

impl Flight {
    pub(crate) fn new(key: Option<CacheKey>, now: Instant) -> Self {
        let (first, others, free) = (Place::default(), Vec::new(), Vec::new());
        let state = State { phase: Phase::Calling, first, others, free, led: false, waits_since: Some(now) };
        Self { key, state: Mutex::new(state), source: Mutex::new(None) }
    }

    /// Nobody else finds it.
    pub(crate) fn alone(now: Instant) -> Self {
        Self::new(None, now)
    }

    pub(crate) fn key(&self) -> Option<&CacheKey> {
        self.key.as_ref()
    }

    /// Whether the origin has been silent for longer than `patience` before its response, or for long within it: who
    /// comes now would only wait along.
    pub(crate) fn hangs(&self, now: Instant, patience: Duration) -> bool {
        let state = self.lock();
        let limit = match &state.phase {
            Phase::Calling => patience,
            Phase::Body(Content { end: None, .. }) => STALLED.min(patience),
            Phase::Body(_) | Phase::Released(_) => return false,
        };
        state.waits_since.is_some_and(|since| now.saturating_duration_since(since) > limit)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody waits or reads.
    pub(crate) fn is_followed(&self) -> bool {
        self.lock().readers() > 0
    }

    /// Ends the waiting of all followers; nothing happens once there is a body.
    pub(crate) fn release(&self, release: Release) {
        self.change(|state| {
            if matches!(state.phase, Phase::Calling) {
                state.phase = Phase::Released(release);
            }
        });
    }

    /// The response is there, and has no content.
    pub(crate) fn begin(&self, head: Arc<Head>) {
        self.change(|state| {
            state.phase = Phase::Body(Content::new(head));
            state.waits_since = None;
        });
    }

    /// The response is there, and its content comes from `source`; the reader whose request fetches.
    pub(crate) fn begin_with_reader(self: Arc<Self>, head: Arc<Head>, source: Source) -> Reader {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        let mut place = 0;
        self.change(|state| {
            state.phase = Phase::Body(Content::new(head));
            state.waits_since = None;
            state.led = true;
            place = state.enter();
        });
        Reader { flight: self, place, leads: true, ended: false, patience: None }
    }

    /// The whole response at once, which is stored already.
    pub(crate) fn supply(&self, head: Arc<Head>, body: &StoredBody) {
        let (end, trailers) = (Some(End::Complete), body.trailers().cloned());
        let mut content = Content { end, trailers, kept: false, ..Content::new(head) };
        body.chunks().iter().cloned().for_each(|chunk| content.chunks.push(chunk));
        self.change(|state| state.phase = Phase::Body(content));
    }

    /// Adds a piece. Beyond `limit` octets nothing is kept for storing any more. Returns how many are held now.
    pub(crate) fn push(&self, data: Bytes, limit: usize) -> usize {
        let mut held = 0;
        self.change(|state| held = state.push(data, limit));
        held
    }

    /// The end of the content, and with what limit its last piece is added, if it comes with it. What was kept comes
    /// back, to be stored.
    pub(crate) fn complete(
        &self,
        last: Option<(Bytes, usize)>,
        trailers: Option<HeaderMap>,
    ) -> Option<StoredBody> {
        let mut stored = None;
        self.change(|state| {
            let Some(content) = state.end(End::Complete, last, trailers) else { return };
            if content.kept {
                let bytes = content.bytes as u64;
                stored = Some(StoredBody::copied(content.chunks.iter(), bytes, content.trailers.clone()));
            }
        });
        stored
    }

    /// The content ends, and is not what it was said to be.
    pub(crate) fn end_wrong(&self, last: Option<(Bytes, usize)>, trailers: Option<HeaderMap>) {
        self.change(|state| {
            state.end(End::Wrong, last, trailers);
        });
    }

    /// The content ends too early: readers see an error.
    pub(crate) fn fail(&self, error: Option<BoxError>) {
        self.change(|state| match &mut state.phase {
            Phase::Body(content) if content.end.is_none() => {
                content.end = Some(End::Failed);
                content.error = error;
            }
            Phase::Calling => state.phase = Phase::Released(Release::Failed),
            Phase::Body(_) | Phase::Released(_) => {}
        });
    }

    /// Changes the state, and wakes everybody afterwards.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let first = state.first.waker.take();
        let mut others = Vec::new();
        if !state.others.is_empty() {
            others.extend(state.others.iter_mut().filter_map(|place| place.waker.take()));
        }
        drop(state);
        if let Some(first) = first {
            first.wake();
        }
        others.into_iter().for_each(Waker::wake);
    }

    /// Asks the origin's body for more, in the name of all; whether there may be something new. Who asks is awake, and
    /// has noted its waker at `place` all the same, for what comes later.
    fn fetch(self: &Arc<Self>, place_of_asker: usize) -> bool {
        let mut place = match self.source.try_lock() {
            Ok(source) => source,
            Err(TryLockError::Poisoned(poisoned)) => {
                // It panicked, and what it would say now is not to be believed: dropped, it ends for all.
                let source = poisoned.into_inner().take();
                drop(source);
                return true;
            }
            // Somebody does so at this moment, and wakes everybody when there is something.
            Err(TryLockError::WouldBlock) => return false,
        };
        let Some(source) = &mut *place else { return false };
        // Whoever asked last may never ask again: what arrives wakes all.
        let waker = Waker::from(Arc::clone(self));
        let Poll::Ready(frame) = source.body.as_mut().poll_frame(&mut Context::from_waker(&waker)) else {
            self.lock().waits_since.get_or_insert_with(cache::now);
            return false;
        };
        let own = self.lock().place(place_of_asker).waker.take();
        drop(own);
        let (last, trailers) = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                // Who sends the body on may never ask for what comes after the last frame.
                Ok(data) if source.body.is_end_stream() => (Some(data), None),
                Ok(data) => {
                    source.recorder.data(data);
                    return true;
                }
                Err(frame) => (None, frame.into_trailers().ok()),
            },
            Some(Err(error)) => {
                if let Some(source) = place.take() {
                    // Whoever takes the place of this one must not find it again.
                    source.recorder.close();
                    self.fail(Some(error));
                }
                return true;
            }
            None => (None, None),
        };
        if let Some(source) = place.take() {
            drop(place);
            source.recorder.finish(last, trailers);
        }
        true
    }
}

impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        // Something comes, though those who read may take their time to look.
        self.change(|state| state.waits_since = None);
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("readers", &self.lock().readers()).finish()
    }
}

/// A client that reads slowly must not make others lose the thread over a few pieces.
const MIN_WINDOW: usize = 1 << 20;

/// A place among those who wait for a flight, and then read its content.
#[derive(Debug)]
pub(crate) struct Reader {
    flight: Arc<Flight>,
    place: usize,
    /// The one whose request fetches: beyond what is kept, its pace is everybody's.
    leads: bool,
    ended: bool,
    /// How long it still waits for the one whose pace counts.
    patience: Option<Pin<Box<Sleep>>>,
}

/// A client that takes nothing for so long is not slow but gone, and keeps nobody else from reading; and an origin that
/// sends nothing for so long within a response is not waited for along with others.
const STALLED: Duration = Duration::from_secs(10);

impl Reader {
    /// One that follows.
    pub(crate) fn new(flight: Arc<Flight>) -> Self {
        let place = flight.lock().enter();
        Self { flight, place, leads: false, ended: false, patience: None }
    }

    /// The head of the response, or why there is none to share.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Head>, Release>> {
        let mut state = self.flight.lock();
        match &state.phase {
            Phase::Calling => {}
            Phase::Released(release) => return Poll::Ready(Err(*release)),
            Phase::Body(Content { end: Some(End::Failed | End::Wrong), .. }) => {
                return Poll::Ready(Err(Release::Failed));
            }
            // Some of it is gone already: this one comes too late.
            Phase::Body(content) if content.gone > 0 => return Poll::Ready(Err(Release::NotShared)),
            Phase::Body(content) => return Poll::Ready(Ok(Arc::clone(&content.head))),
        }
        state.place(self.place).waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next piece of the content.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let waits = match self.next(cx) {
                Next::Data { data, last } => {
                    self.patience = None;
                    self.ended = last;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Next::End(trailers) => {
                    self.ended = true;
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Next::Error(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Next::Nothing { waits } => waits,
            };
            if waits {
                let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
                std::task::ready!(patience.as_mut().poll(cx));
                self.flight.lock().led = false;
            } else if !self.flight.fetch(self.place) {
                return Poll::Pending;
            }
        }
    }

    /// What is there for this one; its waker is noted where there is nothing.
    fn next(&self, cx: &mut Context<'_>) -> Next {
        let mut guard = self.flight.lock();
        let State { phase, first, others, led, .. } = &mut *guard;
        let place = match self.place.checked_sub(1) {
            None => first,
            Some(other) => &mut others[other],
        };
        let Phase::Body(content) = phase else { return Next::Error(Interrupted.into()) };
        let Some(index) = place.next.checked_sub(content.gone) else {
            return Next::Error(Interrupted.into());
        };
        if let Some(chunk) = content.chunks.get(index) {
            place.next += 1;
            let last = content.is_over(self.leads) && index + 1 == content.chunks.len();
            return Next::Data { data: chunk.clone(), last };
        }
        match content.end {
            None => {
                place.waker = Some(cx.waker().clone());
                Next::Nothing { waits: !content.kept && *led && !self.leads }
            }
            Some(End::Complete) => Next::End(content.trailers.clone()),
            Some(End::Wrong) if self.leads => Next::End(content.trailers.take()),
            Some(End::Failed | End::Wrong) => {
                let error = content.error.take_if(|_| self.leads);
                Next::Error(error.unwrap_or_else(|| Interrupted.into()))
            }
        }
    }

    /// Whether there is nothing more to come.
    pub(crate) fn is_ended(&self) -> bool {
        if self.ended {
            return true;
        }
        let mut state = self.flight.lock();
        let next = state.place(self.place).next;
        let Phase::Body(content) = &state.phase else { return false };
        content.is_over(self.leads) && next == content.gone + content.chunks.len()
    }
}

enum Next {
    /// A piece; whether nothing comes after it.
    Data {
        data: Bytes,
        last: bool,
    },
    End(Option<HeaderMap>),
    Error(BoxError),
    /// Nothing yet; whether it is for the one that leads to fetch more.
    Nothing {
        waits: bool,
    },
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        state.leave(self.place);
        state.led &= !self.leads;
        let over = matches!(state.phase, Phase::Body(Content { end: Some(_), .. }));
        let nobody = state.readers() == 0 && matches!(state.phase, Phase::Body(_));
        drop(state);
        if over {
            // There is nothing left to fetch, nor to wait for.
            return;
        }
        if nobody {
            // Nobody is left to fetch for: what is not complete is forgotten.
            let source = self.flight.source.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(source) = source {
                source.recorder.abandon();
            }
        } else {
            // It may have been the one that others relied on.
            self.flight.change(|_| ());
        }
    }
}

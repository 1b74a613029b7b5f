//! Responses that are being fetched: one request fetches, others wait for the head and then read along.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::error::{BoxError, Interrupted};
use crate::key::CacheKey;
use crate::store::{Head, StoredBody};

/// One response on its way.
pub(crate) struct Flight {
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// One place for each follower that is still there.
    followers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

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
    /// The fetching request failed or was cancelled: one of the followers takes its place.
    Failed,
}

struct Content {
    head: Arc<Head>,
    chunks: VecDeque<Bytes>,
    /// The number of chunks that have been let go of.
    gone: usize,
    bytes: usize,
    trailers: Option<HeaderMap>,
    end: Option<End>,
    /// All of it is kept, to be stored; otherwise only what followers have yet to read, within limits.
    kept: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
}

impl Flight {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { phase: Phase::Calling, followers: Vec::new(), free: Vec::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody waits or reads along.
    pub(crate) fn is_followed(&self) -> bool {
        let state = self.lock();
        state.followers.len() > state.free.len()
    }

    /// Ends the waiting of all followers; nothing happens once there is a body.
    pub(crate) fn release(&self, release: Release) {
        self.change(|state| {
            if matches!(state.phase, Phase::Calling) {
                state.phase = Phase::Released(release);
            }
        });
    }

    pub(crate) fn begin(&self, head: Arc<Head>) {
        self.change(|state| {
            state.phase = Phase::Body(Content {
                head,
                chunks: VecDeque::new(),
                gone: 0,
                bytes: 0,
                trailers: None,
                end: None,
                kept: true,
            });
        });
    }

    /// The whole response at once, which is stored already.
    pub(crate) fn supply(&self, head: Arc<Head>, body: &StoredBody) {
        self.change(|state| {
            state.phase = Phase::Body(Content {
                head,
                chunks: body.chunks.iter().cloned().collect(),
                gone: 0,
                bytes: 0,
                trailers: body.trailers.clone(),
                end: Some(End::Complete),
                kept: false,
            });
        });
    }

    /// Adds a piece. Beyond `limit` octets nothing is kept for storing any more: `false`.
    pub(crate) fn push(&self, data: &Bytes, limit: usize) -> bool {
        let mut kept = false;
        self.change(|state| {
            let followed = state.followers.len() > state.free.len();
            let Phase::Body(content) = &mut state.phase else { return };
            content.kept &= content.bytes.saturating_add(data.len()) <= limit;
            kept = content.kept;
            if kept || followed {
                content.bytes += data.len();
                content.chunks.push_back(data.clone());
            } else {
                content.gone += 1;
            }
            // Who reads along more slowly than this is told that it has lost the thread.
            while !kept && content.bytes > limit {
                let Some(lost) = content.chunks.pop_front() else { break };
                content.bytes -= lost.len();
                content.gone += 1;
            }
        });
        kept
    }

    /// The end of the content. What was kept comes back, to be stored.
    pub(crate) fn complete(&self, trailers: Option<HeaderMap>) -> Option<StoredBody> {
        let mut stored = None;
        self.change(|state| {
            let Phase::Body(content) = &mut state.phase else { return };
            content.trailers = trailers;
            content.end = Some(End::Complete);
            if content.kept {
                let bytes = content.bytes as u64;
                stored = Some(StoredBody::copied(content.chunks.iter(), bytes, content.trailers.clone()));
            }
        });
        stored
    }

    /// The content ends too early: followers see an error.
    pub(crate) fn fail(&self) {
        self.change(|state| match &mut state.phase {
            Phase::Body(content) => content.end = content.end.or(Some(End::Failed)),
            Phase::Calling => state.phase = Phase::Released(Release::Failed),
            Phase::Released(_) => {}
        });
    }

    /// Changes the state, and wakes everybody afterwards.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let wakers: Vec<_> = state.followers.iter_mut().filter_map(Option::take).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("followed", &self.is_followed()).finish()
    }
}

/// A place among those who wait for a flight, and then read its content.
#[derive(Debug)]
pub(crate) struct Follower {
    flight: Arc<Flight>,
    place: usize,
    next: usize,
    ended: bool,
}

impl Follower {
    fn new(flight: Arc<Flight>) -> Self {
        let mut state = flight.lock();
        let place = state.free.pop().unwrap_or_else(|| {
            state.followers.push(None);
            state.followers.len() - 1
        });
        drop(state);
        Self { flight, place, next: 0, ended: false }
    }

    /// The head of the response, or why there is none to share.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Head>, Release>> {
        let mut state = self.flight.lock();
        match &state.phase {
            Phase::Calling => {}
            Phase::Released(release) => return Poll::Ready(Err(*release)),
            // Some of it is gone already: this one comes too late.
            Phase::Body(content) if content.gone > 0 || content.end == Some(End::Failed) => {
                return Poll::Ready(Err(Release::NotShared));
            }
            Phase::Body(content) => return Poll::Ready(Ok(Arc::clone(&content.head))),
        }
        state.followers[self.place] = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next piece of the content.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut state = self.flight.lock();
        let Phase::Body(content) = &state.phase else {
            drop(state);
            return self.interrupted();
        };
        let Some(index) = self.next.checked_sub(content.gone) else {
            drop(state);
            return self.interrupted();
        };
        if let Some(chunk) = content.chunks.get(index) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        match content.end {
            None => {
                state.followers[self.place] = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(End::Complete) => {
                self.ended = true;
                Poll::Ready(content.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(End::Failed) => {
                drop(state);
                self.interrupted()
            }
        }
    }

    fn interrupted(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(Interrupted.into())))
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        state.followers[self.place] = None;
        state.free.push(self.place);
    }
}

/// All flights that others may join.
pub(crate) struct Flights {
    shards: [Mutex<HashMap<CacheKey, Arc<Flight>>>; SHARDS],
}

const SHARDS: usize = 16;

/// The part a request takes in fetching.
pub(crate) enum Part {
    Lead(Arc<Flight>),
    Follow(Follower),
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    fn shard(&self, key: &CacheKey) -> MutexGuard<'_, HashMap<CacheKey, Arc<Flight>>> {
        // The top bits: the low ones choose the slot in the map.
        let shard = (key.hash64() >> 60) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the flight of this key, or begins it.
    pub(crate) fn join(&self, key: &CacheKey) -> Part {
        let mut flights = self.shard(key);
        if let Some(flight) = flights.get(key) {
            return Part::Follow(Follower::new(Arc::clone(flight)));
        }
        let flight = Arc::new(Flight::new());
        flights.insert(key.clone(), Arc::clone(&flight));
        Part::Lead(flight)
    }

    /// Nobody joins this flight any more.
    pub(crate) fn close(&self, key: &CacheKey, flight: &Arc<Flight>) {
        let mut flights = self.shard(key);
        if flights.get(key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            flights.remove(key);
        }
    }
}

/// Remembers, for a short time, keys whose responses cannot be shared: waiting for each other would only make their
/// requests slow. A collision or a lost note costs a wait or a second fetch, nothing else.
pub(crate) struct Unshared {
    slots: Box<[AtomicU64]>,
}

impl Unshared {
    const SLOTS: usize = 4096;
    /// In seconds. Short enough that a handler that changes its mind is soon collapsed again.
    const MEMORY: u64 = 60;

    pub(crate) fn new() -> Self {
        Self { slots: (0..Self::SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }

    fn slot(&self, key: &CacheKey) -> (&AtomicU64, u64) {
        (&self.slots[key.hash64() as usize % Self::SLOTS], key.hash64() & !0xffff_ffff)
    }

    /// `now` in seconds since the cache was made.
    pub(crate) fn remember(&self, key: &CacheKey, now: u64) {
        let (slot, mark) = self.slot(key);
        slot.store(mark | (now + Self::MEMORY) & 0xffff_ffff, Ordering::Relaxed);
    }

    pub(crate) fn forget(&self, key: &CacheKey) {
        let (slot, mark) = self.slot(key);
        if slot.load(Ordering::Relaxed) & !0xffff_ffff == mark {
            slot.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn contains(&self, key: &CacheKey, now: u64) -> bool {
        let (slot, mark) = self.slot(key);
        let noted = slot.load(Ordering::Relaxed);
        noted & !0xffff_ffff == mark && noted & 0xffff_ffff > now
    }
}

//! What a breaker does, in order, for those who hear of it once its lock is free.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::policy::State;

/// What a breaker does; see [`Breaker::on_event`](crate::Breaker::on_event).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// It has changed its state; once per transition, and never from a state to itself.
    Transition {
        /// The state it left.
        from: State,
        /// The state it is in.
        to: State,
    },
    /// In [`State::MetricsOnly`], a rule would have opened it; once until the rates are below their thresholds again.
    WouldOpen,
}

type Handler = Arc<dyn Fn(Event) + Send + Sync>;

/// A place among the handlers of a breaker. Dropping it changes nothing: a handler stays until it is removed.
pub struct Subscription {
    events: Weak<Events>,
    id: u64,
}

impl Subscription {
    /// Takes the handler away. An event that is just being delivered may still reach it.
    pub fn remove(self) {
        if let Some(events) = self.events.upgrade() {
            let mut inner = events.lock();
            let place = inner.handlers.iter().position(|(id, _)| *id == self.id);
            let removed = place.map(|place| inner.handlers.remove(place));
            // What the handler owns may use the breaker when it goes.
            drop(inner);
            drop(removed);
        }
    }

    /// Puts another handler in its place; there is no moment with both or without any.
    pub fn replace(&self, handler: impl Fn(Event) + Send + Sync + 'static) {
        if let Some(events) = self.events.upgrade() {
            let mut new: Handler = Arc::new(handler);
            if let Some((_, old)) = events.lock().handlers.iter_mut().find(|(id, _)| *id == self.id) {
                std::mem::swap(old, &mut new);
            }
            // The old one goes without the lock: what it owns may use the breaker.
            drop(new);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Default)]
pub(crate) struct Events {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    handlers: Vec<(u64, Handler)>,
    next: u64,
    waiting: VecDeque<Event>,
    /// Somebody delivers; whoever adds an event meanwhile leaves it to them, so that all hear the same order.
    delivering: bool,
}

impl Events {
    pub(crate) fn add(self: &Arc<Self>, handler: impl Fn(Event) + Send + Sync + 'static) -> Subscription {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        inner.handlers.push((id, Arc::new(handler)));
        Subscription { events: Arc::downgrade(self), id }
    }

    pub(crate) fn push(&self, event: Event) {
        self.lock().waiting.push_back(event);
    }

    /// Tells `first` and then the handlers, without any lock: they may use the breaker. What they do to it is told after
    /// they return.
    pub(crate) fn deliver(&self, first: impl Fn(Event)) {
        let mut inner = self.lock();
        if inner.delivering {
            return;
        }
        while let Some(event) = inner.waiting.pop_front() {
            inner.delivering = true;
            let handlers: Vec<_> = inner.handlers.iter().map(|(_, handler)| Arc::clone(handler)).collect();
            drop(inner);
            // One that panics harms neither the call that led here nor the others. The panic hook has told of it.
            let _ = catch_unwind(AssertUnwindSafe(|| first(event)));
            for handler in handlers {
                let _ = catch_unwind(AssertUnwindSafe(|| handler(event)));
            }
            inner = self.lock();
        }
        inner.delivering = false;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

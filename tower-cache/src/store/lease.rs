//! The right to fetch, where several processes share a store.

use std::fmt;

use super::StoreFuture;

/// The right to fetch something from the origin, or leave to do so without. Dropped, it is given back, so that others
/// look up what there is by then.
#[must_use]
pub struct Lease {
    waited: bool,
    /// Somebody else has it.
    waiting: Option<Box<StoreFuture<Self>>>,
    held: Option<Box<dyn Held>>,
}

/// What stands behind a [`Lease`]; dropping it gives the right back.
pub trait Held: Send + Sync + 'static {
    /// The response cannot be shared: for a short time nobody is to wait for the next one.
    fn unshared(&mut self);
}

impl Lease {
    /// None is needed.
    pub const fn none() -> Self {
        Self { waited: false, waiting: None, held: None }
    }

    /// The right to fetch.
    pub fn held(held: impl Held) -> Self {
        Self { held: Some(Box::new(held)), ..Self::none() }
    }

    /// Somebody else has the right: this is to be waited for, until they are done or have taken too long. It is their
    /// time and not the store's: it may take longer than [`store_timeout`](crate::CacheBuilder::store_timeout), up to
    /// 30 s. What they fetched may be stored afterwards, and is looked up before the origin is asked.
    pub fn waiting(lease: StoreFuture<Self>) -> Self {
        Self { waiting: Some(Box::new(lease)), ..Self::none() }
    }

    /// There was somebody to wait for: what they fetched may be stored by now, and is looked up before the origin is
    /// asked.
    pub const fn after_waiting(mut self) -> Self {
        self.waited = true;
        self
    }

    /// What is to be waited for, if it is.
    pub(crate) fn or_wait(mut self) -> Result<Self, StoreFuture<Self>> {
        let Some(waiting) = self.waiting.take() else { return Ok(self) };
        Err(StoreFuture::new(async { Ok(waiting.await?.after_waiting()) }))
    }

    pub(crate) const fn has_waited(&self) -> bool {
        self.waited
    }

    pub(crate) fn unshared(&mut self) {
        if let Some(held) = &mut self.held {
            held.unshared();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("waited", &self.waited).field("held", &self.held.is_some()).finish()
    }
}

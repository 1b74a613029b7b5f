//! A limit on the calls under way: one slow upstream cannot take all there is.

mod http;
mod layer;
mod metrics;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ConfigError, Error, RejectReason, Rejected};
use crate::name::Name;
use crate::policy::Limits;

pub use self::http::{BulkheadBody, HttpBulkheadLayer, HttpBulkheadService, HttpResponseFuture};
pub use self::layer::{BulkheadLayer, BulkheadService, ResponseFuture};
pub(crate) use self::metrics::Metrics;

/// A number of calls that may be under way at once, and a short queue before it. Clones are cheap and are the same
/// bulkhead.
///
/// ```
/// # async fn query() -> Result<u32, std::io::Error> { Ok(7) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use tower_breaker::Bulkhead;
///
/// let bulkhead = Bulkhead::builder("reports").limit(8).queue(4).max_wait(Duration::from_millis(50)).build()?;
/// let rows = bulkhead.call(query()).await?;
/// # assert_eq!(rows, 7);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

struct Shared {
    name: Name,
    limits: Limits,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// Settings of a [`Bulkhead`]; made by [`Bulkhead::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BulkheadBuilder {
    name: Cow<'static, str>,
    limits: Limits,
}

impl BulkheadBuilder {
    /// Calls under way at once, 1 to 16,777,216. Default 64: what the limit protects is the caller, whose tasks and
    /// memory a slow upstream would otherwise take without end.
    pub fn limit(mut self, calls: usize) -> Self {
        self.limits.limit = calls;
        self
    }

    /// Calls that may wait for a slot, first come first served. Default 0: a full bulkhead answers at once.
    pub fn queue(mut self, calls: usize) -> Self {
        self.limits.queue = calls;
        self
    }

    /// How long a call waits in the queue at most. Default 100 ms: longer waits belong to a queue of their own.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.limits.max_wait = wait;
        self
    }

    /// What rejections say about when to come back. Default 1 s, the shortest that `Retry-After` can say.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.limits.retry_after = wait;
        self
    }

    /// Makes the bulkhead, empty.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the method whose value cannot work: a limit of zero, a queue nobody may wait in, an empty
    /// name.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        let limits = self.checked()?;
        Ok(Bulkhead::new(Name::from(&self.name), limits, Arc::default()))
    }

    pub(crate) fn checked(&self) -> Result<Limits, ConfigError> {
        if self.name.is_empty() {
            return Err(ConfigError::new("name", "it is empty"));
        }
        self.limits.check()
    }
}

impl Bulkhead {
    /// Starts the settings of a bulkhead. The name is the label of its metrics and part of its rejections: take it from
    /// a closed set, never from a request.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> BulkheadBuilder {
        let limits = Limits {
            limit: 64,
            queue: 0,
            max_wait: Duration::from_millis(100),
            retry_after: Duration::from_secs(1),
        };
        BulkheadBuilder { name: name.into(), limits }
    }

    /// `metrics` may be shared by many of one name.
    pub(crate) fn new(name: Name, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let slots = Arc::new(Semaphore::new(limits.limit));
        Self { shared: Arc::new(Shared { name, limits, slots, waiting: AtomicUsize::new(0), metrics }) }
    }

    /// The name given to the builder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How many calls may be under way.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.limits.limit
    }

    /// How many calls are under way.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.limit().saturating_sub(self.shared.slots.available_permits())
    }

    /// How many calls wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// A slot, if one is free and nobody waits for it. It is free again when the permit is dropped.
    ///
    /// # Errors
    ///
    /// [`Rejected`] with [`RejectReason::Full`].
    pub fn try_acquire(&self) -> Result<BulkheadPermit, Rejected> {
        self.take().ok_or_else(|| self.full(false))
    }

    /// A slot, after waiting in the queue if there is room in it. Dropping the future leaves the queue.
    ///
    /// # Errors
    ///
    /// [`Rejected`] with [`RejectReason::Full`], when the queue is full (at once) or the wait was in vain.
    pub async fn acquire(&self) -> Result<BulkheadPermit, Rejected> {
        match self.take() {
            Some(permit) => Ok(permit),
            None => self.queue()?.await,
        }
    }

    /// Guards a future; a slot is held until it ends or is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] when there is no slot; else the future's own error as [`Error::Inner`].
    pub async fn call<F, T, E>(&self, future: F) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let _permit = self.acquire().await.map_err(Error::Rejected)?;
        future.await.map_err(Error::Inner)
    }

    /// Free slots are not handed past those who wait: a semaphore gives a returned slot to the first of them.
    pub(crate) fn take(&self) -> Option<BulkheadPermit> {
        self.shared.metrics.resolve(&self.shared.name);
        let slot = self.shared.slots.clone().try_acquire_owned().ok()?;
        Some(self.permit(slot))
    }

    /// A place in the queue, and what waits in it.
    pub(crate) fn queue(
        &self,
    ) -> Result<impl Future<Output = Result<BulkheadPermit, Rejected>> + Send + 'static, Rejected> {
        let limits = self.shared.limits;
        let taken =
            self.shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| limits.queued(n));
        if taken.is_err() {
            return Err(self.full(false));
        }
        let place = Place { bulkhead: self.clone() };
        self.shared.metrics.waiting(1.0);
        let slot = self.shared.slots.clone().acquire_owned();
        Ok(async move {
            // The semaphore is never closed; were it, that would be no slot either.
            match tokio::time::timeout(limits.max_wait, slot).await {
                Ok(Ok(slot)) => Ok(place.bulkhead.permit(slot)),
                Ok(Err(_)) | Err(_) => Err(place.bulkhead.full(true)),
            }
        })
    }

    fn permit(&self, slot: OwnedSemaphorePermit) -> BulkheadPermit {
        self.shared.metrics.in_use(1.0);
        BulkheadPermit { metrics: self.shared.metrics.clone(), _slot: slot }
    }

    fn full(&self, waited: bool) -> Rejected {
        self.shared.metrics.rejected(waited);
        Rejected::new(self.shared.name.clone(), RejectReason::Full, Some(self.shared.limits.retry_after))
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("name", &self.shared.name)
            .field("limit", &self.limit())
            .field("in_use", &self.in_use())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// A place in the queue; left when dropped.
struct Place {
    bulkhead: Bulkhead,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bulkhead.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        self.bulkhead.shared.metrics.waiting(-1.0);
    }
}

/// One slot of a [`Bulkhead`]; dropping it gives the slot back.
#[must_use = "a permit that is dropped at once guards nothing"]
pub struct BulkheadPermit {
    metrics: Arc<Metrics>,
    _slot: OwnedSemaphorePermit,
}

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.metrics.in_use(-1.0);
    }
}

impl fmt::Debug for BulkheadPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPermit").finish_non_exhaustive()
    }
}

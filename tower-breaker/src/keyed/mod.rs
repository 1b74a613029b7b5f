//! One breaker per host, route, endpoint or whatever else tells upstreams apart.

mod builder;
mod ejection;
mod http;
mod key;
mod layer;
mod metrics;
mod shelf;
mod way;

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::ejection::Ejection;
use self::metrics::Metrics;
use self::shelf::{Entries, Entry, Found};
use crate::breaker::{Breaker, Template, now};
use crate::builder::BreakerBuilder;
use crate::bulkhead::{self, Bulkhead, BulkheadPermit};
use crate::classify::{Classify, ErrorIsFailure};
use crate::error::{Error, Rejected};
use crate::name::Name;
use crate::permit::Permit;
use crate::policy::{Leaves, Limits};

pub use self::builder::KeyedBreakerBuilder;
pub use self::http::{HttpKeyedBreakerLayer, HttpKeyedBreakerService, HttpKeyedResponseFuture};
pub use self::key::host;
pub use self::layer::{ByKey, KeyedBreakerLayer, KeyedBreakerService, KeyedResponseFuture};

/// A family of breakers with the same settings, one per key. Clones are cheap and are the same family.
///
/// The number of keys is bounded; who is forgotten for a new one is never a key whose circuit is open. A key for which
/// there is no room uses a breaker that all such keys share. Metrics carry the family's name, not the keys.
///
/// ```
/// # async fn fetch(_: &str) -> Result<u32, std::io::Error> { Ok(7) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_breaker::{Breaker, KeyedBreaker};
///
/// let hosts: KeyedBreaker<String> = KeyedBreaker::builder(Breaker::builder("partners")).build()?;
/// let answer = hosts.call("a.example".to_owned(), fetch("a.example")).await?;
/// # assert_eq!(answer, 7);
/// # Ok(())
/// # }
/// ```
pub struct KeyedBreaker<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    name: Name,
    template: Template,
    bulkhead: Option<(Limits, Arc<bulkhead::Metrics>)>,
    entries: Entries<K>,
    /// `None` when all may be shut out at once.
    ejection: Option<Ejection>,
    overflow: Arc<Entry>,
    started: Instant,
    metrics: Metrics,
}

/// What a call got on its way in: permits that are untold when the breaker's refusal did not count.
pub(crate) struct Let {
    pub(crate) permit: Option<Permit>,
    pub(crate) slot: Option<BulkheadPermit>,
}

impl<K> Clone for KeyedBreaker<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl KeyedBreaker<()> {
    /// Starts the settings of a family; `each` are those of its breakers, and the name in it is the family's.
    pub fn builder(each: BreakerBuilder) -> KeyedBreakerBuilder {
        KeyedBreakerBuilder::new(each)
    }
}

impl<K: Hash + Eq + Clone> KeyedBreaker<K> {
    fn new(
        name: Name,
        template: Template,
        bulkhead: Option<Limits>,
        entries: Entries<K>,
        ejection: Option<Ejection>,
    ) -> Self {
        let bulkhead = bulkhead.map(|limits| (limits, Arc::default()));
        let overflow = Arc::new(entry(&name, &template, bulkhead.as_ref()));
        let (started, metrics) = (now(), Metrics::default());
        let shared = Shared { name, template, bulkhead, entries, ejection, overflow, started, metrics };
        Self { shared: Arc::new(shared) }
    }

    /// The breaker of this key, which becomes known if there is room; else the one of all that find none.
    #[must_use]
    pub fn get(&self, key: K) -> Breaker {
        self.entry(Some(key)).breaker.clone()
    }

    /// The breaker of this key, if it is known.
    #[must_use]
    pub fn find(&self, key: &K) -> Option<Breaker> {
        let entry = self.shared.entries.get(key, self.millis())?;
        Some(entry.breaker.clone())
    }

    /// The bulkhead of this key, if it is known and there are any.
    #[must_use]
    pub fn find_bulkhead(&self, key: &K) -> Option<Bulkhead> {
        self.shared.entries.get(key, self.millis())?.bulkhead.clone()
    }

    /// The breaker of the keys that found no room, and of calls without a key.
    #[must_use]
    pub fn overflow(&self) -> &Breaker {
        &self.shared.overflow.breaker
    }

    /// Looks at every key that is known, in no order.
    pub fn for_each(&self, mut look: impl FnMut(&K, &Breaker)) {
        self.shared.entries.for_each(|key, entry| look(key, &entry.breaker));
    }

    /// Forgets the keys that have been idle for long enough; how many. Room is made when it is needed, so nobody has to
    /// call this; it gives memory back after a rush.
    #[allow(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn expire(&self) -> usize {
        let gone = self.shared.entries.expire(self.millis());
        self.shared.metrics.left(Leaves::Idle, gone);
        self.shared.metrics.keys(self.len());
        gone
    }

    /// Guards a future by the breaker (and bulkhead) of a key: `Ok` is a success, `Err` a failure.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] when the call may not be made; else the future's own error as [`Error::Inner`].
    pub async fn call<F, T, E>(&self, key: K, future: F) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.call_with(key, ErrorIsFailure, future).await
    }

    /// [`call`](Self::call) with a say in what is a failure.
    ///
    /// # Errors
    ///
    /// As those of [`call`](Self::call).
    pub async fn call_with<C, F, T, E>(&self, key: K, classify: C, future: F) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
        F: Future<Output = Result<T, E>>,
    {
        let entry = self.entry(Some(key));
        let slot = match &entry.bulkhead {
            Some(bulkhead) => Some(bulkhead.acquire().await.map_err(Error::Rejected)?),
            None => None,
        };
        let Let { permit, slot } = self.admit(&entry, slot).map_err(Error::Rejected)?;
        let result = future.await;
        drop(slot);
        if let Some(permit) = permit {
            permit.record(classify.classify(result.as_ref()));
        }
        result.map_err(Error::Inner)
    }

    /// The entry of a key; a call without one uses the shared bucket.
    pub(crate) fn entry(&self, key: Option<K>) -> Arc<Entry> {
        let shared = &*self.shared;
        shared.metrics.resolve(&shared.name);
        let now = self.millis();
        let Some(key) = key else { return self.shared_bucket() };
        if let Some(entry) = shared.entries.get(&key, now) {
            return entry;
        }
        let make = || entry(&shared.name, &shared.template, shared.bulkhead.as_ref());
        let found = shared.entries.get_or_make(key, now, make, |reason| shared.metrics.left(reason, 1));
        shared.metrics.keys(self.len());
        match found {
            Found::Entry(entry) => entry,
            Found::Overflow => self.shared_bucket(),
        }
    }

    fn shared_bucket(&self) -> Arc<Entry> {
        self.shared.metrics.overflow();
        Arc::clone(&self.shared.overflow)
    }

    /// Decides a call that has its slot.
    pub(crate) fn admit(&self, entry: &Arc<Entry>, slot: Option<BulkheadPermit>) -> Result<Let, Rejected> {
        if let Some(ejection) = &self.shared.ejection
            && entry.breaker.refusal().is_some()
            && !ejection.counts(entry, self.len(), self.millis())
        {
            self.shared.metrics.panicked();
            return Ok(Let { permit: None, slot });
        }
        let permit = Some(entry.breaker.try_acquire()?);
        Ok(Let { permit, slot })
    }
}

impl<K> KeyedBreaker<K> {
    /// The name given to the breaker's builder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }
}

impl<K: Hash + Eq + Clone> KeyedBreaker<K> {
    /// How many keys are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.entries.known()
    }

    /// Whether no key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn millis(&self) -> u64 {
        let passed: Duration = now().saturating_duration_since(self.shared.started);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }
}

fn entry(name: &Name, template: &Template, bulkhead: Option<&(Limits, Arc<bulkhead::Metrics>)>) -> Entry {
    let bulkhead =
        bulkhead.map(|(limits, metrics)| Bulkhead::new(name.clone(), *limits, Arc::clone(metrics)));
    Entry::new(template.single(name.clone()), bulkhead)
}

impl<K> fmt::Debug for KeyedBreaker<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBreaker").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

use std::hash::Hash;
use std::time::Duration;

use super::KeyedBreaker;
use super::ejection::Ejection;
use super::shelf::Entries;
use crate::builder::BreakerBuilder;
use crate::bulkhead::BulkheadBuilder;
use crate::error::ConfigError;
use crate::policy::{Rate, Shelf};

/// Settings of a [`KeyedBreaker`]; made by [`KeyedBreaker::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct KeyedBreakerBuilder {
    each: BreakerBuilder,
    bulkhead: Option<BulkheadBuilder>,
    capacity: usize,
    idle: Duration,
    max_ejected: f64,
}

impl KeyedBreakerBuilder {
    pub(crate) fn new(each: BreakerBuilder) -> Self {
        let idle = Duration::from_secs(600);
        Self { each, bulkhead: None, capacity: 1024, idle, max_ejected: 1.0 }
    }

    /// How many keys are kept at most, 1 to 16,777,216; a key takes about a kibibyte. One that finds no room shares a
    /// bucket with all others that find none. Default 1024.
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// After how long without a call a key may be forgotten; longer than the longest open period, so that no open
    /// circuit is. Default 10 minutes, ten times the default of that.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// The share of the known keys whose refusals count at the same time, above 0 and at most 1; calls to further keys
    /// pass although their breakers refuse (and are not counted by these), for when that much fails at once, keeping
    /// off it is seldom the cure: Envoy's `max_ejection_percent`. One key always may be shut out. Default 1, no bound,
    /// for hosts that have nothing to do with each other; for the endpoints of one upstream, one half is a good value.
    pub fn max_ejected(mut self, share: f64) -> Self {
        self.max_ejected = share;
        self
    }

    /// A bulkhead for each key besides; its name is not used, that of the breaker is. Default: none.
    pub fn bulkhead(mut self, each: BulkheadBuilder) -> Self {
        self.bulkhead = Some(each);
        self
    }

    /// Makes the family, with no key known.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the method whose value cannot work: those of the breaker and the bulkhead, a capacity of
    /// zero, an idle time no longer than an open period, a share that is NaN or not in 0–100 %.
    pub fn build<K: Hash + Eq + Clone>(self) -> Result<KeyedBreaker<K>, ConfigError> {
        let template = self.each.template()?;
        let max_ejected = Rate::new("max_ejected", self.max_ejected)?;
        let policy = Shelf { capacity: self.capacity, idle: self.idle, max_ejected };
        let policy = policy.check(self.each.config()?.open.longest())?;
        let bulkhead = self.bulkhead.map(|each| each.checked()).transpose()?;
        let name = self.each.name();
        let ejection = (self.max_ejected < 1.0).then(|| Ejection::new(policy));
        Ok(KeyedBreaker::new(name, template, bulkhead, Entries::new(policy), ejection))
    }
}

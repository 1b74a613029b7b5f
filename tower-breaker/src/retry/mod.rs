//! One more attempt for what is safe to repeat: a layer, its policy, and the time of a single attempt.

use std::sync::{Arc, Mutex, PoisonError};

mod cause;
mod future;
mod kept;
mod layer;
mod metrics;
mod replay;
mod settings;
mod tape;
mod timeout;
mod tower;

pub use cause::{BoxedErrors, Cause, TypedErrors, unsent};
pub use future::RetryFuture;
pub use kept::RetriedBody;
pub use layer::{Retry, RetryLayer};
pub use replay::{DEFAULT_LIMIT, ReplayBody, ReplayError};
pub use settings::{HttpPolicy, HttpPolicyBuilder, SharedBudget};
pub use timeout::{
    AttemptTimeout, AttemptTimeoutFuture, AttemptTimeoutLayer, Deadline, TimedOut, TotalTimeoutLayer,
};
pub use tower::{TowerPolicy, Wait};

/// The attempts of one request, in its extensions: what a balancer below needs to take another endpoint each time.
#[derive(Debug, Clone)]
pub struct Attempt {
    number: u32,
    tried: Arc<Mutex<Vec<u64>>>,
}

impl Attempt {
    fn first() -> Self {
        Self { number: 1, tried: Arc::default() }
    }

    /// 1 for the first attempt.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether an earlier attempt, or this one, was marked with the endpoint `id`.
    #[must_use]
    pub fn has_tried(&self, id: u64) -> bool {
        self.tried().contains(&id)
    }

    /// Says that this attempt goes to the endpoint `id`.
    pub fn mark(&self, id: u64) {
        self.tried().push(id);
    }

    /// Every attempt so far was marked: there is a balancer below that takes another endpoint.
    fn balanced(&self) -> bool {
        self.tried().len() >= self.number as usize
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

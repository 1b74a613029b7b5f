//! Where background work runs: fills that outlive the request that began them, validation of responses that are
//! served stale meanwhile, and waiting for slow stores.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// Work to run in the background. It ends by itself within a bounded time.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs background work. Implemented for closures.
pub trait Spawn: Send + Sync + 'static {
    /// Runs the task; dropping it is allowed, and costs no more than what it would have stored.
    fn spawn(&self, task: Task);
}

impl<F: Fn(Task) + Send + Sync + 'static> Spawn for F {
    fn spawn(&self, task: Task) {
        self(task);
    }
}

/// The default: `tokio::spawn`; outside of a tokio runtime the task is dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokioSpawn;

impl Spawn for TokioSpawn {
    fn spawn(&self, task: Task) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(task);
        }
    }
}

impl fmt::Debug for dyn Spawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<fn>")
    }
}

//! A layer in the wrong place says so once, because nothing else tells why requests end as they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it was noticed; shared by the clones of a layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Misplaced(Arc<AtomicBool>);

impl Misplaced {
    pub(crate) fn was_noticed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says `message`, the first time.
    #[cold]
    pub(crate) fn notice(&self, message: &str) {
        if self.0.swap(true, Ordering::Relaxed) {
            return;
        }
        #[cfg(feature = "tracing")]
        tracing::error!(target: "tower_versioning", "{message}");
        #[cfg(not(feature = "tracing"))]
        eprintln!("tower-versioning: {message}");
    }
}

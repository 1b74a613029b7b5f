//! What became of the calls that another attempt might have helped.

use crate::policy::Refused;

/// Values of the label `outcome`; [`index`] gives the place of each.
#[cfg(feature = "metrics")]
const OUTCOMES: [&str; 9] = [
    "retried",
    "attempts",
    "budget",
    "deadline",
    "forbidden",
    "not_idempotent",
    "body",
    "rejected",
    "unready",
];

#[cfg(feature = "metrics")]
fn index(refused: Refused) -> usize {
    match refused {
        Refused::Attempts => 1,
        Refused::Budget => 2,
        Refused::Deadline => 3,
        Refused::Forbidden => 4,
        Refused::NotIdempotent => 5,
        Refused::Body => 6,
        Refused::Rejected => 7,
        Refused::Unready => 8,
    }
}

/// Handles are made when the first request comes, on its thread.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    #[cfg(feature = "metrics")]
    handles: std::sync::OnceLock<[Handle; 9]>,
}

#[cfg(feature = "metrics")]
struct Handle(metrics::Counter);

#[cfg(feature = "metrics")]
impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counter")
    }
}

impl Metrics {
    pub(super) fn resolve(&self) {
        #[cfg(feature = "metrics")]
        self.handles.get_or_init(|| {
            OUTCOMES
                .map(|outcome| Handle(metrics::counter!("tower_breaker_retries_total", "outcome" => outcome)))
        });
    }

    pub(super) fn retried(&self) {
        #[cfg(feature = "metrics")]
        self.count(0);
    }

    pub(super) fn refused(&self, refused: Refused) {
        #[cfg(feature = "metrics")]
        self.count(index(refused));
        #[cfg(not(feature = "metrics"))]
        let _ = refused;
    }

    #[cfg(feature = "metrics")]
    fn count(&self, index: usize) {
        if let Some(handles) = self.handles.get() {
            handles[index].0.increment(1);
        }
    }
}

//! What this crate counts.

use crate::policy::inbound::Origin;
#[cfg(feature = "metrics")]
use crate::policy::inbound::Replaced;

/// `tower_correlation_ids_total{origin, reason}`; the handles are made on the first request, so that a recorder installed
/// at start-up is found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    #[cfg(feature = "metrics")]
    handles: std::sync::Arc<std::sync::OnceLock<Handles>>,
}

#[cfg(feature = "metrics")]
struct Handles {
    accepted: metrics::Counter,
    generated: metrics::Counter,
    replaced: [metrics::Counter; 5],
}

#[cfg(feature = "metrics")]
impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handles")
    }
}

#[cfg(feature = "metrics")]
impl Handles {
    fn new() -> Self {
        const NAME: &str = "tower_correlation_ids_total";
        metrics::describe_counter!(NAME, "Requests by where their id comes from");
        let replaced = ["empty", "too_long", "alphabet", "duplicate", "untrusted"];
        Self {
            accepted: metrics::counter!(NAME, "origin" => "accepted", "reason" => ""),
            generated: metrics::counter!(NAME, "origin" => "generated", "reason" => ""),
            replaced: replaced
                .map(|reason| metrics::counter!(NAME, "origin" => "replaced", "reason" => reason)),
        }
    }
}

impl Metrics {
    #[cfg(feature = "metrics")]
    pub(crate) fn identified(&self, origin: Origin) {
        let handles = self.handles.get_or_init(Handles::new);
        let counter = match origin {
            Origin::Accepted => &handles.accepted,
            Origin::Generated => &handles.generated,
            Origin::Replaced(Replaced::Empty) => &handles.replaced[0],
            Origin::Replaced(Replaced::TooLong) => &handles.replaced[1],
            Origin::Replaced(Replaced::Alphabet) => &handles.replaced[2],
            Origin::Replaced(Replaced::Duplicate) => &handles.replaced[3],
            Origin::Replaced(Replaced::Untrusted) => &handles.replaced[4],
        };
        counter.increment(1);
    }

    #[cfg(not(feature = "metrics"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(crate) fn identified(&self, _: Origin) {}
}

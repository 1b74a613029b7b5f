//! What this crate counts.

use crate::policy::version::Version;
use crate::registry::Registry;

/// `tower_versioning_requests_total{version}`: one handle per registered version and one for the refused; made on the
/// first request, so that a recorder installed at start-up is found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    #[cfg(feature = "metrics")]
    handles: std::sync::Arc<std::sync::OnceLock<Handles>>,
}

#[cfg(feature = "metrics")]
struct Handles {
    served: Vec<metrics::Counter>,
    refused: metrics::Counter,
}

#[cfg(feature = "metrics")]
impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handles")
    }
}

impl Metrics {
    /// `None`: refused.
    #[cfg(feature = "metrics")]
    pub(crate) fn decided(&self, registry: &Registry, version: Option<Version>) {
        let handles = self.handles.get_or_init(|| {
            const NAME: &str = "tower_versioning_requests_total";
            metrics::describe_counter!(NAME, "Requests by resolved API version");
            let served = registry
                .versions()
                .map(|version| metrics::counter!(NAME, "version" => version.to_string()))
                .collect();
            Handles { served, refused: metrics::counter!(NAME, "version" => "unsupported") }
        });
        let index = version.and_then(|version| registry.versions().position(|known| known == version));
        index.and_then(|index| handles.served.get(index)).unwrap_or(&handles.refused).increment(1);
    }

    #[cfg(not(feature = "metrics"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(crate) fn decided(&self, _: &Registry, _: Option<Version>) {}
}

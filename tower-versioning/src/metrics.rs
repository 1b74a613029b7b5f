//! What this crate counts. Without the `metrics` feature nothing.

use crate::policy::decide::VersionErrorKind;
use crate::registry::Registered;

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// Served as the version of that index.
    Served {
        entry: usize,
        past_sunset: bool,
    },
    Refused(VersionErrorKind),
}

#[cfg(feature = "metrics")]
pub(crate) use with::Metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::Metrics;

#[cfg(feature = "metrics")]
mod with {
    use std::sync::OnceLock;

    use metrics::{Counter, Label, counter, describe_counter};

    use super::{Event, Registered, VersionErrorKind};

    const REQUESTS: &str = "tower_versioning_requests_total";
    const REJECTIONS: &str = "tower_versioning_rejections_total";
    const PAST_SUNSET: &str = "tower_versioning_past_sunset_total";
    const REASONS: [&str; 5] = ["malformed", "missing", "ambiguous", "unsupported", "gone"];

    /// Handles are made when the first request comes, on its thread, so that a recorder installed until then counts.
    #[derive(Default)]
    pub(crate) struct Metrics {
        handles: OnceLock<Handles>,
    }

    struct Handles {
        served: Vec<(Counter, Counter)>,
        unsupported: Counter,
        refused: [Counter; 5],
    }

    impl Metrics {
        #[inline]
        pub(crate) fn count(registered: &Registered, event: Event) {
            let handles = registered.metrics.handles.get_or_init(|| Handles::new(registered));
            match event {
                Event::Served { entry, past_sunset } => {
                    let (requests, late) = &handles.served[entry];
                    requests.increment(1);
                    if past_sunset {
                        late.increment(1);
                    }
                }
                Event::Refused(kind) => {
                    handles.unsupported.increment(1);
                    handles.refused[index(kind)].increment(1);
                }
            }
        }
    }

    fn index(kind: VersionErrorKind) -> usize {
        match kind {
            VersionErrorKind::Malformed => 0,
            VersionErrorKind::Missing => 1,
            VersionErrorKind::Ambiguous => 2,
            VersionErrorKind::Unsupported => 3,
            VersionErrorKind::Gone => 4,
        }
    }

    impl Handles {
        fn new(registered: &Registered) -> Self {
            describe_counter!(REQUESTS, "Requests by the API version they are served as");
            describe_counter!(REJECTIONS, "Requests refused because of their API version, by reason");
            describe_counter!(PAST_SUNSET, "Requests served by API versions whose sunset has passed");
            let labels = |name: &'static str, value: String| -> Vec<Label> {
                let api = registered.name.clone().map(|api| Label::new("api", api));
                api.into_iter().chain([Label::new(name, value)]).collect()
            };
            let served = registered.table.versions.list.iter().map(|version| {
                let requests = counter!(REQUESTS, labels("version", version.to_string()));
                (requests, counter!(PAST_SUNSET, labels("version", version.to_string())))
            });
            Self {
                served: served.collect(),
                unsupported: counter!(REQUESTS, labels("version", "unsupported".to_owned())),
                refused: REASONS.map(|reason| counter!(REJECTIONS, labels("reason", reason.to_owned()))),
            }
        }
    }

    impl std::fmt::Debug for Metrics {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Metrics")
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod without {
    use super::{Event, Registered};

    #[derive(Debug, Default)]
    pub(crate) struct Metrics {}

    impl Metrics {
        #[inline]
        pub(crate) fn count(registered: &Registered, event: Event) {
            // Read, so that what only metrics need is no dead code without them.
            let Registered { metrics: Self {}, name, .. } = registered;
            let _ = name;
            match event {
                Event::Served { entry, past_sunset } => _ = (entry, past_sunset),
                Event::Refused(kind) => _ = kind,
            }
        }
    }
}

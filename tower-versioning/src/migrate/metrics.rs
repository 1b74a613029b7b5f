//! What is counted. Without the `metrics` feature nothing.

use super::error::MigrateErrorKind;

/// What became of a message that changes are about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    RequestRaised,
    ResponseLowered,
    Failed(MigrateErrorKind),
}

#[cfg(feature = "metrics")]
pub(crate) use with::Metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::Metrics;

#[cfg(feature = "metrics")]
mod with {
    use std::sync::OnceLock;

    use metrics::{Counter, counter, describe_counter};

    use super::{Event, MigrateErrorKind};

    const MIGRATIONS: &str = "tower_versioning_migrations_total";
    const OUTCOMES: [(&str, &str); 11] = [
        ("request", "translated"),
        ("response", "translated"),
        ("request", "too_large"),
        ("request", "encoded"),
        ("request", "change"),
        ("response", "too_large"),
        ("response", "encoded"),
        ("response", "partial"),
        ("response", "malformed"),
        ("response", "change"),
        ("request", "malformed"),
    ];

    /// Handles are made when the first request comes, on its thread, so that a recorder installed until then counts.
    #[derive(Default)]
    pub(crate) struct Metrics(OnceLock<[Counter; 11]>);

    impl Metrics {
        pub(crate) fn count(&self, event: Event) {
            let handles = self.0.get_or_init(|| {
                describe_counter!(MIGRATIONS, "Requests and responses translated between API versions");
                OUTCOMES.map(
                    |(message, outcome)| counter!(MIGRATIONS, "message" => message, "outcome" => outcome),
                )
            });
            handles[index(event)].increment(1);
        }
    }

    fn index(event: Event) -> usize {
        match event {
            Event::RequestRaised => 0,
            Event::ResponseLowered => 1,
            Event::Failed(MigrateErrorKind::RequestTooLarge) => 2,
            Event::Failed(MigrateErrorKind::RequestEncoded) => 3,
            Event::Failed(MigrateErrorKind::RequestChange) => 4,
            Event::Failed(MigrateErrorKind::ResponseTooLarge) => 5,
            Event::Failed(MigrateErrorKind::ResponseEncoded) => 6,
            Event::Failed(MigrateErrorKind::ResponsePartial) => 7,
            Event::Failed(MigrateErrorKind::ResponseMalformed) => 8,
            Event::Failed(MigrateErrorKind::ResponseChange) => 9,
            Event::Failed(MigrateErrorKind::RequestMalformed) => 10,
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
    use super::Event;

    #[derive(Debug, Default)]
    pub(crate) struct Metrics {}

    impl Metrics {
        pub(crate) fn count(&self, event: Event) {
            if let Event::Failed(kind) = event {
                let _ = kind;
            }
        }
    }
}

//! What the client counts. Without the `metrics` feature nothing.

#[cfg(feature = "metrics")]
pub(crate) use with::{ClientMetrics, SunsetGauge};
#[cfg(not(feature = "metrics"))]
pub(crate) use without::{ClientMetrics, SunsetGauge};

#[cfg(feature = "metrics")]
mod with {
    use std::sync::OnceLock;

    use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

    use crate::client::NoticeKind;
    use crate::policy::moment::Moment;
    use crate::policy::version::Version;

    const MALFORMED: &str = "tower_versioning_client_malformed_total";
    const NOTICES: &str = "tower_versioning_client_notices_total";
    const SUNSET: &str = "tower_versioning_client_sunset_days";
    const FIELDS: [&str; 3] = ["deprecation", "sunset", "link"];

    #[derive(Default)]
    pub(crate) struct ClientMetrics {
        malformed: OnceLock<[Counter; 3]>,
    }

    impl ClientMetrics {
        pub(crate) fn resolve(&self) {
            self.malformed.get_or_init(|| {
                describe_counter!(MALFORMED, "Fields about versions in answers that could not be read");
                describe_counter!(NOTICES, "Deprecations and newer versions noticed in answers");
                describe_gauge!(SUNSET, "Days to the sunset of a version in use, by origin");
                FIELDS.map(|field| counter!(MALFORMED, "field" => field))
            });
        }

        pub(crate) fn malformed(&self, field: &str) {
            let index = FIELDS.iter().position(|known| *known == field);
            if let Some((index, counters)) = index.zip(self.malformed.get()) {
                counters[index].increment(1);
            }
        }

        /// Rare: once for each origin, version and period.
        pub(crate) fn noticed(&self, kind: NoticeKind) {
            counter!(NOTICES, "kind" => kind.to_string()).increment(1);
        }
    }

    /// The gauge of an origin and version: made when the first sunset is read, set by every answer with one. Origins
    /// are those of the program's upstreams, at most as many as are remembered.
    #[derive(Default)]
    pub(crate) struct SunsetGauge(Option<Gauge>);

    impl SunsetGauge {
        pub(crate) fn set(&mut self, origin: &str, version: Option<Version>, sunset: Moment, now: Moment) {
            let gauge = self.0.get_or_insert_with(|| {
                let version = version.map_or_else(|| "unknown".to_owned(), |version| version.to_string());
                gauge!(SUNSET, "origin" => origin.to_owned(), "version" => version)
            });
            gauge.set(sunset.unix().saturating_sub(now.unix()).div_euclid(86_400) as f64);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod without {
    use crate::client::NoticeKind;
    use crate::policy::moment::Moment;
    use crate::policy::version::Version;

    #[derive(Default)]
    pub(crate) struct ClientMetrics {}

    impl ClientMetrics {
        pub(crate) fn resolve(&self) {}
        pub(crate) fn malformed(&self, _: &str) {}
        pub(crate) fn noticed(&self, _: NoticeKind) {}
    }

    #[derive(Default)]
    pub(crate) struct SunsetGauge {}

    impl SunsetGauge {
        pub(crate) fn set(&mut self, _: &str, _: Option<Version>, _: Moment, _: Moment) {}
    }
}

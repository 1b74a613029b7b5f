use http::HeaderName;
use tower_versioning::{Registry, Source, Version, VersionLayer};

use super::{assert_refused, assert_through, with};
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> VersionLayer {
        let registry =
            Registry::builder().version(Version::major(1), |v| v).version(Version::major(2), |v| v);
        let header = Source::header(HeaderName::from_static("api-version"));
        VersionLayer::new(registry.build().unwrap()).sources([header])
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        let answer = assert_through(host, with(host, "api-version", "2")).await;
        assert_eq!(answer.headers()["api-version"], "2");
    }

    pub(crate) async fn decides(&self, host: &Host) {
        assert_refused(host, with(host, "api-version", "9"), 400, 12).await;
    }
}

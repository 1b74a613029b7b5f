use http::HeaderName;
use tower::layer::util::Stack;
use tower_versioning::{Registry, Source, Version, VersionLayer, VersionRange};

use super::{assert_refused, assert_through, with};
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> Stack<VersionRange, VersionLayer> {
        let (v1, v2) = (Version::major(1), Version::major(2));
        let registry = Registry::builder().version(v1, |v| v).version(v2, |v| v).build().unwrap();
        let versions =
            VersionLayer::new(registry).sources([Source::header(HeaderName::from_static("api-version"))]);
        Stack::new(VersionRange::since(v2), versions)
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, with(host, "api-version", "2")).await;
    }

    pub(crate) async fn decides(&self, host: &Host) {
        assert_refused(host, with(host, "api-version", "1"), 404, 12).await;
    }
}

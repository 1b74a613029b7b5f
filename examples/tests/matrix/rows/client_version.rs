use tower_versioning::Version;
use tower_versioning::client::ClientVersionLayer;

use super::{assert_through, with};
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> ClientVersionLayer {
        ClientVersionLayer::new(Version::major(2))
    }

    /// What says its version keeps it.
    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, with(host, "api-version", "1")).await;
        assert_eq!(host.origin.last()["api-version"], "1");
    }

    pub(crate) async fn decides(&self, host: &Host) {
        assert_through(host, host.request()).await;
        assert_eq!(host.origin.last()["api-version"], "2");
    }
}

use tower_correlation::CorrelationLayer;

use super::{assert_through, with};
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> CorrelationLayer {
        CorrelationLayer::new()
    }

    /// A good id stays as it is, inside and in the answer.
    pub(crate) async fn lets_through(&self, host: &Host) {
        let answer = assert_through(host, with(host, "x-request-id", "caller-1")).await;
        assert_eq!(host.origin.last()["x-request-id"], "caller-1");
        assert_eq!(answer.headers()["x-request-id"], "caller-1");
    }

    /// A bad one is replaced, the same inside and in the answer.
    pub(crate) async fn decides(&self, host: &Host) {
        let answer = assert_through(host, with(host, "x-request-id", "no id: spaces")).await;
        let id = &answer.headers()["x-request-id"];
        assert_eq!(id.len(), 32);
        assert_eq!(host.origin.last()["x-request-id"], id);
    }
}

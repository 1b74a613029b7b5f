use tower_breaker::retry::{HttpPolicy, RetryLayer};

use super::{assert_through, failing};
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> RetryLayer {
        RetryLayer::new(HttpPolicy::new())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// A failure is asked about once more, and no more often.
    pub(crate) async fn decides(&self, host: &Host) {
        let calls = host.origin.calls();
        assert_eq!(host.answer(failing(host)).await.status(), 503);
        assert_eq!(host.origin.calls(), calls + 2);
    }
}

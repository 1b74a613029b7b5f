use tower_breaker::stack::StandardLayer;

use super::assert_through;
use crate::hosts::Host;

#[derive(Debug)]
pub(crate) struct Row {
    standard: StandardLayer,
}

impl Default for Row {
    fn default() -> Self {
        Self { standard: StandardLayer::new("origin").unwrap() }
    }
}

impl Row {
    pub(crate) fn layer(&self) -> StandardLayer {
        self.standard.clone()
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// The rejection is found in the answer or behind whatever boxes the host puts it into.
    pub(crate) async fn decides(&self, host: &Host) {
        self.standard.breaker().force_open();
        let calls = host.origin.calls();
        if let Ok(answer) = host.send(host.request()).await {
            assert_eq!(answer.status(), 503);
        }
        assert_eq!(host.origin.calls(), calls);
    }
}

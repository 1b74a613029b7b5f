use tower_breaker::{Breaker, BreakerLayer, find_rejection};

use super::assert_through;
use crate::hosts::Host;

#[derive(Debug)]
pub(crate) struct Row {
    breaker: Breaker,
}

impl Default for Row {
    fn default() -> Self {
        Self { breaker: Breaker::builder("origin").build().unwrap() }
    }
}

impl Row {
    pub(crate) fn layer(&self) -> BreakerLayer {
        BreakerLayer::new(self.breaker.clone())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// The rejection is found behind whatever boxes the host puts it into.
    pub(crate) async fn decides(&self, host: &Host) {
        self.breaker.force_open();
        let calls = host.origin.calls();
        let error = host.send(host.request()).await.unwrap_err();
        let rejected = find_rejection(&*error).expect("a rejection in the chain");
        assert_eq!(rejected.breaker(), "origin");
        assert_eq!(host.origin.calls(), calls);
    }
}

use tower_breaker::{Bulkhead, BulkheadLayer, RejectReason, find_rejection};

use super::assert_through;
use crate::hosts::Host;

#[derive(Debug)]
pub(crate) struct Row {
    bulkhead: Bulkhead,
}

impl Default for Row {
    fn default() -> Self {
        Self { bulkhead: Bulkhead::builder("origin").limit(1).queue(0).build().unwrap() }
    }
}

impl Row {
    pub(crate) fn layer(&self) -> BulkheadLayer {
        BulkheadLayer::new(self.bulkhead.clone())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// The rejection is found behind whatever boxes the host puts it into.
    pub(crate) async fn decides(&self, host: &Host) {
        let _taken = self.bulkhead.try_acquire().unwrap();
        let calls = host.origin.calls();
        let error = host.send(host.request()).await.unwrap_err();
        let rejected = find_rejection(&*error).expect("a rejection in the chain");
        assert_eq!(rejected.reason(), RejectReason::Full);
        assert_eq!(host.origin.calls(), calls);
    }
}

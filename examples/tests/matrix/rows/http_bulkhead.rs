use tower_breaker::{Bulkhead, HttpBulkheadLayer};

use super::{assert_refused, assert_through};
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
    pub(crate) fn layer(&self) -> HttpBulkheadLayer {
        HttpBulkheadLayer::new(self.bulkhead.clone())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// The one slot is taken.
    pub(crate) async fn decides(&self, host: &Host) {
        let _taken = loop {
            // The body of the call before may still be on its way.
            match self.bulkhead.try_acquire() {
                Ok(slot) => break slot,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_refused(host, host.request(), 503, 14).await;
    }
}

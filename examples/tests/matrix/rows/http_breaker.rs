use std::time::Duration;

use tower_breaker::{Breaker, HttpBreakerLayer, State};

use super::{assert_refused, assert_through, failing};
use crate::hosts::Host;

#[derive(Debug)]
pub(crate) struct Row {
    breaker: Breaker,
}

impl Default for Row {
    fn default() -> Self {
        let builder = Breaker::builder("origin").consecutive_failures(1).open_for(Duration::from_secs(3600));
        Self { breaker: builder.build().unwrap() }
    }
}

impl Row {
    pub(crate) fn layer(&self) -> HttpBreakerLayer {
        HttpBreakerLayer::new(self.breaker.clone())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
        assert_eq!(self.breaker.state(), State::Closed);
    }

    pub(crate) async fn decides(&self, host: &Host) {
        // Whether the failure itself arrives as an answer or as an error is the host's business.
        let _ = host.send(failing(host)).await;
        assert_eq!(self.breaker.state(), State::Open);
        assert_refused(host, host.request(), 503, 14).await;
    }
}

use tower_breaker::throttle::{HttpThrottleLayer, Throttle};

use super::{assert_refused, assert_through};
use crate::hosts::Host;

/// Rejects as soon as anything may be rejected.
pub(crate) fn strict() -> Throttle {
    Throttle::builder("origin").ratio(1.0).padding(1).random_with(|| 0).build().unwrap()
}

#[derive(Debug)]
pub(crate) struct Row {
    throttle: Throttle,
}

impl Default for Row {
    fn default() -> Self {
        Self { throttle: strict() }
    }
}

impl Row {
    pub(crate) fn layer(&self) -> HttpThrottleLayer {
        HttpThrottleLayer::new(self.throttle.clone())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// Elsewhere the upstream was seen to refuse.
    pub(crate) async fn decides(&self, host: &Host) {
        while let Ok(pass) = self.throttle.try_acquire() {
            pass.refused();
        }
        assert_refused(host, host.request(), 503, 14).await;
    }
}

use tower_breaker::find_rejection;
use tower_breaker::throttle::{Throttle, ThrottleLayer};

use super::{assert_through, http_throttle};
use crate::hosts::Host;

#[derive(Debug)]
pub(crate) struct Row {
    throttle: Throttle,
}

impl Default for Row {
    fn default() -> Self {
        Self { throttle: http_throttle::strict() }
    }
}

impl Row {
    pub(crate) fn layer(&self) -> ThrottleLayer {
        ThrottleLayer::new(self.throttle.clone())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// The rejection is found behind whatever boxes the host puts it into.
    pub(crate) async fn decides(&self, host: &Host) {
        while let Ok(pass) = self.throttle.try_acquire() {
            pass.refused();
        }
        let calls = host.origin.calls();
        let error = host.send(host.request()).await.unwrap_err();
        assert!(find_rejection(&*error).is_some(), "{error:?}");
        assert_eq!(host.origin.calls(), calls);
    }
}

use std::time::Duration;

use tower_breaker::retry::TotalTimeoutLayer;

use super::{assert_through, attempt_timeout};
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> TotalTimeoutLayer {
        TotalTimeoutLayer::new(Duration::from_millis(500)).unwrap()
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// The same answer as to an attempt that takes too long.
    pub(crate) async fn decides(&self, host: &Host) {
        attempt_timeout::Row.decides(host).await;
    }
}

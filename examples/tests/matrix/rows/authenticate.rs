use tower_auth::AuthLayer;

use super::{Sent, assert_refused, assert_through, with};
use crate::hosts::Host;
use crate::tokens::{authenticator, token};

/// The host's request with a token of this scope.
pub(crate) fn authorized(host: &Host, scope: &str) -> Sent {
    with(host, "authorization", &format!("Bearer {}", token("ada", scope)))
}

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> AuthLayer {
        AuthLayer::new(authenticator())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, authorized(host, "read")).await;
    }

    pub(crate) async fn decides(&self, host: &Host) {
        assert_refused(host, host.request(), 401, 16).await;
    }
}

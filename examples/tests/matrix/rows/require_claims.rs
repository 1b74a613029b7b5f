use tower::layer::util::Stack;
use tower_auth::AuthLayer;
use tower_auth::layer::RequireClaims;

use super::authenticate::authorized;
use super::{assert_refused, assert_through};
use crate::hosts::Host;
use crate::tokens::authenticator;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> Stack<RequireClaims, AuthLayer> {
        let rule = RequireClaims::new(|verified, _| verified.has_scope("read"));
        Stack::new(rule, AuthLayer::new(authenticator()))
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, authorized(host, "read")).await;
    }

    pub(crate) async fn decides(&self, host: &Host) {
        assert_refused(host, authorized(host, "write"), 403, 7).await;
    }
}

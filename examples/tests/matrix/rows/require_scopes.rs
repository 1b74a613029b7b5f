use tower::layer::util::Stack;
use tower_auth::{AuthLayer, RequireScopes};

use super::authenticate::authorized;
use super::{assert_refused, assert_through};
use crate::hosts::Host;
use crate::tokens::authenticator;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> Stack<RequireScopes, AuthLayer> {
        Stack::new(RequireScopes::all(["read"]).unwrap(), AuthLayer::new(authenticator()))
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, authorized(host, "write read")).await;
    }

    pub(crate) async fn decides(&self, host: &Host) {
        assert_refused(host, authorized(host, "write"), 403, 7).await;
    }
}

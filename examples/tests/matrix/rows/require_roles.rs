use tower::layer::util::Stack;
use tower_auth::AuthLayer;
use tower_auth::layer::RequireRoles;

use super::authenticate::authorized;
use super::{assert_refused, assert_through};
use crate::hosts::Host;
use crate::tokens::authenticator;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> Stack<RequireRoles, AuthLayer> {
        Stack::new(RequireRoles::all(["clerk"]).unwrap(), AuthLayer::new(authenticator()))
    }

    /// Every token of these tests has the role.
    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, authorized(host, "read")).await;
    }

    pub(crate) async fn decides(&self, host: &Host) {
        assert_refused(host, host.request(), 401, 16).await;
    }
}

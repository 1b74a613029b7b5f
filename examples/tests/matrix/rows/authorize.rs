use std::future::{Ready, ready};

use http::request::Parts;
use tower::layer::util::Stack;
use tower_auth::layer::Authorize;
use tower_auth::{AuthError, AuthLayer, Verified};

use super::authenticate::authorized;
use super::{assert_refused, assert_through};
use crate::hosts::Host;
use crate::tokens::authenticator;

type Rule = fn(Verified, &Parts) -> Ready<Result<(), AuthError>>;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> Stack<Authorize<Rule>, AuthLayer> {
        let rule: Rule =
            |verified, _| ready(if verified.has_scope("read") { Ok(()) } else { Err(AuthError::Forbidden) });
        Stack::new(Authorize::new(rule), AuthLayer::new(authenticator()))
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, authorized(host, "read")).await;
    }

    pub(crate) async fn decides(&self, host: &Host) {
        assert_refused(host, authorized(host, "write"), 403, 7).await;
    }
}

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::Service;
use tower::layer::util::Stack;
use tower_breaker::fallback::HttpFallbackLayer;
use tower_breaker::{Breaker, HttpBreakerLayer};

use super::assert_through;
use crate::hosts::Host;

/// Answers when the origin may not be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instead;

impl Service<Request<()>> for Instead {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Full::from("instead"))))
    }
}

#[derive(Debug)]
pub(crate) struct Row {
    breaker: Breaker,
}

impl Default for Row {
    fn default() -> Self {
        Self { breaker: Breaker::builder("origin").build().unwrap() }
    }
}

impl Row {
    pub(crate) fn layer(&self) -> Stack<HttpBreakerLayer, HttpFallbackLayer<Instead>> {
        Stack::new(HttpBreakerLayer::new(self.breaker.clone()), HttpFallbackLayer::new(Instead))
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    pub(crate) async fn decides(&self, host: &Host) {
        self.breaker.force_open();
        let calls = host.origin.calls();
        let answer = host.answer(host.request()).await;
        assert_eq!((answer.status().as_u16(), &*answer.body().data), (200, &b"instead"[..]));
        assert_eq!(host.origin.calls(), calls);
    }
}

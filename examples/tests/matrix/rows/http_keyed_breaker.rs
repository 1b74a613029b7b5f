use http::Request;
use tower_breaker::keyed::{ByKey, HttpKeyedBreakerLayer};
use tower_breaker::{Breaker, KeyedBreaker};

use super::{assert_refused, assert_through};
use crate::hosts::Host;

type Key<B> = fn(&Request<B>) -> Option<String>;

#[derive(Debug)]
pub(crate) struct Row {
    paths: KeyedBreaker<String>,
}

impl Default for Row {
    fn default() -> Self {
        Self { paths: KeyedBreaker::builder(Breaker::builder("paths")).build().unwrap() }
    }
}

impl Row {
    pub(crate) fn layer<B>(&self) -> HttpKeyedBreakerLayer<ByKey<String, Key<B>>> {
        HttpKeyedBreakerLayer::new(self.paths.clone(), |request| Some(request.uri().path().to_owned()))
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    pub(crate) async fn decides(&self, host: &Host) {
        let path = host.request().uri().path().to_owned();
        self.paths.find(&path).expect("it was called").force_open();
        assert_refused(host, host.request(), 503, 14).await;
    }
}

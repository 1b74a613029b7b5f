use http::Request;
use tower_breaker::keyed::{ByKey, KeyedBreakerLayer};
use tower_breaker::{Breaker, KeyedBreaker, find_rejection};

use super::assert_through;
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
    pub(crate) fn layer<B>(&self) -> KeyedBreakerLayer<ByKey<String, Key<B>>> {
        KeyedBreakerLayer::new(self.paths.clone(), |request| Some(request.uri().path().to_owned()))
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// The rejection is found behind whatever boxes the host puts it into.
    pub(crate) async fn decides(&self, host: &Host) {
        let path = host.request().uri().path().to_owned();
        self.paths.find(&path).expect("it was called").force_open();
        let calls = host.origin.calls();
        let error = host.send(host.request()).await.unwrap_err();
        assert!(find_rejection(&*error).is_some(), "{error:?}");
        assert_eq!(host.origin.calls(), calls);
    }
}

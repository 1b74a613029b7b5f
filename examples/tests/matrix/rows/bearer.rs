use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tower_auth::client::{AccessToken, BearerLayer, Rejected, TokenAnswer, TokenProvider, find_rejection};

use super::assert_through;
use crate::hosts::Host;

/// Has a token until it is taken away.
#[derive(Debug, Clone, Default)]
pub(crate) struct Provider {
    empty: Arc<AtomicBool>,
}

impl TokenProvider for Provider {
    fn token(&self, _: &http::request::Parts) -> TokenAnswer {
        TokenAnswer::Ready(match self.empty.load(Ordering::SeqCst) {
            false => Ok(AccessToken::new("a-token").unwrap()),
            true => Err(Rejected::TokenUnavailable { retry_after: Duration::from_secs(1) }),
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Row {
    provider: Provider,
}

impl Row {
    pub(crate) fn layer(&self) -> BearerLayer<Provider> {
        BearerLayer::new(self.provider.clone())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
        assert_eq!(host.origin.last()["authorization"], "Bearer a-token");
    }

    /// The refusal is found behind whatever boxes the host puts it into.
    pub(crate) async fn decides(&self, host: &Host) {
        self.provider.empty.store(true, Ordering::SeqCst);
        let calls = host.origin.calls();
        let error = host.send(host.request()).await.unwrap_err();
        assert!(find_rejection(&*error).is_some(), "{error:?}");
        assert_eq!(host.origin.calls(), calls);
    }
}

use tower_cache::{CacheLayer, MemoryStore};

use super::assert_through;
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> CacheLayer {
        CacheLayer::shared(MemoryStore::new(1 << 20))
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// The second answer is the first one, without the origin.
    pub(crate) async fn decides(&self, host: &Host) {
        let calls = host.origin.calls();
        let answer = host.answer(host.request()).await;
        assert_eq!(host.origin.calls(), calls);
        assert_eq!(answer.body().data, "first second");
        assert!(answer.headers().contains_key("age"));
        assert!(answer.headers()["cache-status"].to_str().unwrap().contains("; hit"));
    }
}

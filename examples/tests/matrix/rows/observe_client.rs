use tower_correlation::observe::ObserveLayer;

use super::observe;
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row(observe::Row);

impl Row {
    pub(crate) fn layer(&self) -> ObserveLayer {
        self.0.client()
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        self.0.lets_through(host).await;
    }

    pub(crate) async fn decides(&self, host: &Host) {
        self.0.decides(host).await;
    }
}

use tower::layer::util::Stack;
use tower_correlation::CorrelationLayer;
use tower_correlation::problem::ProblemIdLayer;

use super::assert_through;
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> Stack<ProblemIdLayer, CorrelationLayer> {
        Stack::new(ProblemIdLayer::new(), CorrelationLayer::new())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }
}

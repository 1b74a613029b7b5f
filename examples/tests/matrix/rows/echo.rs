use tower::layer::util::Stack;
use tower_correlation::CorrelationLayer;
use tower_correlation::echo::EchoLayer;

use super::{assert_through, with};
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> Stack<CorrelationLayer, EchoLayer> {
        let correlation = CorrelationLayer::new();
        let echo = correlation.echo_mapper();
        Stack::new(correlation, echo)
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// What is named already is not named twice.
    pub(crate) async fn decides(&self, host: &Host) {
        let answer = assert_through(host, with(host, "x-request-id", "caller-1")).await;
        let ids: Vec<_> = answer.headers().get_all("x-request-id").iter().collect();
        assert_eq!(ids, ["caller-1"]);
    }
}

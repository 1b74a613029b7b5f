use std::time::Duration;

use tower_breaker::retry::AttemptTimeoutLayer;

use super::{assert_through, with};
use crate::hosts::{Host, Protocol};

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> AttemptTimeoutLayer {
        AttemptTimeoutLayer::new(Duration::from_millis(500)).unwrap()
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// The origin never answers, so the layer does.
    pub(crate) async fn decides(&self, host: &Host) {
        match (host.protocol, host.send(with(host, "x-hang", "1")).await) {
            (Protocol::Http, Ok(answer)) => assert_eq!(answer.status(), 504),
            (Protocol::Grpc, Ok(answer)) => assert_eq!(answer.headers()["grpc-status"], "4"),
            (_, Err(error)) => {
                let status = error.downcast_ref::<tonic::Status>().expect("a gRPC status");
                assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
            }
        }
    }
}

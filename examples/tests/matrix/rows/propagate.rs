use std::convert::Infallible;

use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_correlation::{Correlation, CorrelationLayer, PropagateLayer, scope};

use super::assert_through;
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> PropagateLayer {
        PropagateLayer::new()
    }

    /// Outside of any request there is no id to carry.
    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
        assert!(!host.origin.last().contains_key("x-request-id"));
    }

    /// Inside of one, its id and trace go along.
    pub(crate) async fn decides(&self, host: &Host) {
        let inbound = service_fn(async |request: Request<()>| {
            let correlation = request.extensions().get::<Correlation>().unwrap().clone();
            Ok::<_, Infallible>(Response::builder().extension(correlation).body(()).unwrap())
        });
        let request = Request::builder().header("x-request-id", "caller-1").body(()).unwrap();
        let response = CorrelationLayer::new().layer(inbound).oneshot(request).await.unwrap();
        let correlation = response.extensions().get::<Correlation>().unwrap().clone();
        let trace = String::from_utf8(correlation.trace().to_bytes().to_vec()).unwrap();
        scope(correlation, assert_through(host, host.request())).await;
        assert_eq!(host.origin.last()["x-request-id"], "caller-1");
        // Another span of the same trace.
        let sent = host.origin.last()["traceparent"].to_str().unwrap().to_owned();
        assert_eq!(sent[..36], trace[..36]);
        assert_ne!(sent, trace);
    }
}

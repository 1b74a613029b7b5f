//! What each layer lets through and what it decides itself.

use http::{HeaderValue, Request};
use http_body_util::Full;

use crate::hosts::{Answer, Host, Protocol};

pub(crate) mod attempt_timeout;
pub(crate) mod authenticate;
pub(crate) mod authorize;
pub(crate) mod bearer;
pub(crate) mod breaker;
pub(crate) mod bulkhead;
pub(crate) mod cache;
pub(crate) mod client_version;
pub(crate) mod correlation;
pub(crate) mod count_request;
pub(crate) mod echo;
pub(crate) mod http_breaker;
pub(crate) mod http_bulkhead;
pub(crate) mod http_fallback;
pub(crate) mod http_keyed_breaker;
pub(crate) mod http_throttle;
pub(crate) mod inbound;
pub(crate) mod keyed_breaker;
pub(crate) mod migrate;
pub(crate) mod observe;
pub(crate) mod observe_client;
pub(crate) mod private_cache;
pub(crate) mod problem_id;
pub(crate) mod propagate;
pub(crate) mod require_claims;
pub(crate) mod require_roles;
pub(crate) mod require_scopes;
pub(crate) mod retry;
pub(crate) mod standard;
pub(crate) mod throttle;
pub(crate) mod total_timeout;
pub(crate) mod version_range;
pub(crate) mod versions;

type Sent = Request<Full<bytes::Bytes>>;

/// The host's request with one more header field.
fn with(host: &Host, name: &'static str, value: &str) -> Sent {
    let mut request = host.request();
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

/// One the origin answers with a failure.
fn failing(host: &Host) -> Sent {
    with(host, "x-fail", "1")
}

/// Sends the request, which must come through whole.
async fn assert_through(host: &Host, request: Sent) -> Answer {
    let before = host.origin.calls();
    let answer = host.answer(request).await;
    host.assert_intact(&answer);
    assert_eq!(host.origin.calls(), before + 1, "the origin was asked");
    answer
}

/// Sends the request, which the layer must refuse with this status, or this gRPC status, without asking the origin.
async fn assert_refused(host: &Host, request: Sent, status: u16, grpc_status: i32) {
    let before = host.origin.calls();
    match (host.protocol, host.send(request).await) {
        (Protocol::Http, Ok(answer)) => {
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            let problem: serde_json::Value = serde_json::from_slice(&answer.body().data).unwrap();
            assert_eq!(problem["status"], status);
        }
        (Protocol::Grpc, Ok(answer)) => {
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["grpc-status"], grpc_status.to_string().as_str());
            assert!(answer.body().data.is_empty() && answer.body().trailers.is_empty());
        }
        // Behind a Channel the answer has become a status.
        (_, Err(error)) => {
            let status = error.downcast_ref::<tonic::Status>().expect("a gRPC status");
            assert_eq!(i32::from(status.code()), grpc_status);
        }
    }
    assert_eq!(host.origin.calls(), before, "the origin was not asked");
}

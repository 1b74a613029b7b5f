//! What the types can be used for.

use http::Request;
use http_body_util::Empty;
use tower_correlation::echo::{Echo, EchoLayer};
use tower_correlation::problem::{ProblemId, ProblemIdLayer};
use tower_correlation::trace::{Baggage, BaggageLimits, TraceParent, TraceState};
use tower_correlation::{
    Correlation, CorrelationId, CorrelationLayer, CorrelationService, Generator, Origin, Propagate,
    PropagateLayer, Replaced, ResponseBody, ResponseFuture, Scoped, Trust, Validation,
};

fn everywhere<T: Clone + Send + Sync + Unpin + 'static>() {}
fn sent<T: Send>() {}
fn shared<T: Sync>() {}
fn unpinned<T: Unpin>() {}

type Pending = std::future::Pending<Result<http::Response<String>, std::convert::Infallible>>;

#[test]
fn layers_and_values_go_everywhere() {
    everywhere::<CorrelationLayer>();
    everywhere::<PropagateLayer>();
    everywhere::<EchoLayer>();
    everywhere::<ProblemIdLayer>();
    everywhere::<CorrelationService<()>>();
    everywhere::<Propagate<()>>();
    everywhere::<Echo<()>>();
    everywhere::<ProblemId<()>>();
    everywhere::<Correlation>();
    everywhere::<CorrelationId>();
    everywhere::<Generator>();
    everywhere::<Trust>();
    everywhere::<Validation>();
    everywhere::<Origin>();
    everywhere::<Replaced>();
    everywhere::<(Baggage, BaggageLimits, TraceParent, TraceState)>();
}

#[test]
fn futures_and_bodies_are_what_is_inside_of_them() {
    sent::<ResponseFuture<Pending>>();
    shared::<ResponseFuture<Pending>>();
    unpinned::<ResponseFuture<Pending>>();
    sent::<ResponseBody<Empty<bytes::Bytes>>>();
    shared::<ResponseBody<Empty<bytes::Bytes>>>();
    unpinned::<ResponseBody<Empty<bytes::Bytes>>>();
    sent::<Scoped<Pending>>();
    unpinned::<Scoped<Pending>>();
}

/// Layers around ours, such as those for CORS and timeouts of tower-http, answer with an empty one.
#[test]
fn bodies_have_a_default() {
    fn is_empty<B: Default + http_body::Body>() -> bool {
        B::default().is_end_stream()
    }
    assert!(is_empty::<ResponseBody<Empty<bytes::Bytes>>>());
    assert!(is_empty::<tower_correlation::problem::ProblemBody<Empty<bytes::Bytes>>>());
}

/// A service that stays on its thread, with an error and a body that are no more than they must be.
#[test]
fn nothing_is_asked_of_what_is_inside() {
    use std::rc::Rc;
    use tower::{Layer, Service};

    struct Error(#[expect(dead_code, reason = "keeps it on its thread")] Rc<()>);
    let service = tower::service_fn(|_: Request<Rc<()>>| {
        std::future::ready(Err::<http::Response<Rc<()>>, Error>(Error(Rc::new(()))))
    });
    let mut service = CorrelationLayer::new().layer(PropagateLayer::new().layer(service));
    let _future = service.call(Request::new(Rc::new(())));
}

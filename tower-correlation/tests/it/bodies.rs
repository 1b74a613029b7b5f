//! Bodies pass through with what they say of themselves: servers take the length of the response from it.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, SizeHint};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_correlation::CorrelationLayer;
use tower_correlation::problem::ProblemIdLayer;

async fn answer(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

async fn empty(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::default()))
}

/// What the body says before and after its only frame.
async fn said<S, B>(service: S) -> Vec<(bool, Option<u64>)>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
{
    let request = Request::builder().header("x-request-id", "b-1").body(Full::default()).unwrap();
    let mut body = service.oneshot(request).await.unwrap().into_body();
    let say = |body: &B| (body.is_end_stream(), SizeHint::exact(&body.size_hint()));
    let mut all = vec![say(&body)];
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        assert!(frame.unwrap().is_data());
        all.push(say(&body));
    }
    all
}

#[tokio::test]
async fn lengths_and_ends_are_those_of_the_body_inside() {
    let (whole, nothing) = (vec![(false, Some(5)), (true, Some(0))], vec![(true, Some(0))]);
    assert_eq!(
        (said(service_fn(answer)).await, said(service_fn(empty)).await),
        (whole.clone(), nothing.clone())
    );
    let correlation = CorrelationLayer::new();
    assert_eq!(said(correlation.layer(service_fn(answer))).await, whole);
    assert_eq!(said(correlation.layer(service_fn(empty))).await, nothing);
    // A document that is no problem keeps its length.
    let problem = (correlation.clone(), ProblemIdLayer::new());
    assert_eq!(said(problem.layer(service_fn(answer))).await, whole);
    assert_eq!(said(problem.layer(service_fn(empty))).await, nothing);
    #[cfg(feature = "observe")]
    {
        use tower_correlation::observe::{Observe, ObserveLayer};
        let observe = Observe::builder().build().unwrap();
        let observed = (correlation, ObserveLayer::server(observe));
        assert_eq!(said(observed.layer(service_fn(answer))).await, whole);
        assert_eq!(said(observed.layer(service_fn(empty))).await, nothing);
    }
}

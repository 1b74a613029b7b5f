//! Bodies pass through with what they say of themselves: servers take the length of the response from it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_correlation::problem::ProblemIdLayer;
use tower_correlation::{CorrelationLayer, current};

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
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        assert!(frame.unwrap().is_data());
        all.push(say(&body));
    }
    // What has ended stays so.
    all.push(say(&body));
    assert!(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
    all
}

#[tokio::test]
async fn lengths_and_ends_are_those_of_the_body_inside() {
    let (whole, nothing) =
        (vec![(false, Some(5)), (true, Some(0)), (true, Some(0))], vec![(true, Some(0)); 2]);
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

/// Ends at once, and tells whose it was when it is dropped.
struct Tells(Arc<Mutex<Vec<Option<String>>>>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(current().map(|current| current.id().to_string()));
    }
}

impl Body for Tells {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

#[tokio::test]
async fn a_body_goes_where_it_ends_or_is_dropped_and_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    for polled in [true, false] {
        let handler = service_fn(|_: Request<()>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(Tells(told.clone()))))
        });
        let request = Request::builder().header("x-request-id", "b-2").body(()).unwrap();
        let mut body = CorrelationLayer::new().layer(handler).oneshot(request).await.unwrap().into_body();
        assert_eq!(told.lock().unwrap().len(), 0, "it is there until it has ended");
        if polled {
            assert!(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
            assert_eq!(told.lock().unwrap().len(), 1);
        }
        drop(body);
        assert_eq!(told.lock().unwrap().drain(..).collect::<Vec<_>>(), [Some("b-2".to_owned())]);
    }
}

//! Services by version.

use std::convert::Infallible;
use std::task::Poll;

use http::{Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock;
use tower_versioning::boxed::BoxedService;
use tower_versioning::{VersionLayer, VersionRange, VersionRouter};

use crate::support::{V1, V2, get, registry, v};

type Boxed = BoxedService<Request<String>, Response<String>, Infallible>;

fn named(name: &'static str) -> Boxed {
    BoxedService::new(service_fn(async move |_: Request<String>| Ok(Response::new(name.to_owned()))))
}

async fn ask(router: &VersionRouter<Boxed>, uri: &str) -> String {
    let layer = VersionLayer::new(registry(&["1", "2", "2.1", "3", "4"])).neutral_path("/open");
    let response = layer.layer(router.clone()).oneshot(get(uri)).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn versions_before_ranges_before_the_fallback() {
    let router = VersionRouter::new(named("fallback"))
        .version(V1, named("old one"))
        .version(V1, named("one"))
        .version(v("2.1"), named("two one"))
        .range(VersionRange::between(V2, v("3")), named("twos"))
        .unwrap();
    for (uri, name) in [
        ("/v1/x", "one"),
        ("/v2/x", "twos"),
        ("/v2.1/x", "two one"),
        ("/v3/x", "fallback"),
        ("/v4/x", "fallback"),
        ("/open", "fallback"),
    ] {
        assert_eq!(ask(&router, uri).await, name, "{uri}");
    }
    assert_eq!(ask(&router.clone().neutral(named("neutral")), "/open").await, "neutral");
    let overlap = router.clone().range(VersionRange::exactly(v("2.5")), named("x"));
    assert_eq!(overlap.unwrap_err().field(), "range");
    assert!(router.clone().range(VersionRange::since(v("3")), named("x")).is_ok());
    let empty = router.range(VersionRange::between(v("4"), v("3")), named("x"));
    assert_eq!(empty.unwrap_err().field(), "range");
}

#[tokio::test]
async fn only_the_chosen_service_has_to_be_ready() {
    let (busy, mut busy_handle) = mock::pair::<Request<String>, Response<String>>();
    let (free, mut free_handle) = mock::pair::<Request<String>, Response<String>>();
    busy_handle.allow(0);
    free_handle.allow(1);
    let router = VersionRouter::new(free.clone()).version(V1, busy).version(V2, free);
    let layer = VersionLayer::new(registry(&["1", "2"]));
    let mut service = layer.layer(router);
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let mut waiting = tokio_task(service.call(get("/v1/x")));
    assert!(waiting.poll().is_pending());
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let mut served = tokio_task(service.call(get("/v2/x")));
    assert!(served.poll().is_pending());
    let (request, send) = free_handle.next_request().await.unwrap();
    assert_eq!(request.uri().path(), "/x");
    send.send_response(Response::new("two".into()));
    assert!(matches!(served.poll(), Poll::Ready(Ok(_))));
    assert!(waiting.poll().is_pending());
    // A future that is dropped while it waits takes nothing with it.
    drop(waiting);
}

struct Task<F>(std::pin::Pin<Box<F>>);

fn tokio_task<F: Future>(future: F) -> Task<F> {
    Task(Box::pin(future))
}

impl<F: Future> Task<F> {
    fn poll(&mut self) -> Poll<F::Output> {
        self.0.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }
}

//! Code without the request at hand.

use std::convert::Infallible;

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty, StreamBody};
use tower::{Layer, ServiceExt, service_fn};
use tower_correlation::{
    Correlation, CorrelationId, CorrelationLayer, Generator, InCurrentCorrelation, PropagateLayer, current,
    scope, scope_sync, spawn, spawn_blocking,
};

fn now() -> Option<String> {
    current().map(|correlation| correlation.id().to_string())
}

fn request(id: &str) -> Request<Empty<bytes::Bytes>> {
    Request::builder().header("x-request-id", id).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn the_helpers_take_the_id_along_and_tokio_alone_does_not() {
    let correlation = Correlation::generate();
    let id = Some(correlation.id().to_string());
    assert_eq!(now(), None);
    scope(correlation.clone(), async {
        assert_eq!(now(), id);
        assert_eq!(tokio::spawn(async { now() }).await.unwrap(), None);
        assert_eq!(spawn(async { now() }).await.unwrap(), id);
        assert_eq!(spawn_blocking(now).await.unwrap(), id);
        assert_eq!(tokio::spawn(async { now() }.in_current_correlation()).await.unwrap(), id);
    })
    .await;
    assert_eq!(scope_sync(&correlation, now), id);
    assert_eq!(now(), None);
}

#[tokio::test]
async fn a_follow_up_names_its_cause_and_stays_in_the_trace() {
    let first = Correlation::generate();
    let second = first.follow_up();
    assert_ne!(first.id(), second.id());
    assert_eq!(second.cause(), Some(first.id()));
    assert_eq!(second.parent(), Some(first.trace()));
    assert_eq!(second.trace().trace_id(), first.trace().trace_id());
    assert_eq!(first.cause(), None);
}

#[tokio::test]
async fn the_body_streams_under_the_id_of_its_request() {
    let service = CorrelationLayer::new().layer(service_fn(async |_: Request<Empty<bytes::Bytes>>| {
        let frames = futures_util::stream::unfold(0, async |n| {
            tokio::task::yield_now().await;
            (n < 3).then(|| {
                let id = now().unwrap_or_default();
                (Ok::<_, Infallible>(http_body::Frame::data(bytes::Bytes::from(id))), n + 1)
            })
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    }));
    let body = service.oneshot(request("s-1")).await.unwrap().into_body();
    assert_eq!(Box::pin(body).as_mut().collect().await.unwrap().to_bytes(), "s-1s-1s-1");
}

/// The client may be polled wherever a buffer or pool likes: what is stamped was taken in `call`.
#[tokio::test]
async fn a_call_polled_on_another_task_carries_the_id() {
    let upstream = service_fn(async |request: Request<()>| {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(request.into_parts().0.headers)
    });
    let client = PropagateLayer::new().layer(upstream);
    let service = CorrelationLayer::new().layer(service_fn(move |_: Request<Empty<bytes::Bytes>>| {
        let mut client = client.clone();
        async move {
            let call = tower::Service::call(&mut client, Request::new(()));
            let headers: HeaderMap = tokio::spawn(call).await.unwrap()?;
            let mut response = Response::new(Empty::<bytes::Bytes>::new());
            *response.headers_mut() = headers;
            Ok::<_, Infallible>(response)
        }
    }));
    let response = service.oneshot(request("c-1")).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "c-1");
    assert!(response.headers().contains_key("traceparent"));
}

fn made(generator: &Generator) -> CorrelationId {
    let (one, two) = (generator.generate(), generator.generate());
    assert_ne!(one, two);
    one
}

#[test]
fn each_generator_keeps_its_format() {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let id = made(&Generator::hex128());
    assert!(id.as_str().len() == 32 && hex(id.as_str()));
    for (generator, version) in [(Generator::uuid_v4(), "4"), (Generator::uuid_v7(), "7")] {
        let id = made(&generator);
        let groups: Vec<&str> = id.as_str().split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(groups.iter().all(|group| hex(group)));
        assert_eq!(&groups[2][..1], version);
        assert!("89ab".contains(&groups[3][..1]));
    }
    let id = made(&Generator::ulid());
    let crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    assert!(id.as_str().len() == 26 && id.as_str().chars().all(|c| crockford.contains(c)));
    assert!(id.as_str() < "8", "a ULID has 128 bits");
    let custom = Generator::custom(|| "fixed-1".to_owned());
    assert_eq!(custom.generate().as_str(), "fixed-1");
    for bad in [String::new(), "a b".into(), "x".repeat(129), "é".into()] {
        let bad = Generator::custom(move || bad.clone());
        assert_eq!(bad.generate().as_str().len(), 32, "what is no id is replaced");
    }
}

#[test]
fn ids_of_eight_threads_are_distinct() {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| (0..20_000).map(|_| Generator::hex128().generate()).collect::<Vec<_>>())
        })
        .collect();
    let ids: std::collections::HashSet<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    assert_eq!(ids.len(), 160_000);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn handlers_of_axum_extract_it() {
    use axum::{Router, body::Body, routing::get};

    let app = Router::new().route("/", get(async |correlation: Correlation| correlation.id().to_string()));
    let ask = || Request::builder().header("x-request-id", "a-1").body(Body::empty()).unwrap();
    let response = app.clone().layer(CorrelationLayer::new()).oneshot(ask()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a-1");
    let response = app.oneshot(ask()).await.unwrap();
    assert_eq!(response.status(), 500, "without the layer it is a mistake of the program");
}

/// The thread goes on with other work after a panic; it is not this request's.
#[tokio::test]
async fn a_panic_leaves_no_id_behind() {
    use futures_util::FutureExt;
    use std::panic::AssertUnwindSafe;

    let panics = async || -> Response<Empty<bytes::Bytes>> { panic!("under {:?}", now()) };
    let service = CorrelationLayer::new()
        .layer(service_fn(async |_: Request<Empty<bytes::Bytes>>| Ok::<_, Infallible>(panics().await)));
    let outer = Correlation::generate();
    scope(outer.clone(), async {
        let caught = AssertUnwindSafe(service.oneshot(request("p-1"))).catch_unwind().await.unwrap_err();
        assert_eq!(caught.downcast_ref::<String>().unwrap(), "under Some(\"p-1\")");
        assert_eq!(now().as_deref(), Some(outer.id().as_str()), "what was there before is there again");
    })
    .await;
    assert_eq!(now(), None);
    let body = StreamBody::new(futures_util::stream::poll_fn(
        |_| -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
            panic!("in the body")
        },
    ));
    let body = std::sync::Mutex::new(Some(body));
    let service = CorrelationLayer::new().layer(service_fn(|_: Request<Empty<bytes::Bytes>>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(body.lock().unwrap().take().unwrap())))
    }));
    let body = service.oneshot(request("p-2")).await.unwrap().into_body();
    assert!(AssertUnwindSafe(body.collect()).catch_unwind().await.is_err());
    assert_eq!(now(), None);
}

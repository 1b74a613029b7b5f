//! Where observation meets what one does not think of at first.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_correlation::observe::{Observe, ObserveLayer};
use tower_correlation::trace::TraceState;
use tower_correlation::{Correlation, CorrelationLayer, PropagateLayer, scope};

use crate::observed::{Body, lines, ok, request};

/// The `tracestate` that an upstream is told.
async fn told(service: impl AsyncFnOnce(Request<Body>) -> Option<String>) -> Option<String> {
    let mut request = request("/");
    request
        .headers_mut()
        .insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03".parse().unwrap());
    request.headers_mut().insert("tracestate", "ot=th:c".parse().unwrap());
    service(request).await
}

/// What an upstream behind these layers is told of the state.
async fn state(client: impl Layer<Upstream, Service: tower::Service<Request<Body>>>) -> Option<String> {
    let sent = std::sync::Arc::new(std::sync::Mutex::new(None));
    let service = client.layer(Upstream(sent.clone()));
    drop(service.oneshot(request("/")).await);
    sent.lock().unwrap().take()
}

#[derive(Clone)]
struct Upstream(std::sync::Arc<std::sync::Mutex<Option<String>>>);

impl tower::Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let state = request.headers().get("tracestate").map(|state| state.to_str().unwrap().to_owned());
        *self.0.lock().unwrap() = state;
        std::future::ready(Ok(Response::new(Body::default())))
    }
}

/// A service that has metrics alone stands between two that write lines.
#[tokio::test]
async fn the_first_rate_holds_behind_a_service_without_lines_too() {
    for with_lines in [true, false] {
        let builder = if with_lines { lines().1 } else { Observe::builder() };
        let observe = builder.sample(1.0).head_decides(true).build().unwrap();
        let seen = told(async |request| {
            let sent = std::sync::Arc::new(std::sync::Mutex::new(None));
            let client = PropagateLayer::new().layer(Upstream(sent.clone()));
            let service = ServiceBuilder::new()
                .layer(CorrelationLayer::new())
                .layer(ObserveLayer::server(observe))
                .service(service_fn(move |_: Request<Body>| client.clone().oneshot(self::request("/"))));
            service.oneshot(request).await.unwrap();
            sent.lock().unwrap().take()
        })
        .await;
        assert_eq!(seen.as_deref(), Some("ot=th:c"), "lines: {with_lines}");
    }
}

/// Work that no request asked for is the first service of its trace.
#[tokio::test]
async fn work_without_a_request_tells_its_rate_too() {
    let observe = |decides| lines().1.sample(0.25).head_decides(decides).build().unwrap();
    let client = |decides| {
        ServiceBuilder::new()
            .layer(ObserveLayer::client(observe(decides)))
            .layer(PropagateLayer::new())
            .into_inner()
    };
    let work = Correlation::generate();
    assert_eq!(scope(work.clone(), state(client(false))).await, None);
    assert_eq!(scope(work.clone(), state(client(true))).await.as_deref(), Some("ot=th:c"));
    let decided = work.with_tracestate(TraceState::with(None, "ot", "th:8"));
    assert_eq!(scope(decided, state(client(true))).await.as_deref(), Some("ot=th:8"), "it has one already");
}

/// As the documentation of `set_sample` says; also for calls whose route is looked for on the response.
#[tokio::test]
async fn a_rate_that_changes_is_that_of_the_next_call() {
    let (lines, builder) = lines();
    let observe = builder.sample(0.0).route(|_| None).build().unwrap();
    let change = observe.clone();
    let service = ObserveLayer::server(observe.clone()).layer(service_fn(move |request: Request<Body>| {
        change.set_sample(1.0).unwrap();
        ok(request)
    }));
    drop(service.clone().oneshot(request("/")).await.unwrap());
    assert_eq!((lines.all().len(), observe.accounting().sampled_out), (0, 1));
    drop(service.oneshot(request("/")).await.unwrap());
    assert_eq!(lines.one()["weight"], 1);
}

#[test]
fn sizes_and_names_that_cannot_work_are_refused() {
    assert!(Observe::builder().max_routes(65_536).field("own", |_| None).build().is_ok());
    let refused = Observe::builder().max_routes(65_537).build().unwrap_err();
    assert_eq!(refused.field(), "max_routes");
    assert_eq!(Observe::builder().max_routes(usize::MAX).build().unwrap_err().field(), "max_routes");
    assert_eq!(Observe::builder().field("", |_| None).build().unwrap_err().field(), "field");
}

/// A period of nothing leaves time for everybody else.
#[tokio::test(start_paused = true)]
async fn summaries_without_a_pause_come_every_second() {
    let (lines, builder) = lines();
    let observe = builder.sample(0.0).summary(true).build().unwrap();
    tokio::spawn(observe.clone().write_summaries_every(Duration::ZERO));
    let service = ObserveLayer::server(observe).layer(service_fn(ok));
    drop(service.oneshot(request("/")).await.unwrap());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(lines.one()["count"], 1);
}

/// Threads that add while another takes: each call once, and none without a duration.
#[test]
fn no_call_is_summed_up_without_its_duration() {
    let observe = Observe::builder().summary(true).build().unwrap();
    let layer = ObserveLayer::server(observe.clone());
    let (mut count, mut errors) = (0, 0);
    let mut add = |observe: &Observe| {
        for summary in observe.summaries() {
            assert!(summary.p50 > Duration::ZERO && summary.errors <= summary.count, "{summary:?}");
            count += summary.count;
            errors += summary.errors;
        }
    };
    std::thread::scope(|threads| {
        let work: Vec<_> = (0..2)
            .map(|_| {
                let layer = layer.clone();
                threads.spawn(move || {
                    let service = layer.layer(service_fn(async |_: Request<Body>| {
                        Ok::<_, Infallible>(Response::builder().status(500).body(Body::default()).unwrap())
                    }));
                    for _ in 0..500 {
                        let answer = service.clone().oneshot(request("/"));
                        drop(futures_util::FutureExt::now_or_never(answer).unwrap().unwrap());
                    }
                })
            })
            .collect();
        while !work.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            add(&observe);
        }
    });
    add(&observe);
    assert_eq!((count, errors), (1000, 1000));
}

/// Whose summary it is, in both forms of lines.
#[cfg(feature = "tracing")]
#[test]
fn summaries_say_whose_they_are() {
    let builder = Observe::builder().tracing().sample(0.0).summary(true);
    let observe = builder.service("orders").instance("orders-1").version("7").build().unwrap();
    let service = ObserveLayer::server(observe.clone()).layer(service_fn(ok));
    let lines = crate::support::events_of(|| {
        drop(futures_util::FutureExt::now_or_never(service.oneshot(request("/"))).unwrap().unwrap());
        observe.write_summaries();
    });
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(line["message"], "summary");
    assert_eq!(
        (&line["service"], &line["instance"], &line["version"]),
        (&"orders".into(), &"orders-1".into(), &"7".into())
    );
}

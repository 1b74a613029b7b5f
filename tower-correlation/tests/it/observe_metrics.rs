//! Series: how many there are, and that the gauge comes back to nothing.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use metrics_util::debugging::DebugValue;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_correlation::observe::{Observe, ObserveLayer};

use crate::observed::{Body, Random, Recorded, lines, ok, request, times};

/// A path that nobody asked for before.
#[derive(Clone)]
struct Raw(String);

fn series(recorded: &Recorded, name: &str) -> Vec<Vec<(String, String)>> {
    recorded.all().into_iter().filter(|(other, ..)| other == name).map(|(_, labels, _)| labels).collect()
}

#[tokio::test]
async fn random_paths_and_methods_do_not_make_series_without_end() {
    const BOUND: usize = 10;
    let calls = times(20_000, 1_000_000);
    let recorded = Recorded::new();
    let _recorder = recorded.install();
    let seed = 0x5eed_0002;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let methods: Vec<Method> =
        (0..1_000).map(|number| Method::from_bytes(format!("M{number}").as_bytes()).unwrap()).collect();
    let known = [Method::GET, Method::POST];
    let observe = Observe::builder()
        .max_routes(BOUND)
        // The worst resolver there is: it says the path.
        .route(|extensions| extensions.get::<Raw>().map(|raw| raw.0.as_str()))
        .build()
        .unwrap();
    let mut service = ObserveLayer::server(observe).layer(service_fn(ok));
    for number in 0..calls {
        let mut call = request("/");
        *call.method_mut() = match number % 3 {
            0 => known[number % 2].clone(),
            _ => methods[random.below(1_000) as usize].clone(),
        };
        if number % 7 != 0 {
            call.extensions_mut().insert(Raw(format!("/{:x}", random.next())));
        }
        service.ready().await.unwrap().call(call).await.unwrap().into_body().collect().await.unwrap();
    }
    let durations = series(&recorded, "http_server_request_duration_seconds");
    let values = |label: &str| -> HashSet<String> {
        let all = durations.iter().flatten().filter(|(name, _)| name == label);
        all.map(|(_, value)| value.clone()).collect()
    };
    let routes = values("http_route");
    assert_eq!(routes.len(), BOUND + 2);
    assert!(routes.contains("_unmatched") && routes.contains("_other"));
    let expected: HashSet<String> = ["GET", "POST", "_OTHER"].map(str::to_owned).into();
    assert_eq!(values("http_request_method"), expected);
    assert!(durations.len() <= (BOUND + 2) * 3, "{} series", durations.len());
    assert_eq!(series(&recorded, "http_server_active_requests").len(), 3);
}

/// Whatever moment a caller gives up at: before the first poll, before the head, in the body, or not at all.
#[tokio::test(start_paused = true)]
async fn cancelled_calls_leave_the_gauge_at_zero_and_one_record_each() {
    const CALLS: usize = 100_000;
    let recorded = Recorded::new();
    let _recorder = recorded.install();
    let seed = 0x5eed_0003;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let ends = Arc::new([const { AtomicUsize::new(0) }; 3]);
    let to = ends.clone();
    let observe = Observe::builder()
        .json(move |line| {
            let outcomes = ["\"outcome\":\"complete\"", "\"outcome\":\"error\"", "\"outcome\":\"dropped\""];
            let which = outcomes.iter().position(|outcome| line.contains(outcome)).unwrap();
            to[which].fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let mut service =
        ObserveLayer::server(observe.clone()).layer(service_fn(async |request: Request<Body>| {
            for _ in 0..request.uri().path().len() {
                tokio::task::yield_now().await;
            }
            let frames = stream::unfold(0, async |number| {
                tokio::task::yield_now().await;
                (number < 4)
                    .then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"abc"))), number + 1))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        }));
    let mut reached = [0usize; 3];
    for number in 0..CALLS {
        let path = ["/", "/a", "/ab"][random.below(3) as usize];
        // Polls before the caller gives up; the longest call takes 4 for the head and 10 for the body.
        let mut patience = random.below(18);
        let mut call = Box::pin(service.ready().await.unwrap().call(request(path)));
        let head = loop {
            if patience == 0 {
                break None;
            }
            patience -= 1;
            if let Some(response) = call.as_mut().now_or_never() {
                break Some(response.unwrap());
            }
        };
        let Some(response) = head else {
            reached[0] += 1;
            drop(call);
            continue;
        };
        let mut body = Box::pin(response.into_body());
        let complete = loop {
            if patience == 0 {
                break false;
            }
            patience -= 1;
            if let Some(None) = body.frame().now_or_never() {
                break true;
            }
        };
        reached[if complete { 2 } else { 1 }] += 1;
        drop(body);
        let written: usize = ends.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        assert_eq!(written, number + 1, "exactly one record each");
    }
    println!("given up before the head {}, in the body {}, complete {}", reached[0], reached[1], reached[2]);
    assert!(reached.iter().all(|&count| count > CALLS / 20), "{reached:?}");
    assert_eq!(ends[0].load(Ordering::Relaxed), reached[2]);
    assert_eq!(ends[2].load(Ordering::Relaxed), reached[0] + reached[1]);
    assert_eq!(observe.accounting().emitted, CALLS as u64);
    let all = recorded.all();
    let gauge = all.iter().find(|(name, ..)| name == "http_server_active_requests").unwrap();
    assert!(matches!(gauge.2, DebugValue::Gauge(value) if value.into_inner() == 0.0), "{gauge:?}");
}

#[tokio::test]
async fn both_sides_have_their_metrics_and_a_layer_its_own_route() {
    let recorded = Recorded::new();
    let _recorder = recorded.install();
    let observe = Observe::builder().build().unwrap();
    let client = ObserveLayer::client(observe.clone()).route("inventory").layer(service_fn(ok));
    let server = ObserveLayer::server(observe).layer(client);
    let response = server.oneshot(request("/")).await.unwrap();
    let active = |recorded: &Recorded| {
        let all = recorded.all().into_iter();
        let gauges = all.filter(|(name, ..)| name == "http_server_active_requests");
        gauges
            .map(|(.., value)| matches!(value, DebugValue::Gauge(value) if value.into_inner() == 1.0))
            .collect::<Vec<_>>()
    };
    assert_eq!(active(&recorded), [true], "in flight until the end of the body");
    response.into_body().collect().await.unwrap();
    let labels = |name: &str| {
        let series = series(&recorded, name);
        assert_eq!(series.len(), 1);
        series[0].iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    };
    assert_eq!(
        labels("http_server_request_duration_seconds"),
        "http_request_method=GET,http_route=_unmatched,http_response_status_code=200"
    );
    assert_eq!(
        labels("http_client_request_duration_seconds"),
        "http_request_method=GET,http_route=inventory,http_response_status_code=200"
    );
}

#[tokio::test(start_paused = true)]
async fn summaries_count_and_place_the_calls_of_a_period() {
    let (lines, builder) = lines();
    let observe = builder
        .sample(0.0)
        .summary(true)
        .route(|extensions| extensions.get::<&'static str>().copied())
        .build()
        .unwrap();
    let service = ObserveLayer::server(observe.clone()).layer(service_fn(async |request: Request<Body>| {
        let wait: u64 = request.uri().path()[1..].parse().unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let status = if wait == 100 { 500 } else { 200 };
        Ok::<_, Infallible>(Response::builder().status(status).body(Body::default()).unwrap())
    }));
    tokio::spawn(observe.clone().write_summaries_every(Duration::from_secs(60)));
    for wait in 1..=100 {
        let mut call = request(&format!("/{wait}"));
        call.extensions_mut().insert("/wait");
        service.clone().oneshot(call).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    let line = lines.one();
    assert_eq!(line["message"], "summary");
    assert_eq!((&line["route"], &line["count"], &line["errors"]), (&"/wait".into(), &100.into(), &1.into()));
    for (field, exact) in [("p50_ms", 50.0), ("p90_ms", 90.0), ("p99_ms", 99.0)] {
        let near = line[field].as_f64().unwrap();
        assert!((near / exact - 1.0).abs() < 0.03, "{field}: {near}");
    }
    assert!(observe.summaries().is_empty(), "a period begins with nothing");
}

/// What the server is at fault for is an error, in whatever way it says so; each route has a summary of its own.
#[tokio::test]
async fn summaries_count_failures_of_every_kind() {
    let (lines, builder) = lines();
    let observe = builder
        .sample(0.0)
        .summary(true)
        .route(|extensions| Some(if extensions.get::<u8>().is_some() { "/even" } else { "/odd" }))
        .build()
        .unwrap();
    let service = ObserveLayer::server(observe.clone()).layer(service_fn(async |request: Request<Body>| {
        let mut response = Response::new(Body::default());
        match request.uri().path() {
            "/500" => *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR,
            "/404" => *response.status_mut() = http::StatusCode::NOT_FOUND,
            "/error" => return Err(std::io::Error::other("no upstream")),
            path => {
                if let Some(status) = path.strip_prefix("/grpc-") {
                    response.headers_mut().insert("grpc-status", status.parse().unwrap());
                }
            }
        }
        Ok(response)
    }));
    let calls = [
        ("/500", 1),
        ("/error", 1),
        ("/grpc-2", 1),
        ("/grpc-4", 1),
        ("/grpc-12", 1),
        ("/grpc-13", 1),
        ("/grpc-14", 1),
        ("/grpc-15", 1),
        ("/grpc-17", 1),
        ("/grpc-0", 0),
        ("/grpc-1", 0),
        ("/grpc-5", 0),
        ("/grpc-16", 0),
        ("/404", 0),
        ("/", 0),
    ];
    let call_both = async |path: &str| {
        for even in [true, false] {
            let mut call = request(path);
            if even {
                call.extensions_mut().insert(0_u8);
            }
            drop(service.clone().oneshot(call).await);
        }
    };
    for (path, errors) in calls {
        call_both(path).await;
        let all: Vec<_> = observe.summaries().into_iter().map(|it| (it.route, it.count, it.errors)).collect();
        assert_eq!(all.len(), 2, "{path}");
        for route in ["/even", "/odd"] {
            assert!(all.contains(&(route.to_owned(), 1, errors)), "{path}: {all:?}");
        }
        call_both(path).await;
        let before = lines.all().len();
        observe.write_summaries();
        assert_eq!(lines.all().len() - before, 2, "a line for each route");
    }
}

/// A closure of the user's that panics, wherever it stands, leaves no call behind in the gauge.
#[tokio::test]
async fn panics_leave_the_gauge_at_zero() {
    use std::panic::AssertUnwindSafe;

    let recorded = Recorded::new();
    let _recorder = recorded.install();
    let asked = |_: &http::Extensions| -> bool { panic!("on purpose") };
    for observe in [
        lines().1.route(move |extensions| asked(extensions).then_some("/")),
        lines().1.peer(move |extensions| asked(extensions).then_some([127, 0, 0, 1].into())),
        lines().1.field("own", |_| panic!("on purpose")),
    ] {
        let mut service = ObserveLayer::server(observe.build().unwrap()).layer(service_fn(ok));
        let call = AssertUnwindSafe(async { service.call(request("/")).await });
        assert!(call.catch_unwind().await.is_err());
    }
    let gauges: Vec<_> =
        recorded.all().into_iter().filter(|(name, ..)| name == "http_server_active_requests").collect();
    assert!(gauges.iter().all(|(.., value)| *value == DebugValue::Gauge(0.0.into())), "{gauges:?}");
    assert!(!gauges.is_empty());
}

//! Which calls are written down, in one service and in several.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_correlation::observe::{Observe, ObserveBuilder, ObserveLayer};
use tower_correlation::{CorrelationLayer, PropagateLayer};

use crate::observed::{Body, Random, lines, ok, request, times};

/// Ids of the calls that were kept, with the sum of their weights.
type Kept = Arc<Mutex<HashMap<String, f64>>>;

fn keeping(configure: impl Fn(ObserveBuilder) -> ObserveBuilder) -> (Kept, Observe) {
    let kept = Kept::default();
    let to = kept.clone();
    let builder = Observe::builder().json(move |line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = line["correlation_id"].as_str().unwrap().to_owned();
        let by_rate = line["kept"] == "rate";
        let weight = line["weight"].as_f64().unwrap();
        let again = to.lock().unwrap().insert(if by_rate { id } else { format!("!{id}") }, weight);
        assert_eq!(again, None, "one line for one call");
    });
    (kept, configure(builder).build().unwrap())
}

type Http = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// A service that answers itself or asks the next one, which answers with a failure now and then.
fn service(observe: &Observe, next: Option<Http>) -> Http {
    let answer = service_fn(move |request: Request<Body>| {
        let next = next.clone();
        async move {
            match next {
                Some(next) => {
                    // Nothing but what the layers carry goes along.
                    let outbound = PropagateLayer::new().layer(next);
                    Ok(outbound.oneshot(Request::new(Body::default())).await?)
                }
                None => {
                    let id = request.headers()["x-request-id"].to_str().unwrap();
                    let status = if id.ends_with("00") { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
                    Ok::<_, Infallible>(Response::builder().status(status).body(Body::from("x")).unwrap())
                }
            }
        }
    });
    let service = ServiceBuilder::new()
        .layer(CorrelationLayer::new())
        .layer(ObserveLayer::server(observe.clone()))
        .service(answer);
    BoxCloneSyncService::new(service.map_response(|response| {
        response.map(|body| {
            // The same type for all services; the observed body ends here.
            let mut body = body;
            let read = futures_util::FutureExt::now_or_never(body.frame()).flatten().unwrap().unwrap();
            Body::from(read.into_data().unwrap())
        })
    }))
}

/// Calls of three kinds: with a trace whose id is known to be random, with an id alone, with nothing.
fn call(number: usize, random: &mut Random) -> Request<Body> {
    let mut call = request("/");
    let headers = call.headers_mut();
    match number % 3 {
        0 => {
            let (high, low) = (random.next(), random.next());
            let parent = format!("00-{high:016x}{low:016x}-00000000000000ab-02");
            headers.insert("traceparent", HeaderValue::try_from(parent).unwrap());
            headers.insert("x-request-id", HeaderValue::try_from(format!("t-{number}")).unwrap());
        }
        1 => {
            headers.insert("x-request-id", HeaderValue::try_from(format!("i-{number}")).unwrap());
        }
        _ => {}
    }
    call
}

/// The sum of weights is off by the standard error of a sum of independent draws: sqrt(n (1 - p) / p). Ten of them, for
/// those of the third kind are drawn anew in each run.
fn within_ten_errors(sum: f64, count: usize, rate: f64) {
    let error = (count as f64 * (1.0 - rate) / rate).sqrt();
    assert!((sum - count as f64).abs() <= 10.0 * error, "{sum} for {count} at {rate}: {error}");
}

#[tokio::test]
async fn no_call_is_kept_in_one_service_and_lost_in_another() {
    const CALLS: usize = 100_000;
    let seed = 0x5eed_0001;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let (kept_a, a) = keeping(|builder| builder.sample(0.1));
    let (kept_b, b) = keeping(|builder| builder.sample(0.1).always_status(500..));
    let (kept_c, c) = keeping(|builder| builder.sample(0.02));
    let chain = service(&a, Some(service(&b, Some(service(&c, None)))));
    for number in 0..CALLS {
        chain.clone().oneshot(call(number, &mut random)).await.unwrap();
    }
    let (kept_a, kept_b, kept_c) = (kept_a.lock().unwrap(), kept_b.lock().unwrap(), kept_c.lock().unwrap());
    let by_rate = |kept: &HashMap<String, f64>| -> HashSet<String> {
        kept.keys().filter(|id| !id.starts_with('!')).cloned().collect()
    };
    let (of_a, of_b, of_c) = (by_rate(&kept_a), by_rate(&kept_b), by_rate(&kept_c));
    assert_eq!(of_a, of_b, "the same rate keeps the same calls");
    assert!(of_c.is_subset(&of_a), "a lower rate keeps some of them");
    assert!(of_a.len() > 9_000 && of_c.len() > 1_500);
    assert!(kept_b.keys().any(|id| id.starts_with('!')), "rules kept more");
    for (kept, observe, rate) in [(&kept_a, &a, 0.1), (&kept_b, &b, 0.1), (&kept_c, &c, 0.02)] {
        within_ten_errors(kept.values().sum(), CALLS, rate);
        let accounting = observe.accounting();
        assert_eq!(accounting.finished, CALLS as u64);
        assert_eq!(accounting.emitted, kept.len() as u64);
        assert_eq!(accounting.emitted + accounting.sampled_out, accounting.finished);
    }
}

#[tokio::test]
async fn explicit_randomness_decides_and_the_first_rate_holds_for_all_when_asked() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
    let with = |state: &'static str| {
        let mut call = request("/");
        call.headers_mut().insert("traceparent", HeaderValue::from_static(parent));
        call.headers_mut().insert("tracestate", HeaderValue::from_static(state));
        call
    };
    let kept = async |call: Request<Body>, configure: fn(ObserveBuilder) -> ObserveBuilder| {
        let (kept, observe) = keeping(configure);
        service(&observe, None).oneshot(call).await.unwrap();
        let weights: Vec<f64> = kept.lock().unwrap().values().copied().collect();
        weights
    };
    assert_eq!(kept(with("ot=rv:80000000000000"), |b| b.sample(0.5)).await, [2.0]);
    assert!(kept(with("ot=rv:7fffffffffffff"), |b| b.sample(0.5)).await.is_empty());
    // A threshold counts only where the head decides.
    let state = "ot=th:c;rv:d0000000000000";
    assert!(kept(with(state), |b| b.sample(0.0)).await.is_empty());
    assert_eq!(kept(with(state), |b| b.sample(0.0).head_decides(true)).await, [4.0]);

    // The first of two services has a rate, the second takes it over whatever its own.
    let (first, a) = keeping(|builder| builder.sample(0.25).head_decides(true));
    let (second, b) = keeping(|builder| builder.sample(1.0).head_decides(true));
    let chain = service(&a, Some(service(&b, None)));
    let mut random = Random(7);
    for number in 0..900 {
        chain.clone().oneshot(call(number, &mut random)).await.unwrap();
    }
    let (first, second) = (first.lock().unwrap(), second.lock().unwrap());
    assert_eq!(*first, *second);
    assert!(first.len() > 150 && first.len() < 300);
}

#[tokio::test]
async fn routes_have_rates_of_their_own_even_when_the_response_names_them() {
    let (lines, builder) = lines();
    let observe = builder
        .sample(0.0)
        .sample_route("/audit", 1.0)
        .route(|extensions| extensions.get::<&'static str>().copied())
        .build()
        .unwrap();
    let inner = service_fn(async |request: Request<Body>| {
        let mut response = Response::new(Body::default());
        if request.uri().path() == "/late" {
            response.extensions_mut().insert("/audit");
        }
        Ok::<_, Infallible>(response)
    });
    let service = ObserveLayer::server(observe.clone()).layer(inner);
    for (path, route) in [("/", None), ("/", Some("/audit")), ("/", Some("/other")), ("/late", None)] {
        let mut call = request(path);
        if let Some(route) = route {
            call.extensions_mut().insert(route);
        }
        service.clone().oneshot(call).await.unwrap();
    }
    let routes: Vec<_> = lines.all().iter().map(|line| line["route"].clone()).collect();
    assert_eq!(routes, ["/audit", "/audit"]);
    assert_eq!((observe.accounting().emitted, observe.accounting().sampled_out), (2, 2));
}

#[tokio::test]
async fn the_rate_changes_while_calls_come_in() {
    let (lines, builder) = lines();
    let observe = builder.sample_route("/audit", 1.0).route(|_| None).build().unwrap();
    let service = ObserveLayer::server(observe.clone()).layer(service_fn(ok));
    let written = async |expected: usize| {
        service.clone().oneshot(request("/")).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(lines.all().len(), expected);
    };
    written(1).await;
    observe.set_sample(0.0).unwrap();
    written(1).await;
    assert_eq!(observe.set_sample(2.0).unwrap_err().field(), "sample");
    written(1).await;
    observe.set_sample(1.0).unwrap();
    written(2).await;
}

#[tokio::test(start_paused = true)]
async fn rules_keep_what_the_rate_does_not() {
    let (lines, builder) = lines();
    let observe = builder
        .sample(0.0)
        .always_status(500..)
        .always_status(429..=429)
        .always_slower_than(Duration::from_secs(1))
        .always_failed(true)
        .build()
        .unwrap();
    let inner = service_fn(async |request: Request<Body>| {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        let status: u16 = request.uri().path()[1..].parse().unwrap_or(200);
        Ok::<_, Infallible>(Response::builder().status(status).body(Body::default()).unwrap())
    });
    let service = ObserveLayer::server(observe.clone()).layer(inner);
    for path in ["/", "/499", "/500", "/503", "/429", "/428", "/slow"] {
        service.clone().oneshot(request(path)).await.unwrap();
    }
    let hanging = service_fn(async |_: Request<Body>| {
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    });
    let mut given_up = Box::pin(ObserveLayer::server(observe.clone()).layer(hanging).oneshot(request("/")));
    assert!(futures_util::FutureExt::now_or_never(given_up.as_mut()).is_none());
    drop(given_up);
    let kept: Vec<_> =
        lines.all().iter().map(|line| format!("{} {}", line["kept"], line["weight"])).collect();
    let rules = ["status", "status", "status", "slow", "failed"];
    assert_eq!(kept, rules.map(|rule| format!("\"{rule}\" 1")));
    assert_eq!(observe.accounting().sampled_out, 3);
}

/// Eight threads over a limit: nothing is lost from the books, and what the refused lines stood for is carried on.
#[test]
fn the_books_balance_under_a_rate_limit() {
    let calls = times(10_000, 1_000_000);
    let sum = Arc::new(Mutex::new(0.0));
    let to = sum.clone();
    let observe = Observe::builder()
        .sample(0.5)
        // So few that a slow machine has more to say too.
        .rate_limit(10.0, 50)
        .json(move |line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            *to.lock().unwrap() += line["weight"].as_f64().unwrap() + line["carried"].as_f64().unwrap_or(0.0);
        })
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let service = ServiceBuilder::new()
                    .layer(CorrelationLayer::new())
                    .layer(ObserveLayer::server(observe.clone()))
                    .service(service_fn(ok));
                runtime.block_on(async {
                    for _ in 0..calls {
                        let response = service.clone().oneshot(request("/")).await.unwrap();
                        response.into_body().collect().await.unwrap();
                    }
                });
            });
        }
    });
    let books = observe.accounting();
    println!("{books:?}");
    assert_eq!(books.finished, 8 * calls as u64);
    assert_eq!(books.emitted + books.sampled_out + books.rate_limited, books.finished);
    assert!(books.emitted >= 50 && books.rate_limited > 0 && books.sampled_out > 0);
    // What the lines after the last one let through stood for is not carried by any line yet.
    let told = *sum.lock().unwrap();
    assert!(told >= books.emitted as f64 * 2.0 && told <= 2.0 * (books.emitted + books.rate_limited) as f64);
}

#[tokio::test(start_paused = true)]
async fn a_limit_lets_the_burst_through_and_carries_weights_exactly() {
    let (lines, builder) = lines();
    let observe = builder.rate_limit(10.0, 3).build().unwrap();
    let service = ObserveLayer::server(observe.clone()).layer(service_fn(ok));
    let send = async |count: usize| {
        for _ in 0..count {
            service.clone().oneshot(request("/")).await.unwrap().into_body().collect().await.unwrap();
        }
    };
    send(10).await;
    assert_eq!((observe.accounting().emitted, observe.accounting().rate_limited), (3, 7));
    tokio::time::advance(Duration::from_millis(101)).await;
    send(2).await;
    let all = lines.all();
    assert_eq!(all.len(), 4);
    assert_eq!(all[3]["carried"], 7);
    assert!(all[..3].iter().all(|line| line.get("carried").is_none()));
    tokio::time::advance(Duration::from_millis(101)).await;
    send(1).await;
    assert_eq!(lines.all()[4]["carried"], 1, "the one of the two before that was refused");
}

/// Calls that are made while a body streams belong to the same decision as those before its head.
#[tokio::test]
async fn the_first_rate_is_told_while_the_body_streams_too() {
    use http_body::Frame;
    use http_body_util::StreamBody;

    fn told() -> Option<String> {
        tower_correlation::current().unwrap().tracestate().map(ToString::to_string)
    }
    let handler = service_fn(async |_: Request<Body>| {
        assert_eq!(told().as_deref(), Some("ot=th:c"));
        let frames = futures_util::stream::once(async {
            Ok::<_, Infallible>(Frame::data(bytes::Bytes::from(told().unwrap_or_default())))
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    });
    let (_, observe) = keeping(|builder| builder.sample(0.25).head_decides(true));
    let service = CorrelationLayer::new().layer(ObserveLayer::server(observe).layer(handler));
    let body = service.oneshot(request("/")).await.unwrap().into_body();
    assert_eq!(Box::pin(body).as_mut().collect().await.unwrap().to_bytes(), "ot=th:c");
}

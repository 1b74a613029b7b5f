//! OpenTelemetry's `ot` member of `tracestate`: what its samplers and collectors write and read.

use std::convert::Infallible;
use std::ops::Bound;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_correlation::observe::{ObserveBuilder, ObserveLayer};
use tower_correlation::{CorrelationLayer, PropagateLayer};

use crate::observed::{Body, lines, request};

/// The route of a response, where a router would have left it.
#[derive(Clone)]
struct Route(&'static str);

/// One call with this randomness and this state, through a service that asks another: its line, if there is one, and the
/// state that the other is told.
async fn call(
    randomness: &str,
    state: &str,
    configure: impl Fn(ObserveBuilder) -> ObserveBuilder,
) -> (Option<Value>, Option<String>) {
    let (lines, builder) = lines();
    let observe = configure(builder.route(|extensions| extensions.get::<Route>().map(|route| route.0)))
        .build()
        .unwrap();
    let upstream =
        service_fn(async |request: Request<Body>| Ok::<_, Infallible>(request.into_parts().0.headers));
    let client = PropagateLayer::new().layer(upstream);
    let service = ServiceBuilder::new()
        .layer(CorrelationLayer::new())
        .layer(ObserveLayer::server(observe))
        .service(service_fn(move |_: Request<Body>| {
            let client = client.clone();
            async move {
                let told: HeaderMap = client.oneshot(Request::new(Body::default())).await?;
                let mut response = Response::new(Full::<Bytes>::default());
                response.extensions_mut().insert(told);
                response.extensions_mut().insert(Route("/rare"));
                Ok::<_, Infallible>(response)
            }
        }));
    let mut request = request("/");
    let parent = format!("00-eeeeeeeeeeeeeeeeee{randomness}-00f067aa0ba902b7-02");
    request.headers_mut().insert("traceparent", HeaderValue::try_from(parent).unwrap());
    request.headers_mut().insert("tracestate", HeaderValue::try_from(state).unwrap());
    let mut response = service.oneshot(request).await.unwrap();
    let told = response.extensions_mut().remove::<HeaderMap>().unwrap();
    drop(response);
    let state = told.get("tracestate").map(|state| state.to_str().unwrap().to_owned());
    (lines.all().pop(), state)
}

const ZERO: &str = "00000000000000";
const HALF: &str = "80000000000000";
const MOST: &str = "ffffffffffffff";

#[tokio::test]
async fn the_last_56_bits_decide_and_an_explicit_value_before_them() {
    for (randomness, kept) in [(ZERO, false), ("7fffffffffffff", false), (HALF, true), (MOST, true)] {
        assert_eq!(call(randomness, "a=1", |b| b.sample(0.5)).await.0.is_some(), kept, "{randomness}");
    }
    // 14 digits in lower case are a value; anything else is none, and the trace id counts.
    for (value, kept) in [
        (ZERO, false),
        ("d29d6a7215ced0", true),
        ("123412341234120", true),
        ("1234123412341", true),
        ("", true),
        ("00000000000000g", true),
        ("ABCDEFABCDEFAB", true),
    ] {
        let state = format!("ot=rv:{value};x:y");
        assert_eq!(call(MOST, &state, |b| b.sample(0.25)).await.0.is_some(), kept, "{value}");
    }
}

#[tokio::test]
async fn the_caller_s_threshold_counts_and_has_its_weight() {
    let weight = |th: u64, digits: u32| 1.0 / (1.0 - th as f64 / 16_f64.powi(digits as i32));
    for (threshold, randomness, expected) in [
        ("c", "d29d6a7215ced0", Some(4.0)),
        ("8", "d29d6a7215ced0", Some(2.0)),
        ("0", ZERO, Some(1.0)),
        ("f", "d29d6a7215ced0", None),
        ("1000", HALF, Some(weight(1, 1))),
        ("555", "aaaaaaaaaaaaaa", Some(weight(0x555, 3))),
        ("000456789a", HALF, Some(weight(0x45_6789a, 10))),
        (MOST, MOST, Some(2_f64.powi(56))),
        (MOST, "fffffffffffffe", None),
    ] {
        let line =
            call(randomness, &format!("ot=th:{threshold}"), |b| b.sample(0.0).head_decides(true)).await.0;
        let seen = line.map(|line| line["weight"].as_f64().unwrap());
        assert!(
            match (seen, expected) {
                (Some(seen), Some(expected)) => (seen / expected - 1.0).abs() < 1e-12,
                (seen, expected) => seen.is_none() && expected.is_none(),
            },
            "{threshold} {randomness}: {seen:?}"
        );
    }
    // What is no threshold is none: the rate here counts. So it is where nobody asked for the caller's.
    for bad in ["", "$", "0x1p+3", "14.5", "-1", "C", "100000000000000", "ffffffffffffffff"] {
        let state = format!("ot=th:{bad};x:y");
        assert!(call(ZERO, &state, |b| b.sample(1.0).head_decides(true)).await.0.is_some(), "{bad}");
    }
    assert!(call(ZERO, "ot=thx:0;ath:0", |b| b.sample(0.5).head_decides(true)).await.0.is_none());
    assert!(call(ZERO, "ot=th:c", |b| b.sample(1.0)).await.0.is_some());
    // The route that the response names has a rate of its own, which the caller's goes before as well.
    let rare = |b: ObserveBuilder| b.sample(1.0).sample_route("/rare", 0.0);
    assert!(call(HALF, "a=1", rare).await.0.is_none());
    assert!(call(HALF, "ot=th:8", |b| rare(b).head_decides(true)).await.0.is_some());
}

#[tokio::test]
async fn the_first_service_tells_its_threshold_and_the_others_pass_it_on() {
    let told = async |rate: f64, state: &str| {
        call(ZERO, state, |b| b.sample(rate).head_decides(true)).await.1.unwrap()
    };
    for (rate, threshold) in [
        (1.0, "0"),
        (0.5, "8"),
        (0.25, "c"),
        (0.0625, "f"),
        (1.0 / 3.0, "aaaaaaaaaaaaac"),
        (2.0 / 3.0, "55555555555558"),
        (1.0 - 84.0 / 256.0, "54"),
        (1.0 - 1.0 / 256.0, "01"),
        (0.5_f64.powi(56), MOST),
    ] {
        assert_eq!(told(rate, "zz=1").await, format!("ot=th:{threshold},zz=1"), "{rate}");
    }
    let kept = "zz=1,ot=rv:abcdefabcdefab;p:2;thx:1";
    assert_eq!(told(0.5, kept).await, "ot=th:8;rv:abcdefabcdefab;p:2;thx:1,zz=1");
    assert_eq!(told(0.5, "yy=1,ot=th:c;x:y,zz=1").await, "yy=1,ot=th:c;x:y,zz=1", "the caller's");
    // A rate of nothing has no form, and a member that is full no room.
    assert_eq!(told(0.0, "zz=1").await, "zz=1");
    let full = format!("ot=x:{}", "y".repeat(250));
    assert_eq!(told(0.5, &full).await, full);
    assert_eq!(call(ZERO, "ot=th:c,zz=1", |b| b.sample(0.5)).await.1.unwrap(), "ot=th:c,zz=1");
}

#[tokio::test]
async fn ranges_of_statuses_are_what_ranges_are() {
    let kept = async |configure: fn(ObserveBuilder) -> ObserveBuilder, status: u16| {
        let (lines, builder) = lines();
        let answer = service_fn(move |_: Request<Body>| async move {
            Ok::<_, Infallible>(Response::builder().status(status).body(Body::default()).unwrap())
        });
        let observe = configure(builder.sample(0.0)).build().unwrap();
        drop(ObserveLayer::server(observe).layer(answer).oneshot(request("/")).await.unwrap());
        !lines.all().is_empty()
    };
    type Configure = fn(ObserveBuilder) -> ObserveBuilder;
    let above: Configure = |b| b.always_status((Bound::Excluded(499), Bound::Unbounded));
    let half_open: Configure = |b| b.always_status(400..500);
    let below: Configure = |b| b.always_status(..=404);
    for (configure, first, last) in [(above, 500, 999), (half_open, 400, 499), (below, 100, 404)] {
        assert!(kept(configure, first).await && kept(configure, last).await);
        for outside in [first - 1, last + 1].into_iter().filter(|status| (100..1000).contains(status)) {
            assert!(!kept(configure, outside).await, "{outside}");
        }
    }
}

//! The two forms of a line, and what configurations are refused.

use std::convert::Infallible;

use http::{Method, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_correlation::ConfigError;
use tower_correlation::observe::{Observe, ObserveBuilder, ObserveLayer};

use crate::observed::{Body, Random, lines, request, times};

#[derive(Clone)]
struct Hostile(String);

/// Whatever characters routes, fields and methods are made of: one line, valid JSON, the same text back.
#[tokio::test]
async fn a_json_line_is_valid_for_hostile_input() {
    let seed = 0x5eed_0004;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let favourites: Vec<char> =
        "\"\\\n\r\t\0\u{1b}\u{7f}\u{85}\u{2028}\u{2029}\u{feff}{}[]:,é𝄞".chars().collect();
    let tokens: Vec<char> = "!#$%&'*+-.^_`|~aZ9".chars().collect();
    for _ in 0..times(5_000, 1_000_000) {
        let mut text = |length: u64| -> String {
            let characters = (0..random.below(length)).map(|_| match random.below(3) {
                0 => char::from_u32(random.below(0x11_0000) as u32).unwrap_or('x'),
                _ => favourites[random.below(favourites.len() as u64) as usize],
            });
            characters.collect()
        };
        let (route, field, service) = (text(20), text(200), text(10));
        let method: String =
            (0..=random.below(30)).map(|_| tokens[random.below(tokens.len() as u64) as usize]).collect();
        let (lines, builder) = lines();
        let given = field.clone();
        let observe = builder
            .service(service.clone())
            .route(|extensions| extensions.get::<Hostile>().map(|hostile| hostile.0.as_str()))
            .field("own \"field\"\n", move |_| Some(given.clone()))
            .build()
            .unwrap();
        let inner = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::default())));
        let mut call = request("/");
        *call.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        call.extensions_mut().insert(Hostile(route.clone()));
        ObserveLayer::server(observe).layer(inner).oneshot(call).await.unwrap();
        let raw = lines.raw().pop().unwrap();
        assert!(!raw.contains(|c: char| c.is_control()), "{raw:?}");
        let line = lines.one();
        assert_eq!(line["route"], route);
        assert_eq!(line["own \"field\"\n"], field);
        assert_eq!(line["service"], service);
        assert_eq!(line["method"], method);
    }
}

#[cfg(feature = "tracing")]
#[test]
fn the_same_record_is_a_tracing_event() {
    use tower::ServiceBuilder;
    use tower_correlation::CorrelationLayer;

    let observe = Observe::builder()
        .tracing()
        .service("orders")
        .field("cache", |_| Some("hit".to_owned()))
        .summary(true)
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(CorrelationLayer::new())
        .layer(ObserveLayer::server(observe.clone()))
        .service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::default())));
    let mut call = request("/");
    call.headers_mut().insert("x-request-id", http::HeaderValue::from_static("id-1"));
    let lines = crate::support::events_of(|| {
        futures_util::FutureExt::now_or_never(service.oneshot(call)).unwrap().unwrap();
        observe.write_summaries();
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    let line = &lines[0];
    for (field, value) in [
        ("message", "call"),
        ("level", "INFO"),
        ("target", "tower_correlation::observe"),
        ("service", "orders"),
        ("side", "server"),
        ("correlation_id", "id-1"),
        ("method", "GET"),
        ("route", "_unmatched"),
        ("outcome", "complete"),
        ("kept", "rate"),
        ("fields", "cache=\"hit\""),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!((&line["status"], &line["weight"]), (&200.into(), &1.0.into()));
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    assert!(line["duration_ms"].is_number() && line["bytes_out"] == 0);
    assert_eq!((&lines[1]["message"], &lines[1]["count"]), (&"summary".into(), &1.into()));
}

#[test]
fn wrong_configurations_name_their_field() {
    assert!(Observe::builder().sample(0.5).rate_limit(1.0, 1).field("own", |_| None).build().is_ok());
    type Change = fn(ObserveBuilder) -> ObserveBuilder;
    let refused = |configure: Change| -> ConfigError { configure(Observe::builder()).build().unwrap_err() };
    let cases: [(&str, Change); 9] = [
        ("sample", |b| b.sample(1.5)),
        ("sample", |b| b.sample(f64::NAN)),
        ("sample_route", |b| b.sample_route("/", -0.1)),
        ("rate_limit", |b| b.rate_limit(0.0, 1)),
        ("rate_limit", |b| b.rate_limit(f64::INFINITY, 1)),
        ("rate_limit", |b| b.rate_limit(1.0, 0)),
        ("field", |b| b.field("status", |_| None)),
        ("field", |b| b.field("own", |_| None).field("own", |_| None)),
        ("field", |b| b.field("trace_id", |_| None)),
    ];
    for (field, configure) in cases {
        assert_eq!(refused(configure).field(), field);
    }
}

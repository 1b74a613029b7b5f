//! What it costs to find out which registered version a request means: the sources are asked and the answer is looked
//! up; no layer around it, no request moved.
//!
//! Every iteration asserts what was selected. That no selection allocates is asserted in `examples/peers`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use tower_versioning::{Registry, Source, Version, VersionLayer, door};

/// Eight ordinary fields, and those given.
fn request(uri: &str, fields: &[(&'static str, &'static str)]) -> Parts {
    let mut request = Request::new(());
    *request.uri_mut() = uri.parse().unwrap();
    let ordinary = [
        ("host", "example.com"),
        ("user-agent", "bench/1.0"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("accept-language", "en"),
        ("cache-control", "no-cache"),
        ("content-type", "application/json"),
        ("x-client", "web"),
    ];
    for (name, value) in ordinary.iter().chain(fields) {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    request.into_parts().0
}

fn layer(versions: &[String], source: Source) -> VersionLayer {
    let texts = versions.iter().map(|text| text.parse::<Version>().unwrap());
    let builder = texts.fold(Registry::builder(), |builder, version| builder.version(version, |v| v));
    VersionLayer::new(builder.build().unwrap()).sources([source])
}

fn bench(criterion: &mut Criterion) {
    let numbers: Vec<String> = (1..=4).map(|number: u8| number.to_string()).collect();
    let dates: Vec<String> = (0..50).map(|n| format!("20{:02}-{:02}-01", 10 + n / 12, 1 + n % 12)).collect();
    let field = || Source::header(HeaderName::from_static("api-version"));
    let four = "text/html, application/json;v=1;q=0.5, application/json;v=3;q=0.9, */*;q=0.1";
    let mut group = criterion.benchmark_group("selection");
    for (name, versions, source, uri, fields, expected) in [
        ("path, 4 versions", &numbers, Source::path(""), "/v3/orders/7?page=1", &[][..], 2),
        ("path below /api, 4 versions", &numbers, Source::path("/api"), "/api/v3/orders/7", &[], 2),
        ("path, 50 dates", &dates, Source::path(""), "/v2013-05-01/orders/7", &[], 40),
        ("header, 4 versions", &numbers, field(), "/orders/7", &[("api-version", "3")], 2),
        ("header, 50 dates", &dates, field(), "/orders/7", &[("api-version", "2013-05-01")], 40),
        ("query, 4 versions", &numbers, Source::query("v"), "/orders/7?page=1&v=3", &[], 2),
        ("accept with 4 ranges", &numbers, Source::media_type("v"), "/orders/7", &[("accept", four)], 2),
        ("package of gRPC", &numbers, Source::grpc_package(), "/shop.orders.v3.Orders/Get", &[], 2),
    ] {
        let select = door::selection(&layer(versions, source));
        let parts = request(uri, fields);
        assert_eq!(select(&parts), Some(expected), "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(select(black_box(&parts)), Some(expected)));
        });
    }
    let lookup = door::lookup(&layer(&dates, field()));
    group.bench_function("text of a date, among 50", |bencher| {
        bencher.iter(|| assert_eq!(lookup(black_box(b"2013-05-01")), Some(40)));
    });
    // What the field alone costs: the map of the fields is asked once.
    let parts = request("/orders/7", &[("api-version", "3")]);
    let name = HeaderName::from_static("api-version");
    group.bench_function("(the map of fields, asked once)", |bencher| {
        bencher.iter(|| assert!(black_box(&parts).headers.get(black_box(&name)).is_some()));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);

//! API versions beside axum's `Router::nest`, tower's `Steer` and the `api-version` crate.
//!
//! `cargo bench --features versioning --bench versioning [-- FILTER]`. Rounds are interleaved: each contestant runs one
//! batch per round; the figures are medians of CPU time. Requests are made outside of what is timed; answers are read
//! to the end and dropped inside. Allocations are counted in a round of their own. Everybody gets the same eight fields,
//! one extension and four versions; status and length of the answers, and who was called, are asserted while it runs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use api_version::{ApiVersionLayer, ApiVersions};
use axum::Router;
use axum::extract::OriginalUri;
use axum::response::IntoResponse;
use axum::routing::get_service;
use cpu_time::ThreadTime;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use peers::{Bare, allocations, calls, count_allocations, request};
use tower::steer::Steer;
use tower::{Layer, Service, ServiceExt};
use tower_versioning::settings::Reports;
use tower_versioning::{Registry, Source, Version, VersionLayer, VersionRouter, door};

#[global_allocator]
static COUNTING: peers::Counting = peers::Counting;

const BATCH: usize = 256;
const ROUNDS: usize = 400;
/// Rounds that are not timed.
const WARM: usize = 20;

/// Fewer for profilers: `ROUNDS=1`, and with `ALONE=1` nothing but the rows of the filter.
fn rounds() -> usize {
    std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

/// A contestant: runs one batch; nanoseconds of CPU time and allocations.
type Run = Box<dyn FnMut() -> (f64, u64)>;

/// A row: its name, the row it is compared with, what it runs.
struct Row(&'static str, usize, Run);

fn versions(fields: &[(&'static str, &'static str)], target: &str) -> Request<peers::Body> {
    let mut request = request(target);
    for (name, value) in fields {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    request
}

/// Ready, call, await, the whole body, drop.
fn serve<S, A, B>(mut service: S, make: impl Fn() -> Request<A> + 'static, expected: (StatusCode, u64)) -> Run
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible> + 'static,
    A: 'static,
    B: http_body::Body,
{
    Box::new(move || {
        let (status, reaching) = expected;
        let requests: Vec<Request<A>> = (0..BATCH).map(|_| make()).collect();
        let (called, allocated, begun) = (calls(), allocations(), ThreadTime::now());
        timed(&mut service, requests, status);
        let taken = begun.elapsed().as_nanos() as f64 / BATCH as f64;
        let allocated = allocations() - allocated;
        assert_eq!(calls() - called, reaching * BATCH as u64, "who was called");
        (taken, allocated / BATCH as u64)
    })
}

/// A function of its own, so that profilers can tell it from the making of requests.
#[inline(never)]
fn timed<S, A, B>(service: &mut S, requests: Vec<Request<A>>, status: StatusCode)
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body,
{
    let mut cx = Context::from_waker(Waker::noop());
    for request in requests {
        assert!(service.poll_ready(&mut cx).is_ready());
        let Poll::Ready(Ok(response)) = pin!(service.call(black_box(request))).poll(&mut cx) else {
            panic!("nothing in here waits")
        };
        assert_eq!(response.status(), status);
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
            assert!(frame.is_ok());
        }
    }
}

/// Selection alone, many times per batch.
fn select(source: Source, versions: &[String], target: &str, fields: &[(&'static str, &'static str)]) -> Run {
    let layer = VersionLayer::new(registry(versions)).sources([source]);
    let select = door::selection(&layer);
    let parts: Parts = self::versions(fields, target).into_parts().0;
    let expected = select(&parts);
    assert!(expected.is_some());
    Box::new(move || {
        let (allocated, begun) = (allocations(), ThreadTime::now());
        for _ in 0..BATCH * 16 {
            assert_eq!(select(black_box(&parts)), expected);
        }
        let taken = begun.elapsed().as_nanos() as f64 / (BATCH * 16) as f64;
        assert_eq!(allocations(), allocated, "selection allocates");
        (taken, 0)
    })
}

fn registry(versions: &[String]) -> Registry {
    let versions = versions.iter().map(|text| text.parse::<Version>().unwrap());
    versions.fold(Registry::builder(), |builder, version| builder.version(version, |v| v)).build().unwrap()
}

fn numbers() -> Vec<String> {
    (1..=4).map(|number: u8| number.to_string()).collect()
}

fn users() -> Router {
    Router::new().route("/users/{id}", get_service(Bare))
}

fn selections() -> Vec<Row> {
    let dates: Vec<String> = (0..50).map(|n| format!("20{:02}-{:02}-01", 10 + n / 12, 1 + n % 12)).collect();
    let field = || Source::header(HeaderName::from_static("api-version"));
    let four = "text/html, application/json;v=1;q=0.5, application/json;v=3;q=0.9, */*;q=0.1";
    let map = {
        let parts = versions(&[("api-version", "3")], "/users/7").into_parts().0;
        let name = HeaderName::from_static("api-version");
        Box::new(move || {
            let begun = ThreadTime::now();
            for _ in 0..BATCH * 16 {
                assert!(black_box(&parts).headers.get(black_box(&name)).is_some());
            }
            (begun.elapsed().as_nanos() as f64 / (BATCH * 16) as f64, 0)
        })
    };
    let texts = {
        let lookup = door::lookup(&VersionLayer::new(registry(&dates)).sources([field()]));
        Box::new(move || {
            let begun = ThreadTime::now();
            for _ in 0..BATCH * 16 {
                assert_eq!(lookup(black_box(b"2013-05-01")), Some(40));
            }
            (begun.elapsed().as_nanos() as f64 / (BATCH * 16) as f64, 0)
        })
    };
    vec![
        Row("(the map of fields, asked once)", 0, map),
        Row("select: path", 0, select(Source::path(""), &numbers(), "/v3/users/7", &[])),
        Row("select: header", 0, select(field(), &numbers(), "/users/7", &[("api-version", "3")])),
        Row("select: text of a date among 50", 0, texts),
        Row(
            "select: header, 50 dates",
            0,
            select(field(), &dates, "/users/7", &[("api-version", "2013-05-01")]),
        ),
        Row(
            "select: accept, 4 ranges",
            0,
            select(Source::media_type("v"), &numbers(), "/users/7", &[("accept", four)]),
        ),
    ]
}

/// The least that can be done with the types of `http`: the field looked up, an extension of one number inserted, and so
/// many fields of static memory inserted into the answer.
#[derive(Clone)]
struct Least {
    extension: bool,
    fields: usize,
}

#[derive(Clone)]
struct Number(#[allow(dead_code, reason = "only inserted")] usize);

static LEAST: [(HeaderName, HeaderValue); 3] = [
    (HeaderName::from_static("vary"), HeaderValue::from_static("api-version")),
    (HeaderName::from_static("api-version"), HeaderValue::from_static("3")),
    (HeaderName::from_static("api-supported-versions"), HeaderValue::from_static("1, 2, 3, 4")),
];

impl Service<Request<peers::Body>> for Least {
    type Response = Response<peers::Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<peers::Body>) -> Self::Future {
        let version = request.headers().get(&LEAST[1].0).map_or(0, |value| value.len());
        assert_eq!(version, 1);
        if self.extension {
            request.extensions_mut().insert(Number(version));
        }
        let mut response = Bare.call(request).into_inner();
        if let Ok(response) = &mut response {
            for (name, value) in &LEAST[..self.fields] {
                response.headers_mut().insert(name, value.clone());
            }
        }
        std::future::ready(response)
    }
}

/// The same over axum routers: the version read as one digit of the path, a new target, the old one kept for axum, an
/// extension of one number; and the router of that number called.
#[derive(Clone)]
struct LeastPath {
    routers: [Router; 4],
}

impl Service<Request<axum::body::Body>> for LeastPath {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = <Router as Service<Request<axum::body::Body>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<axum::body::Body>) -> Self::Future {
        let target = request.uri().path_and_query().unwrap().as_str().as_bytes();
        let (b"/v", [digit, rest @ ..]) = target.split_at(2) else { panic!("no version") };
        let (number, rest) = (usize::from(digit - b'1'), PathAndQuery::try_from(rest.to_vec()).unwrap());
        let original = std::mem::replace(request.uri_mut(), Uri::from(rest));
        request.extensions_mut().insert(OriginalUri(original));
        request.extensions_mut().insert(Number(number));
        self.routers[number].call(request)
    }
}

/// Layers whose registry was asked before there was a recorder.
struct Unrecorded {
    field: VersionLayer,
    path: VersionLayer,
}

impl Unrecorded {
    fn new() -> Self {
        let path = VersionLayer::new(registry(&numbers())).sources([Source::path("")]);
        let first = |layer: &VersionLayer, request| {
            let mut service = layer.layer(Bare);
            let answer = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(answer, Poll::Ready(Ok(response)) if response.status() == StatusCode::OK));
        };
        first(&path, versions(&[], "/v3/users/7"));
        let field = field();
        first(&field, versions(&[("api-version", "3")], "/users/7"));
        Self { field, path }
    }
}

fn field() -> VersionLayer {
    VersionLayer::new(registry(&numbers())).sources([by_field()])
}

/// The same without a word about versions, for services with no cache in front of them.
fn silent(layer: VersionLayer) -> VersionLayer {
    layer.reports(Reports::None).sources([by_field().varies_on([])])
}

fn by_field() -> Source {
    Source::header(HeaderName::from_static("api-version"))
}

fn layers(first: usize, unrecorded: VersionLayer) -> Vec<Row> {
    let ask = |version: &'static str| move || versions(&[("api-version", version)], "/users/7?page=1");
    let ok = (StatusCode::OK, 1);
    let number = |request: &Request<peers::Body>, _: &[Bare]| {
        let version = request.headers().get("api-version").map(HeaderValue::as_bytes);
        version.and_then(|text| text.first()).map_or(0, |digit| usize::from((digit - b'1') & 3))
    };
    vec![
        Row("bare", first, serve(Bare, ask("3"), ok)),
        Row("least: field looked up", first, serve(Least { extension: false, fields: 0 }, ask("3"), ok)),
        Row("least: and an extension", first, serve(Least { extension: true, fields: 0 }, ask("3"), ok)),
        Row("least: and Vary", first, serve(Least { extension: true, fields: 1 }, ask("3"), ok)),
        Row("least: and three fields", first, serve(Least { extension: true, fields: 3 }, ask("3"), ok)),
        Row("tower-versioning, header", first, serve(field().layer(Bare), ask("3"), ok)),
        Row(
            "tower-versioning, reports off",
            first,
            serve(field().reports(Reports::None).layer(Bare), ask("3"), ok),
        ),
        Row(
            "tower-versioning, reports and Vary off",
            first,
            serve(silent(field()).layer(Bare), ask("3"), ok),
        ),
        Row("tower-versioning, no recorder", first, serve(unrecorded.clone().layer(Bare), ask("3"), ok)),
        Row(
            "tower-versioning, neither",
            first,
            serve(unrecorded.clone().reports(Reports::None).layer(Bare), ask("3"), ok),
        ),
        Row(
            "tower-versioning, neither, and Vary off",
            first,
            serve(silent(unrecorded).layer(Bare), ask("3"), ok),
        ),
        Row("tower Steer of four, by header", first, serve(Steer::new([Bare; 4], number), ask("3"), ok)),
        Row(
            "tower-versioning, refusal",
            first,
            serve(field().layer(Bare), ask("9"), (StatusCode::BAD_REQUEST, 0)),
        ),
    ]
}

fn routers(first: usize, unrecorded: VersionLayer) -> Vec<Row> {
    let nest = |prefix: &str| {
        (1..=4).fold(Router::new(), |router, n| router.nest(&format!("{prefix}/v{n}"), users()))
    };
    let router = (1..=4)
        .fold(VersionRouter::new(Router::new()), |router, n| router.version(Version::major(n), users()));
    let path = VersionLayer::new(registry(&numbers())).sources([Source::path("")]);
    let field = VersionLayer::new(registry(&numbers()))
        .sources([Source::header(HeaderName::from_static("x-api-version"))]);
    let ask = |target: &'static str, fields: &'static [(&'static str, &'static str)]| {
        move || versions(fields, target).map(axum::body::Body::new)
    };
    let plain = || ask("/users/7?page=1", &[]);
    let by_path = || ask("/v3/users/7?page=1", &[]);
    let by_field = || ask("/users/7?page=1", &[("x-api-version", "3")]);
    let rival = ApiVersionLayer::new("/api", ApiVersions::new([1, 2, 3, 4])).layer(nest("/api"));
    let rival = rival.map_response(IntoResponse::into_response);
    let ok = (StatusCode::OK, 1);
    vec![
        Row("Router::nest of four", first, serve(nest(""), by_path(), ok)),
        Row("one axum router, no versions", first, serve(users(), plain(), ok)),
        Row(
            "least: target, original, extension, router",
            first,
            serve(LeastPath { routers: std::array::from_fn(|_| users()) }, by_path(), ok),
        ),
        Row("VersionRouter, path", first, serve(path.layer(router.clone()), by_path(), ok)),
        Row(
            "VersionRouter, path, reports off",
            first,
            serve(path.reports(Reports::None).layer(router.clone()), by_path(), ok),
        ),
        Row(
            "VersionRouter, path, neither",
            first,
            serve(unrecorded.reports(Reports::None).layer(router.clone()), by_path(), ok),
        ),
        Row("VersionRouter, header", first, serve(field.layer(router), by_field(), ok)),
        Row(
            "api-version over Router::nest, header",
            first,
            serve(rival, ask("/api/users/7?page=1", &[("x-api-version", "v3")]), ok),
        ),
    ]
}

fn main() {
    // Handles are made with the first request: what was served before there is a recorder counts for nobody.
    let unrecorded = Unrecorded::new();
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut rows = selections();
    rows.extend(layers(rows.len(), unrecorded.field));
    rows.extend(routers(rows.len(), unrecorded.path));
    let wanted = |row: &Row| filter.as_ref().is_none_or(|filter| row.0.contains(filter.as_str()));
    let mut taken: Vec<Vec<f64>> = rows.iter().map(|_| Vec::new()).collect();
    let mut allocated = vec![0; rows.len()];
    // Only what is shown is run, and what that is compared with.
    let bases = |row: &&Row| wanted(row) && std::env::var_os("ALONE").is_none();
    let bases: Vec<usize> = rows.iter().filter(bases).map(|row| row.1).collect();
    let runs: Vec<bool> =
        rows.iter().enumerate().map(|(index, row)| wanted(row) || bases.contains(&index)).collect();
    for round in 0..rounds() + WARM {
        // Counting takes about as long as allocating: it has a round of its own, the last that is not timed.
        let counts = round + 1 == WARM;
        count_allocations(counts);
        for (index, row) in rows.iter_mut().enumerate().filter(|(index, _)| runs[*index]) {
            let (nanoseconds, allocations) = (row.2)();
            if counts {
                allocated[index] = allocations;
            } else if round >= WARM {
                taken[index].push(nanoseconds);
            }
        }
    }
    let medians: Vec<f64> = taken
        .iter_mut()
        .map(|all| {
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
        })
        .collect();
    println!("{:<42} {:>9} {:>9} {:>7} {:>7}", "row", "ns", "added", "ratio", "allocs");
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| wanted(row)) {
        let (own, base) = (medians[index], medians[row.1]);
        println!("{:<42} {own:>9.1} {:>9.1} {:>7.2} {:>7}", row.0, own - base, own / base, allocated[index]);
    }
}

//! Ids, trace context and RED metrics beside tower-http, axum-prometheus and the OpenTelemetry propagator.
//!
//! `cargo bench --features correlation --bench correlation [-- FILTER]`, and once more with `correlation,fast-rng` for uuid's other
//! random number generator. Rounds are interleaved: each contestant runs once per round; the figures are medians of
//! CPU time. Everybody gets the same request; who answers, and with what, is asserted while it runs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::convert::Infallible;
use std::future::{Future, Ready};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use axum_prometheus::PrometheusMetricLayer;
use bytes::Bytes;
use cpu_time::ThreadTime;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use peers::{Bare, Body, Identity, allocations, calls, count_allocations, request};
use tower::{Layer, Service, ServiceBuilder};
use tower_correlation::observe::{Observe, ObserveLayer};
use tower_correlation::{CorrelationLayer, Generator, PropagateLayer, trace};
use tower_http::ServiceBuilderExt;
use tower_http::request_id::MakeRequestUuid;
use tower_http::trace::TraceLayer;

#[global_allocator]
static COUNTING: peers::Counting = peers::Counting;

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

/// What the caller says about the request's identity.
#[derive(Clone, Copy)]
enum Inbound {
    Nothing,
    Id,
    All,
}

/// A contestant: runs so many times, and says nothing else.
type Run = Box<dyn FnMut(u32)>;

/// A row: its name, the row it is compared with, what it runs.
struct Row(String, usize, Run);

fn row(name: impl Into<String>, base: usize, run: Run) -> Row {
    Row(name.into(), base, run)
}

fn now_or_never<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing in here waits"),
    }
}

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Ready, call, await, the whole body, drop. Whether the answer has the id is told by its number of fields, which takes
/// the same time for everybody, and for the first of each round by name.
fn serve<S, B>(mut service: S, inbound: Inbound, echoes: bool) -> Run
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body,
{
    Box::new(move |times| {
        let before = calls();
        for time in 0..times {
            let mut request = request("http://example.com/orders/17?page=1");
            let headers = request.headers_mut();
            match inbound {
                Inbound::Nothing => {}
                Inbound::Id => drop(headers.insert("x-request-id", HeaderValue::from_static(ID))),
                Inbound::All => {
                    headers.insert("x-request-id", HeaderValue::from_static(ID));
                    headers.insert("traceparent", HeaderValue::from_static(PARENT));
                    headers.insert("tracestate", HeaderValue::from_static(STATE));
                }
            }
            let request = black_box(request);
            let response = now_or_never(async {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            });
            let response = response.unwrap();
            assert_eq!(response.headers().len(), if echoes { 3 } else { 2 });
            if time == 0 {
                assert_eq!(response.headers().contains_key(&X_REQUEST_ID), echoes);
            }
            let mut body = pin!(response.into_body());
            let mut frames = 0;
            while let Poll::Ready(Some(frame)) =
                body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()))
            {
                frames += u32::from(frame.is_ok());
            }
            assert_eq!(frames, 1);
        }
        assert_eq!(calls() - before, u64::from(times), "the service behind was called each time");
    })
}

fn server() -> Vec<Row> {
    let uuid = if cfg!(feature = "fast-rng") { "uuid fast-rng" } else { "uuid default rng" };
    let http_id =
        || ServiceBuilder::new().set_x_request_id(MakeRequestUuid).propagate_x_request_id().service(Bare);
    let http_both = || {
        ServiceBuilder::new()
            .set_x_request_id(MakeRequestUuid)
            .layer(TraceLayer::new_for_http())
            .propagate_x_request_id()
            .service(Bare)
    };
    let (prometheus, _) = PrometheusMetricLayer::pair();
    let ours = CorrelationLayer::new;
    let (any, echo) = (false, true);
    use Inbound::{All, Id, Nothing};
    let mut all = vec![
        row("bare", 0, serve(Bare, Nothing, any)),
        row("bare, request with id", 1, serve(Bare, Id, any)),
        row("bare, request with id and trace", 2, serve(Bare, All, any)),
        row("tower-correlation, no id", 0, serve(ours().layer(Bare), Nothing, echo)),
        row("tower-correlation, id", 1, serve(ours().layer(Bare), Id, echo)),
        row("tower-correlation, id and trace", 2, serve(ours().layer(Bare), All, echo)),
        row(
            "tower-correlation uuid_v7, no id",
            0,
            serve(ours().generate(Generator::uuid_v7()).layer(Bare), Nothing, echo),
        ),
        row(format!("tower-http request_id ({uuid}), no id"), 0, serve(http_id(), Nothing, echo)),
        row("tower-http request_id, id", 1, serve(http_id(), Id, echo)),
        row(format!("tower-http request_id + trace ({uuid}), no id"), 0, serve(http_both(), Nothing, echo)),
        row("tower-http request_id + trace, id", 1, serve(http_both(), Id, echo)),
        row("axum-prometheus", 0, serve(prometheus.layer(Bare), Nothing, any)),
    ];
    all.extend(observed(all.len()));
    all
}

/// Rows of the `observe` module; `first` is where they begin, and the names say what stands outside.
fn observed(first: usize) -> Vec<Row> {
    let builder =
        || Observe::builder().route(|extensions| extensions.get::<Identity>().map(|_| "/orders/{id}"));
    let red = || ObserveLayer::server(builder().build().unwrap());
    let log = |rate: f64| {
        let sink = |line: &str| assert!(black_box(line).ends_with('}'));
        ObserveLayer::server(builder().service("orders").sample(rate).json(sink).build().unwrap())
    };
    let both = |observe: ObserveLayer| {
        ServiceBuilder::new().layer(CorrelationLayer::new()).layer(observe).service(Bare)
    };
    let (any, echo) = (false, true);
    use Inbound::{All, Nothing};
    vec![
        row("observe: RED", 0, serve(red().layer(Bare), Nothing, any)),
        row("observe: RED, id and trace", 2, serve(red().layer(Bare), All, any)),
        row("id + trace + observe: RED", 5, serve(both(red()), All, echo)),
        // The trace of this request is not one of the hundred.
        row("id + trace + RED + log line left out", first + 2, serve(both(log(0.01)), All, echo)),
        row("id + trace + RED + log at 1 %, no id", 0, serve(both(log(0.01)), Nothing, echo)),
        row("id + trace + RED + log at 1 %, id and trace", 2, serve(both(log(0.01)), All, echo)),
        row("id + trace + RED + every line written", first + 2, serve(both(log(1.0)), All, echo)),
        row(
            "tower-http trace, no subscriber",
            0,
            serve(TraceLayer::new_for_http().layer(Bare), Nothing, any),
        ),
    ]
}

/// Does one thing to the request and one to the response, and decides nothing.
struct Part {
    request: fn(&mut Request<Body>),
    response: fn(&mut Response<Body>),
}

impl Service<Request<Body>> for Part {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = PartFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> PartFuture {
        (self.request)(&mut request);
        PartFuture { inner: Bare.call(request), response: self.response }
    }
}

struct PartFuture {
    inner: Ready<Result<Response<Body>, Infallible>>,
    response: fn(&mut Response<Body>),
}

impl Future for PartFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut result = ready!(Pin::new(&mut self.inner).poll(cx));
        if let Ok(response) = &mut result {
            (self.response)(response);
        }
        Poll::Ready(result)
    }
}

/// As small as an entry can be that says something.
#[derive(Clone)]
struct Entry(#[expect(dead_code, reason = "only carried")] u64);

/// What the types of http take for that which a layer like this does in any case.
fn parts() -> Vec<Row> {
    let part = |request, response| serve(Part { request, response }, Inbound::Nothing, false);
    let echo = |request, response| serve(Part { request, response }, Inbound::Nothing, true);
    fn nothing<T>(_: &mut T) {}
    fn field(headers: &mut HeaderMap) {
        headers.insert(&X_REQUEST_ID, HeaderValue::from_static(ID));
    }
    vec![
        row("bare", 0, serve(Bare, Inbound::Nothing, false)),
        row("a service around it", 0, part(nothing, nothing)),
        row(
            "a field looked for",
            1,
            part(|it| drop(black_box(it.headers().get(&X_REQUEST_ID).cloned())), nothing),
        ),
        row("a field into the request", 1, part(|it| field(it.headers_mut()), nothing)),
        row("a field into the response", 1, echo(nothing, |it| field(it.headers_mut()))),
        row(
            "an entry into the extensions",
            1,
            part(|it| drop(it.extensions_mut().insert(Entry(17))), nothing),
        ),
        row(
            "two fields and an entry",
            1,
            echo(
                |it| {
                    field(it.headers_mut());
                    it.extensions_mut().insert(Entry(17));
                },
                |it| field(it.headers_mut()),
            ),
        ),
        row(
            "an id made, kept, told and echoed by hand; nothing read, checked, traced or counted",
            1,
            echo(
                |it| {
                    let id = Generator::hex128().generate();
                    let value = Bytes::copy_from_slice(id.as_str().as_bytes());
                    it.headers_mut().insert(&X_REQUEST_ID, HeaderValue::from_maybe_shared(value).unwrap());
                    it.extensions_mut().insert(std::sync::Arc::new((id, [0_u64; 7])));
                },
                |it| field(it.headers_mut()),
            ),
        ),
        row("an allocation of 200 bytes", 1, part(|_| drop(black_box(Box::new([0_u64; 25]))), nothing)),
        row(
            "a shared value of 32 bytes made, copied and dropped",
            1,
            part(
                |_| {
                    let id = Bytes::from_owner(*black_box(b"0af7651916cd43dd8448eb211c80319c"));
                    let value = HeaderValue::from_maybe_shared(id).unwrap();
                    drop(black_box(value.clone()));
                    drop(black_box(value));
                },
                nothing,
            ),
        ),
    ]
}

fn inbound() -> HeaderMap {
    let mut headers = request("/").headers().clone();
    headers.insert("traceparent", HeaderValue::from_static(PARENT));
    headers.insert("tracestate", HeaderValue::from_static(STATE));
    headers
}

/// Fields in, fields out, in the place of those of the call before.
fn context() -> Vec<Row> {
    fn each(mut relay: impl FnMut(&HeaderMap, &mut HeaderMap) + 'static) -> Run {
        let (headers, mut outbound) = (inbound(), inbound());
        Box::new(move |times| {
            for _ in 0..times {
                relay(black_box(&headers), &mut outbound);
                black_box(&mut outbound);
            }
            assert!(outbound["tracestate"] == STATE && outbound.contains_key("traceparent"));
        })
    }
    let otel = TraceContextPropagator::new();
    vec![
        row("nothing", 0, each(|_, _| {})),
        row(
            "two copied fields, names known",
            0,
            each(|headers, outbound| {
                for name in [&TRACEPARENT, &TRACESTATE] {
                    outbound.insert(name, headers[name].clone());
                }
            }),
        ),
        row(
            "two copied fields",
            0,
            each(|headers, outbound| {
                outbound.insert("traceparent", headers["traceparent"].clone());
                outbound.insert("tracestate", headers["tracestate"].clone());
            }),
        ),
        row(
            "tower-correlation extract + inject",
            0,
            each(|headers, outbound| {
                let (parent, state) = trace::extract(headers).unwrap();
                trace::inject(outbound, parent, state.as_ref());
            }),
        ),
        row(
            "opentelemetry extract + inject",
            0,
            each(move |headers, outbound| {
                let context = otel.extract(&HeaderExtractor(headers));
                otel.inject_context(&context, &mut HeaderInjector(outbound));
            }),
        ),
    ]
}

fn generators() -> Vec<Row> {
    fn each<T>(mut make: impl FnMut() -> T + 'static) -> Run {
        Box::new(move |times| {
            for _ in 0..times {
                // By reference: moving what was made is the caller's business.
                black_box(&make());
            }
        })
    }
    let rng = if cfg!(feature = "fast-rng") { "fast-rng" } else { "default rng" };
    let ours = |generator: Generator| each(move || generator.generate());
    vec![
        row("nothing", 0, each(|| 0)),
        row("the wall clock read, no id", 0, each(std::time::SystemTime::now)),
        row("tower-correlation hex128", 0, ours(Generator::hex128())),
        row("tower-correlation uuid_v4", 0, ours(Generator::uuid_v4())),
        row("tower-correlation uuid_v7", 0, ours(Generator::uuid_v7())),
        row("tower-correlation ulid", 0, ours(Generator::ulid())),
        row(format!("uuid v4, not yet text ({rng})"), 0, each(uuid::Uuid::new_v4)),
        row(format!("uuid v4 as String ({rng})"), 0, each(|| uuid::Uuid::new_v4().to_string())),
        row(format!("uuid v7, not yet text ({rng})"), 0, each(uuid::Uuid::now_v7)),
        row(format!("uuid v7 as String ({rng})"), 0, each(|| uuid::Uuid::now_v7().to_string())),
    ]
}

fn client() -> Vec<Row> {
    let correlation = tower_correlation::Correlation::generate;
    fn each<S>(mut service: S, correlation: Option<tower_correlation::Correlation>) -> Run
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + 'static,
    {
        Box::new(move |times| {
            for _ in 0..times {
                let mut request = request("http://example.com/orders/17?page=1");
                if let Some(correlation) = &correlation {
                    request.extensions_mut().insert(correlation.clone());
                }
                let response = now_or_never(service.call(black_box(request))).unwrap();
                black_box(response);
            }
        })
    }
    vec![
        row("bare", 0, each(Bare, Some(correlation()))),
        row("tower-correlation propagate", 0, each(PropagateLayer::new().layer(Bare), Some(correlation()))),
    ]
}

const ROUNDS: usize = 41;
const TIMES: u32 = 4_000;

fn compete(group: &str, rows: Vec<Row>) {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let matches = |row: &Row| format!("{group}: {}", row.0).contains(&filter);
    let wanted: Vec<bool> = (0..rows.len())
        .map(|index| rows.iter().any(|it| matches(it) && (it.1 == index || rows[index].0 == it.0)))
        .collect();
    if !wanted.contains(&true) {
        return;
    }
    let mut contestants: Vec<_> = rows
        .into_iter()
        .zip(wanted)
        .map(|(Row(name, base, run), wanted)| (name, base, wanted.then_some(run), Vec::new(), 0.0))
        .collect();
    // The first round warms up, the last one counts.
    for round in 0..ROUNDS + 2 {
        let counts = round > ROUNDS;
        count_allocations(counts);
        for (_, _, run, nanos, count) in &mut contestants {
            let Some(run) = run else { continue };
            let (before, start) = (allocations(), ThreadTime::now());
            run(TIMES);
            let spent = start.elapsed().as_nanos() as f64 / f64::from(TIMES);
            if counts {
                *count = (allocations() - before) as f64 / f64::from(TIMES);
            } else if round > 0 {
                nanos.push(spent);
            }
        }
    }
    println!("\n## {group}: medians of {ROUNDS} interleaved rounds of {TIMES}\n");
    println!("| contestant | ns | added ns | times bare | allocations | added |\n|---|---|---|---|---|---|");
    let seen: Vec<_> = contestants
        .into_iter()
        .map(|(name, base, _, mut nanos, count)| {
            nanos.sort_by(f64::total_cmp);
            (name, base, nanos.get(nanos.len() / 2).copied(), count)
        })
        .collect();
    for (name, base, median, count) in &seen {
        let (Some(ns), Some(bare)) = (*median, seen[*base].2) else { continue };
        println!(
            "| {name} | {ns:.0} | {:.0} | {:.2} | {count:.1} | {:.1} |",
            ns - bare,
            ns / bare,
            count - seen[*base].3
        );
    }
}

fn main() {
    // axum-prometheus spawns its upkeep.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    compete("server", server());
    compete("parts", parts());
    compete("client", client());
    compete("trace context", context());
    compete("generators", generators());
}

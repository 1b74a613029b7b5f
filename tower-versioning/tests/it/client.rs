//! The client side: what is stamped, what is noticed, and how often it is told.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::{Request, Response};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_versioning::client::{
    ClientVersion, ClientVersionLayer, Link, Notice, NoticeKind, ResponseFuture, Stamp, UseVersion,
};
use tower_versioning::{Moment, Version};

use crate::support::{V1, V2, day, name, v, with};

/// What arrives at the server, as text: the target and the fields that may carry versions.
async fn arrives(layer: ClientVersionLayer, request: Request<String>) -> String {
    let inner = service_fn(async |request: Request<String>| {
        let headers = request.headers();
        let field = |name: &'static str| {
            let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect();
            if lines.is_empty() { String::new() } else { format!(" {name}: {}", lines.join(" | ")) }
        };
        let seen = ["api-version", "accept", "content-type"].map(field).concat();
        Ok::<_, Infallible>(Response::new(format!("{}{seen}", request.uri())))
    });
    layer.layer(inner).oneshot(request).await.unwrap().into_body()
}

async fn stamped(stamp: Stamp, uri: &str, headers: &[(&'static str, &str)]) -> String {
    arrives(ClientVersionLayer::new(V2).stamp(stamp), with(uri, headers)).await
}

#[tokio::test]
async fn the_header_is_stamped_and_never_overwritten() {
    let stamp = || Stamp::header(name("api-version"));
    assert_eq!(stamped(stamp(), "/x?a", &[]).await, "/x?a api-version: 2");
    assert_eq!(stamped(stamp(), "/x", &[("api-version", "1")]).await, "/x api-version: 1");
    assert_eq!(stamped(stamp(), "/x", &[("api-version", "")]).await, "/x api-version: ");
    let both = [("api-version", "1"), ("api-version", "3")];
    assert_eq!(stamped(stamp(), "/x", &both).await, "/x api-version: 1 | 3");
}

#[tokio::test]
async fn the_query_is_stamped_and_never_overwritten() {
    for (before, after) in [
        ("/x", "/x?v=2"),
        ("/x?", "/x?v=2"),
        ("/x?a=%20&b", "/x?a=%20&b&v=2"),
        ("/x?v=1&a", "/x?v=1&a"),
        ("/x?a&v", "/x?a&v"),
        ("/x?vv=1", "/x?vv=1&v=2"),
        ("http://h:1/x", "http://h:1/x?v=2"),
        ("http://h", "http://h/?v=2"),
        ("http://h?a", "http://h/?a&v=2"),
        ("/x?%76=1", "/x?%76=1"),
        ("*", "*"),
    ] {
        assert_eq!(stamped(Stamp::query("v"), before, &[]).await, after, "{before}");
    }
    assert_eq!(stamped(Stamp::query("no name"), "/x", &[]).await, "/x");
}

#[tokio::test]
async fn the_path_is_stamped_and_never_overwritten() {
    for (before, after) in [
        ("/api/x?a=/api/y", "/api/v2/x?a=/api/y"),
        ("/api/", "/api/v2/"),
        ("/api/v1/x", "/api/v1/x"),
        ("/api/V1", "/api/V1"),
        ("/api/voucher", "/api/v2/voucher"),
        ("/apix/y", "/apix/y"),
        ("/other", "/other"),
        ("https://h/api/x", "https://h/api/v2/x"),
    ] {
        assert_eq!(stamped(Stamp::path("/api"), before, &[]).await, after, "{before}");
    }
    assert_eq!(stamped(Stamp::path(""), "/x", &[]).await, "/v2/x");
    assert_eq!(stamped(Stamp::path(""), "http://h?a", &[]).await, "http://h/v2/?a");
    assert_eq!(stamped(Stamp::path("api"), "/api/x", &[]).await, "/api/v2/x");
}

#[tokio::test]
async fn media_types_are_stamped_and_never_overwritten() {
    let stamp = || Stamp::media_type("v");
    assert_eq!(stamped(stamp(), "/", &[]).await, "/ accept: */*; v=2");
    let json = [("accept", "application/json"), ("content-type", "text/csv; header=present")];
    let both = "/ accept: application/json; v=2 content-type: text/csv; header=present; v=2";
    assert_eq!(stamped(stamp(), "/", &json).await, both);
    let list = [("accept", "text/a;x=\"1,2\";q=0.5, text/b"), ("accept", "text/c")];
    let all = "/ accept: text/a;x=\"1,2\"; v=2;q=0.5, text/b; v=2 | text/c; v=2";
    assert_eq!(stamped(stamp(), "/", &list).await, all);
    let own = [("accept", "text/a, text/b;V=1"), ("content-type", "text/a;v=\"1\"")];
    let kept = "/ accept: text/a, text/b;V=1 content-type: text/a;v=\"1\"";
    assert_eq!(stamped(stamp(), "/", &own).await, kept);
    assert_eq!(stamped(stamp(), "/", &[("accept", ",")]).await, "/ accept: ,");
    let gaps = [("accept", "text/a,, text/b"), ("accept", "")];
    assert_eq!(stamped(stamp(), "/", &gaps).await, "/ accept: text/a; v=2, text/b; v=2 | ");
}

/// Then the version is the one that the answer tells, and not one that was never sent.
#[tokio::test]
async fn media_types_that_could_not_be_stamped_say_no_version() {
    for (accept, version) in [(&b"text/a"[..], 1), (b"", 5), (b", ,", 5), (b"text/a;x=\"\xe9\";v=3", 5)] {
        let (layer, told) = noticing();
        let inner = service_fn(async |_: Request<String>| {
            let answer = Response::builder().header("deprecation", PAST).header("api-version", "5");
            Ok::<_, Infallible>(answer.body(()).unwrap())
        });
        let mut request = with("http://h/", &[]);
        request.headers_mut().insert("accept", accept.try_into().unwrap());
        layer.stamp(Stamp::media_type("v")).layer(inner).oneshot(request).await.unwrap();
        assert_eq!(told.lock().unwrap()[0].version, Some(Version::major(version)), "{accept:?}");
    }
}

/// Who says two things says none: the version is the one that the answer tells.
#[tokio::test]
async fn of_two_own_versions_none_is_known() {
    for (own, version) in [(&["3"][..], 3), (&["3", "4"], 5)] {
        let (layer, told) = noticing();
        let inner = service_fn(async |_: Request<String>| {
            let answer = Response::builder().header("deprecation", PAST).header("api-version", "5");
            Ok::<_, Infallible>(answer.body(()).unwrap())
        });
        let lines: Vec<_> = own.iter().map(|line| ("api-version", *line)).collect();
        layer.layer(inner).oneshot(with("http://h/", &lines)).await.unwrap();
        assert_eq!(told.lock().unwrap()[0].version, Some(Version::major(version)));
    }
}

#[tokio::test]
async fn a_request_may_mean_a_version_of_its_own() {
    let mut request = with("/x", &[]);
    request.extensions_mut().insert(UseVersion(v("3")));
    assert_eq!(arrives(ClientVersionLayer::new(V2), request).await, "/x api-version: 3");
    assert_eq!(arrives(ClientVersionLayer::observing(), with("/x", &[])).await, "/x");
}

pub(crate) type Told = Arc<Mutex<Vec<Notice>>>;

/// A layer that means version 1 and writes down what it is told.
pub(crate) fn noticing() -> (ClientVersionLayer, Told) {
    let told = Told::default();
    let tell = told.clone();
    let layer = ClientVersionLayer::new(V1)
        .on_notice(move |notice| tell.lock().unwrap().push(notice.clone()))
        .wall_clock(|| day(100));
    (layer, told)
}

pub(crate) async fn answered(layer: &ClientVersionLayer, uri: &str, fields: &[(&'static str, &str)]) {
    let inner = service_fn(async |_: Request<String>| {
        let response = with("/", fields).map(|_| ()).into_parts().0;
        let mut answer = Response::new(());
        *answer.headers_mut() = response.headers;
        Ok::<_, Infallible>(answer)
    });
    layer.layer(inner).oneshot(with(uri, &[])).await.unwrap();
}

pub(crate) async fn notices(fields: &[(&'static str, &str)]) -> Vec<Notice> {
    let (layer, told) = noticing();
    answered(&layer, "http://h/orders/7", fields).await;
    drop(layer);
    Arc::try_unwrap(told).unwrap().into_inner().unwrap()
}

pub(crate) async fn kind(fields: &[(&'static str, &str)]) -> Option<NoticeKind> {
    notices(fields).await.first().map(|notice| notice.kind)
}

pub(crate) const PAST: &str = "@4320000";
const FUTURE: &str = "@17280000";
/// Day 150 and day 50.
pub(crate) const SUNSET: &str = "Sun, 31 May 1970 00:00:00 GMT";
const SUNSET_PASSED: &str = "Fri, 20 Feb 1970 00:00:00 GMT";

#[tokio::test]
async fn each_kind_of_notice() {
    use NoticeKind::*;
    for (fields, expected) in [
        (&[("deprecation", PAST)][..], Some(Deprecated)),
        (&[("deprecation", FUTURE)], Some(WillBeDeprecated)),
        (&[("deprecation", PAST), ("sunset", SUNSET)], Some(Deprecated)),
        (&[("sunset", SUNSET)], Some(WillBeSunset)),
        (&[("deprecation", PAST), ("sunset", SUNSET_PASSED)], Some(PastSunset)),
        (&[("sunset", SUNSET_PASSED)], Some(PastSunset)),
        (&[("deprecation", FUTURE), ("sunset", SUNSET)], Some(Misconfigured)),
        (&[("api-deprecated-versions", "0, 1.0")], Some(Deprecated)),
        (&[("api-supported-versions", "1, 2")], Some(Newer)),
        (&[("api-supported-versions", "1")], None),
        (&[("api-supported-versions", "0,,x , 1"), ("api-deprecated-versions", "0,?")], None),
        (&[("api-supported-versions", "1,x,,"), ("api-supported-versions", "3")], Some(Newer)),
        (&[("link", "</d>; rel=deprecation")], None),
        (&[], None),
    ] {
        assert_eq!(kind(fields).await, expected, "{fields:?}");
    }
}

#[tokio::test]
async fn a_notice_says_all_that_the_answer_said() {
    let links =
        "<../v2/orders/7>; rel=\"successor-version\", <https://d/?a,b>; REL=deprecation; type=\"a,b\"";
    let fields = [("deprecation", PAST), ("sunset", SUNSET), ("link", links), ("link", "</s>;rel=sunset")];
    let notice = notices(&fields).await.remove(0);
    let link = |target: &str, rel: &str| Link { target: target.to_owned(), relations: vec![rel.to_owned()] };
    assert_eq!(notice.origin, "http://h:80");
    assert_eq!(notice.version, Some(V1));
    assert_eq!(notice.deprecation, Some(Moment::from(day(50))));
    assert_eq!(notice.sunset, Some(Moment::from(day(150))));
    let expected = [
        link("http://h/v2/orders/7", "successor-version"),
        link("https://d/?a,b", "deprecation"),
        link("http://h/s", "sunset"),
    ];
    assert_eq!(notice.links, expected);
}

#[tokio::test]
async fn the_version_is_the_one_that_was_sent() {
    let (layer, told) = noticing();
    let deprecated = [("deprecation", PAST), ("api-version", "5")];
    let inner = service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::builder().header("deprecation", PAST).body(()).unwrap())
    });
    let own = with("http://h/", &[("api-version", "3")]);
    layer.layer(inner).oneshot(own).await.unwrap();
    // Who only observes learns it from the answer.
    let tell = told.clone();
    let observing = ClientVersionLayer::observing()
        .on_notice(move |notice| tell.lock().unwrap().push(notice.clone()))
        .wall_clock(|| day(100));
    answered(&observing, "http://h/", &deprecated).await;
    let versions: Vec<_> = told.lock().unwrap().iter().map(|notice| notice.version).collect();
    assert_eq!(versions, [Some(v("3")), Some(v("5"))]);
}

#[tokio::test]
async fn links_resolve_against_the_target_that_was_sent() {
    let (layer, told) = noticing();
    let layer = layer.stamp(Stamp::path(""));
    answered(&layer, "http://h/orders/7", &[("deprecation", PAST), ("link", "<8>; rel=next")]).await;
    assert_eq!(told.lock().unwrap()[0].links[0].target, "http://h/v1/orders/8");
}

/// RFC 3986 §7.5.
#[tokio::test]
async fn what_stands_before_the_host_is_not_told() {
    let (layer, told) = noticing();
    let answer = [("deprecation", PAST), ("link", "<8>; rel=next, <//o/x>; rel=a, <http://u@o/>; rel=b")];
    answered(&layer, "http://user:secret@h:1/7", &answer).await;
    let notice = told.lock().unwrap().remove(0);
    assert_eq!(notice.origin, "http://h:1");
    let targets: Vec<_> = notice.links.iter().map(|link| link.target.as_str()).collect();
    assert_eq!(targets, ["http://h:1/8", "http://o/x", "http://u@o/"]);
}

/// The clock of the tests below: a thread's own, so that they do not disturb each other.
fn clock() -> SystemTime {
    DAY.with(|today| day(today.get()))
}

thread_local! {
    static DAY: std::cell::Cell<u64> = const { std::cell::Cell::new(100) };
}

#[tokio::test]
async fn one_notice_for_each_origin_version_and_day() {
    let (layer, told) = noticing();
    let layer = layer.wall_clock(clock);
    let count = || told.lock().unwrap().len();
    let responses = if std::env::var_os("TOWER_ASSURE").is_some() { 1_000_000 } else { 10_000 };
    for _ in 0..responses {
        answered(&layer, "http://h/x", &[("deprecation", PAST)]).await;
    }
    assert_eq!(count(), 1);
    // The default port is the same origin; another port, scheme or version is not.
    answered(&layer, "http://h:80/y", &[("deprecation", PAST)]).await;
    assert_eq!(count(), 1);
    answered(&layer, "http://h:81/x", &[("deprecation", PAST)]).await;
    answered(&layer, "https://h/x", &[("deprecation", PAST)]).await;
    assert_eq!(count(), 3);
    // Services of the layer and of its clones share what they told.
    answered(&layer.clone(), "http://h/x", &[("deprecation", PAST)]).await;
    assert_eq!(count(), 3);
    DAY.set(101);
    answered(&layer, "http://h/x", &[("deprecation", PAST)]).await;
    assert_eq!(count(), 4);
}

#[tokio::test]
async fn what_gets_worse_is_told_at_once() {
    let (layer, told) = noticing();
    for fields in [
        &[("api-supported-versions", "1,2")][..],
        &[("deprecation", FUTURE)],
        &[("api-supported-versions", "1,2")],
        &[("deprecation", PAST)],
        &[("deprecation", FUTURE)],
        &[("sunset", SUNSET_PASSED)],
        &[("deprecation", PAST)],
    ] {
        answered(&layer, "http://h/x", fields).await;
    }
    let kinds: Vec<_> = told.lock().unwrap().iter().map(|notice| notice.kind).collect();
    use NoticeKind::*;
    assert_eq!(kinds, [Newer, WillBeDeprecated, Deprecated, PastSunset]);
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let (layer, told) = noticing();
    let layer = layer.wall_clock(clock);
    DAY.set(100);
    for port in 1..=1500 {
        answered(&layer, &format!("http://h:{port}/"), &[("deprecation", PAST)]).await;
    }
    assert_eq!(told.lock().unwrap().len(), 1024);
    answered(&layer, "http://h:1/", &[("deprecation", PAST)]).await;
    assert_eq!(told.lock().unwrap().len(), 1024);
    // A day later those before have gone, and there is room again.
    DAY.set(101);
    answered(&layer, "http://h:1500/", &[("deprecation", PAST)]).await;
    assert_eq!(told.lock().unwrap().len(), 1025);
}

#[cfg(feature = "metrics")]
#[test]
fn malformed_fields_and_days_to_sunset_are_measured() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let measured = || {
        let all = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
            let key = key.key().clone();
            let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(_) => panic!("{key:?}"),
            };
            let name = key.name().trim_start_matches("tower_versioning_client_");
            (format!("{name} {}", labels.join(" ")), value)
        });
        all.filter(|(_, value)| *value != 0.0).collect::<std::collections::BTreeMap<_, _>>()
    };
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let layer = noticing().0.wall_clock(clock);
            DAY.set(100);
            answered(&layer, "http://h/", &[("deprecation", "true"), ("sunset", "soon")]).await;
            answered(&layer, "http://h/", &[("deprecation", "@x"), ("link", "<")]).await;
            assert_eq!(
                measured(),
                [("malformed_total deprecation".to_owned(), 2.0), ("malformed_total sunset".to_owned(), 1.0)]
                    .into()
            );
            let announced = [("deprecation", PAST), ("sunset", SUNSET), ("link", "<"), ("link", "x")];
            answered(&layer, "http://h/", &announced).await;
            let gauge = "sunset_days http://h:80 1".to_owned();
            assert_eq!(measured()[&gauge], 50.0);
            // The gauge follows the clock with every answer, told or not.
            DAY.set(101);
            answered(&layer, "http://h/", &announced).await;
            assert_eq!(measured()[&gauge], 49.0);
            DAY.set(151);
            answered(&layer, "http://h/", &announced).await;
            let now = measured();
            assert_eq!(now[&gauge], -1.0);
            assert_eq!(now["notices_total past_sunset"], 1.0);
        });
    });
}

#[test]
fn layers_and_services_are_send_sync_clone() {
    fn all<T: Send + Sync + Clone + std::fmt::Debug + Unpin + 'static>() {}
    all::<ClientVersionLayer>();
    all::<ClientVersion<()>>();
    all::<Notice>();
    all::<Stamp>();
    fn sent<T: Send + 'static>() {}
    sent::<ResponseFuture<Ready<Result<Response<()>, Infallible>>>>();
}

#[tokio::test]
async fn readiness_is_that_of_the_inner_service() {
    #[derive(Clone, Default)]
    struct Slow(bool);
    impl Service<Request<()>> for Slow {
        type Response = Response<()>;
        type Error = &'static str;
        type Future = Ready<Result<Response<()>, &'static str>>;
        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut self.0, true) { Poll::Ready(Ok(())) } else { Poll::Pending }
        }
        fn call(&mut self, _: Request<()>) -> Self::Future {
            ready(if self.0 { Err("ready and called") } else { Err("not ready") })
        }
    }
    let mut service = ClientVersionLayer::new(V1).layer(Slow::default());
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(&mut context).is_pending());
    assert!(service.poll_ready(&mut context).is_ready());
    // The instance that was polled is called, and its error comes through.
    assert_eq!(service.call(Request::new(())).await.unwrap_err(), "ready and called");
}

/// Around a client of hyper-util, in the middle of a stack: nothing to convert, no box.
#[tokio::test]
async fn it_stands_around_a_client_of_hyper_util() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(async |request: axum::extract::Request| {
        let version = request.headers()["api-version"].to_str().unwrap().to_owned();
        ([("deprecation", PAST), ("api-version", "1")], version)
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (layer, told) = noticing();
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let mut client = ServiceBuilder::new().layer(layer).service(client);
    for _ in 0..3 {
        let request = Request::get(format!("http://{address}/x")).body(Empty::new()).unwrap();
        let answer = client.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].kind, told[0].version), (NoticeKind::Deprecated, Some(Version::major(1))));
    assert_eq!(told[0].origin, format!("http://{address}"));
}

//! Which id a request gets, and who learns of it.

use std::convert::Infallible;

use http::{HeaderMap, HeaderName, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_correlation::{Correlation, CorrelationLayer, Origin, Replaced, Trust, Validation, current};

async fn answer(
    layer: CorrelationLayer,
    headers: &[(&'static str, &str)],
) -> (HeaderMap, Correlation, HeaderMap) {
    let inner = service_fn(async |request: Request<()>| {
        let seen = request.headers().clone();
        let ambient = current().expect("inside the layer there is a correlation");
        let extension = request.extensions().get::<Correlation>().expect("one extension");
        assert_eq!(ambient.id(), extension.id());
        let mut response = Response::new(String::new());
        response.extensions_mut().insert(extension.clone());
        response.extensions_mut().insert(seen);
        Ok::<_, Infallible>(response)
    });
    let mut request = Request::new(());
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    let correlation = response.extensions().get::<Correlation>().unwrap().clone();
    let seen = response.extensions().get::<HeaderMap>().unwrap().clone();
    (response.headers().clone(), correlation, seen)
}

#[tokio::test]
async fn a_good_id_is_accepted_echoed_and_seen_inside() {
    let (headers, correlation, seen) = answer(CorrelationLayer::new(), &[("x-request-id", "abc-1")]).await;
    assert_eq!(correlation.id().as_str(), "abc-1");
    assert_eq!(correlation.origin(), Origin::Accepted);
    assert_eq!(headers["x-request-id"], "abc-1");
    assert_eq!(seen["x-request-id"], "abc-1");
}

/// However long ids are kept: inline or elsewhere.
#[tokio::test]
async fn ids_of_every_length_stay_whole() {
    for length in 1..=128 {
        let id: String = ('a'..='z').cycle().take(length).collect();
        let names = [("x-request-id", &*id), ("x-correlation-id", "other")];
        let (headers, correlation, seen) = answer(CorrelationLayer::new(), &names).await;
        assert_eq!((correlation.id().as_str(), correlation.origin()), (&*id, Origin::Accepted));
        assert_eq!(headers["x-request-id"], *id);
        assert_eq!(seen["x-request-id"], *id);
        assert_eq!(seen["x-correlation-id"], *id, "kept by what keeps the id");
    }
}

#[tokio::test]
async fn without_an_id_each_request_gets_its_own() {
    let (first, correlation, seen) = answer(CorrelationLayer::new(), &[]).await;
    let (second, ..) = answer(CorrelationLayer::new(), &[]).await;
    assert_eq!(correlation.origin(), Origin::Generated);
    assert_eq!(correlation.id().as_str().len(), 32);
    assert_eq!(seen["x-request-id"], first["x-request-id"]);
    assert_ne!(first["x-request-id"], second["x-request-id"]);
}

#[tokio::test]
async fn a_bad_id_is_replaced_and_the_reason_is_known() {
    let long = "a".repeat(129);
    let cases: [(&[(&'static str, &str)], Replaced); 4] = [
        (&[("x-request-id", "")], Replaced::Empty),
        (&[("x-request-id", &long)], Replaced::TooLong),
        (&[("x-request-id", "a b")], Replaced::Alphabet),
        (&[("x-request-id", "a"), ("x-request-id", "b")], Replaced::Duplicate),
    ];
    let (_, good, _) = answer(CorrelationLayer::new(), &[("x-request-id", &long[1..])]).await;
    assert_eq!(good.origin(), Origin::Accepted);
    for (headers, reason) in cases {
        let (echo, correlation, seen) = answer(CorrelationLayer::new(), headers).await;
        assert_eq!(correlation.origin(), Origin::Replaced(reason));
        assert_eq!(correlation.id().as_str().len(), 32);
        assert_eq!(echo["x-request-id"], correlation.id().as_str());
        assert_eq!(seen.get_all("x-request-id").iter().count(), 1);
    }
}

#[tokio::test]
async fn the_first_field_present_decides() {
    let both = [("x-correlation-id", "second"), ("x-request-id", "first")];
    let (_, correlation, _) = answer(CorrelationLayer::new(), &both).await;
    assert_eq!(correlation.id().as_str(), "first");
    let (_, correlation, _) = answer(CorrelationLayer::new(), &both[..1]).await;
    assert_eq!(correlation.id().as_str(), "second");
}

#[tokio::test]
async fn an_untrusted_peer_does_not_name_requests() {
    let id = [("x-request-id", "abc"), ("x-internal", "yes")];
    let trust =
        || CorrelationLayer::new().trust(Trust::when(|parts| parts.headers.contains_key("x-internal")));
    let (_, correlation, _) = answer(trust(), &id).await;
    assert_eq!(correlation.origin(), Origin::Accepted);
    let (_, correlation, _) = answer(trust(), &id[..1]).await;
    assert_eq!(correlation.origin(), Origin::Replaced(Replaced::Untrusted));
}

/// The predicate sees what the handler sees, and takes nothing away from it.
#[tokio::test]
async fn trust_may_depend_on_anything_but_the_body() {
    #[derive(Clone, PartialEq, Debug)]
    struct Peer(u8);
    let asks: [fn(&http::request::Parts) -> bool; 5] = [
        |parts| parts.extensions.get::<Peer>() == Some(&Peer(7)),
        |parts| parts.uri.path() == "/internal",
        |parts| parts.method == http::Method::PUT,
        |parts| parts.version == http::Version::HTTP_2,
        |parts| parts.headers.contains_key("x-request-id"),
    ];
    for ask in asks {
        for agreed in [true, false] {
            let layer = CorrelationLayer::new().trust(Trust::when(move |parts| ask(parts) == agreed));
            let inner = service_fn(async |request: Request<&'static str>| {
                let mut response = Response::new(());
                response.extensions_mut().insert(request.extensions().get::<Correlation>().cloned());
                assert_eq!(request.extensions().get::<Peer>(), Some(&Peer(7)));
                assert_eq!((request.uri().path(), request.method().as_str()), ("/internal", "PUT"));
                assert_eq!((request.version(), *request.body()), (http::Version::HTTP_2, "body"));
                Ok::<_, Infallible>(response)
            });
            let request = Request::put("/internal")
                .version(http::Version::HTTP_2)
                .header("x-request-id", "abc")
                .extension(Peer(7))
                .body("body");
            let mut response = layer.layer(inner).oneshot(request.unwrap()).await.unwrap();
            let correlation = response.extensions_mut().remove::<Option<Correlation>>().flatten().unwrap();
            let expected = if agreed { Origin::Accepted } else { Origin::Replaced(Replaced::Untrusted) };
            assert_eq!(correlation.origin(), expected);
        }
    }
}

#[tokio::test]
async fn nobody_is_trusted_where_that_is_said() {
    let id = [("x-request-id", "abc")];
    let (_, correlation, _) = answer(CorrelationLayer::new().trust(Trust::Always), &id).await;
    assert_eq!(correlation.origin(), Origin::Accepted);
    let (echo, correlation, seen) = answer(CorrelationLayer::new().trust(Trust::Never), &id).await;
    assert_eq!(correlation.origin(), Origin::Replaced(Replaced::Untrusted));
    assert!(echo["x-request-id"] != "abc" && seen["x-request-id"] != "abc");
    let (_, correlation, _) = answer(CorrelationLayer::new().trust(Trust::Never), &[]).await;
    assert_eq!(correlation.origin(), Origin::Generated, "who says nothing is not distrusted");
}

#[tokio::test]
async fn a_bad_id_does_not_make_way_for_the_next_field() {
    let both = [("x-request-id", "good"), ("x-correlation-id", "second")];
    let (_, correlation, _) = answer(CorrelationLayer::new(), &both).await;
    assert_eq!(correlation.id().as_str(), "good");
    let both = [("x-request-id", "not good"), ("x-correlation-id", "second")];
    let (_, correlation, _) = answer(CorrelationLayer::new(), &both).await;
    assert_eq!(correlation.origin(), Origin::Replaced(Replaced::Alphabet));
}

#[tokio::test]
async fn equal_ids_in_two_lines_are_one() {
    let (echo, correlation, seen) =
        answer(CorrelationLayer::new(), &[("x-request-id", "a"), ("x-request-id", "a")]).await;
    assert_eq!((correlation.origin(), correlation.id().as_str()), (Origin::Accepted, "a"));
    assert_eq!(seen.get_all("x-request-id").iter().count(), 1);
    assert_eq!(echo.get_all("x-request-id").iter().count(), 1);
}

#[tokio::test]
async fn names_are_chosen_one_by_one() {
    let layer = || {
        CorrelationLayer::new()
            .inbound([HeaderName::from_static("x-trace"), HeaderName::from_static("request-id")])
            .response(HeaderName::from_static("x-answer-id"))
    };
    let (echo, correlation, seen) =
        answer(layer(), &[("request-id", "r-1"), ("x-request-id", "other")]).await;
    assert_eq!(correlation.id().as_str(), "r-1");
    assert!(echo["x-answer-id"] == "r-1" && !echo.contains_key("x-request-id"));
    assert_eq!(seen["x-trace"], "r-1", "the first name says the chosen id to whoever is inside");
    let (echo, correlation, _) = answer(layer().inbound([]), &[("x-trace", "t-1")]).await;
    assert_eq!(correlation.origin(), Origin::Generated, "no field is asked");
    assert_eq!(echo["x-answer-id"], correlation.id().as_str());
}

#[tokio::test]
async fn an_id_of_the_handler_gives_way_to_that_of_the_request() {
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::builder().header("x-request-id", "mine").body(()).unwrap())
    });
    let request = Request::builder().header("x-request-id", "theirs").body(()).unwrap();
    let response = CorrelationLayer::new().layer(inner).oneshot(request).await.unwrap();
    let ids: Vec<_> = response.headers().get_all("x-request-id").iter().collect();
    assert_eq!(ids, ["theirs"]);
}

/// What others send, and what they would have to be told to let through.
#[tokio::test]
async fn ids_of_other_senders_are_taken_over_once_their_characters_are_allowed() {
    let as_they_are = [
        // A UUID, as Envoy, Heroku and most libraries make it; 128 bits as nginx, W3C trace ids and this crate do.
        "f058ebd6-02f7-4d3f-942e-904344e8cde5",
        "444535f9378a3dfa1b8604bc9e05a303",
        // Cloudflare's ray, a ULID, a span's 64 bits, a counter.
        "230b030023ae2822-SJC",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "463ac35c9f6413ad",
        "1",
    ];
    for id in as_they_are {
        let (echo, correlation, _) = answer(CorrelationLayer::new(), &[("x-request-id", id)]).await;
        assert_eq!((correlation.id().as_str(), &echo["x-request-id"]), (id, &id.parse().unwrap()));
    }
    let once_allowed: [(&str, &'static [u8]); 8] = [
        ("0HLJ8A0PGT7IS:00000001", b":"),
        ("|4bf92f3577b34da6a3ce929d0e0e4736.00f067aa0ba902b7.1_", b"|"),
        ("b2f9a5a8-1f6a-4b49-9ab3-8f5f6f6f4b1b#42", b"#"),
        ("Root=1-67891233-abcdef012345678912345678;Sampled=1", b"=;"),
        ("105445aa7843bc8bf206b12000100000/1;o=1", b"/;="),
        ("8K1R5tZSQ+MP4nDv/4vK0A==", b"+/="),
        ("web-1/Xk2z9-000042", b"/"),
        ("build@host", b"@"),
    ];
    for (id, characters) in once_allowed {
        let (_, correlation, _) = answer(CorrelationLayer::new(), &[("x-request-id", id)]).await;
        assert_eq!(correlation.origin(), Origin::Replaced(Replaced::Alphabet), "{id}");
        let layer = CorrelationLayer::new().validate(Validation::builder().also(characters).build().unwrap());
        let (echo, correlation, _) = answer(layer, &[("x-request-id", id)]).await;
        assert_eq!((correlation.id().as_str(), &echo["x-request-id"]), (id, &id.parse().unwrap()));
    }
}

#[test]
fn validation_is_as_wide_as_it_is_told() {
    let check = |validation: Validation, id: &str| validation.check(id.as_bytes()).map(|id| id.to_string());
    let default = Validation::default();
    assert_eq!(check(default, "Az09._-").as_deref(), Ok("Az09._-"));
    for outside in ["a:b", "a/b", "a b", "a\"b", "a\\b", "a\tb", "é", "a\0", "{a}", "a\r\nb"] {
        assert_eq!(check(default, outside), Err(Replaced::Alphabet), "{outside:?}");
    }
    let wide = Validation::builder().also(b":/").build().unwrap();
    assert_eq!(check(wide, "a:b/c").as_deref(), Ok("a:b/c"));
    assert_eq!(check(wide, "a:b c"), Err(Replaced::Alphabet));
    let short = Validation::builder().max_length(3).build().unwrap();
    assert_eq!(check(short, "abc").as_deref(), Ok("abc"));
    assert_eq!(check(short, "abcd"), Err(Replaced::TooLong));
    assert_eq!(check(default, &"a".repeat(128)).map(|id| id.len()), Ok(128));
    assert_eq!(check(default, &"a".repeat(129)), Err(Replaced::TooLong));
    assert_eq!(check(default, ""), Err(Replaced::Empty));
}

#[test]
fn a_validation_that_cannot_work_is_refused_by_name() {
    let of_length = |bytes| Validation::builder().max_length(bytes).build();
    for bytes in [1, 128] {
        assert!(of_length(bytes).is_ok(), "{bytes}");
    }
    for bytes in [0, 129, usize::MAX] {
        assert_eq!(of_length(bytes).unwrap_err().field(), "max_length", "{bytes}");
    }
    static ALL: [u8; 256] = {
        let mut all = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            all[byte] = byte as u8;
            byte += 1;
        }
        all
    };
    for byte in ALL.chunks(1) {
        let built = Validation::builder().also(byte).build();
        assert_eq!(built.is_ok(), byte[0].is_ascii_graphic(), "{byte:?}");
        assert!(built.is_ok() || built.is_err_and(|error| error.field() == "also"));
    }
}

#[cfg(feature = "metrics")]
#[test]
fn where_ids_come_from_is_counted() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let layer = CorrelationLayer::new();
        let long = "a".repeat(129);
        let distrust = layer.clone().trust(Trust::when(|parts| parts.headers.contains_key("x-internal")));
        let requests: [(&CorrelationLayer, &[(&'static str, &str)]); 7] = [
            (&layer, &[("x-request-id", "a")]),
            (&layer, &[]),
            (&layer, &[("x-request-id", "")]),
            (&layer, &[("x-request-id", &long)]),
            (&layer, &[("x-request-id", "a b")]),
            (&layer, &[("x-request-id", "a"), ("x-request-id", "b")]),
            (&distrust, &[("x-request-id", "a")]),
        ];
        for (layer, fields) in requests {
            runtime.block_on(answer(layer.clone(), fields));
        }
    });
    let mut counted: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter(|(_, _, _, value)| !matches!(value, DebugValue::Counter(0)))
        .map(|(key, _, _, value)| {
            assert_eq!(key.key().name(), "tower_correlation_ids_total");
            let labels: Vec<_> = key.key().labels().map(metrics::Label::value).collect();
            (labels.join(":"), value)
        })
        .collect();
    counted.sort_by(|a, b| a.0.cmp(&b.0));
    let one = || DebugValue::Counter(1);
    let expected = [
        "accepted:",
        "generated:",
        "replaced:alphabet",
        "replaced:duplicate",
        "replaced:empty",
        "replaced:too_long",
        "replaced:untrusted",
    ];
    assert_eq!(counted, expected.map(|labels| (labels.to_owned(), one())));
}

/// Short and long requests are looked through differently; what is found is the same.
#[tokio::test]
async fn the_number_of_other_fields_makes_no_difference() {
    let names: Vec<HeaderName> = (0..40).map(|n| format!("x-other-{n}").parse().unwrap()).collect();
    for others in [0, 5, 17, 18, 19, 20, 21, 40] {
        let mut request = Request::new(());
        for name in &names[..others] {
            request.headers_mut().insert(name, "1".parse().unwrap());
        }
        for (name, value) in [
            ("x-correlation-id", "long-1"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", "a=1"),
            ("baggage", "user=17"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let inner = service_fn(async |request: Request<()>| {
            let correlation = request.extensions().get::<Correlation>().unwrap();
            assert_eq!(correlation.parent().map(|parent| parent.parent_id()), Some(0x00f0_67aa_0ba9_02b7));
            assert!(correlation.tracestate().is_some() && correlation.baggage().is_some());
            Ok::<_, Infallible>(Response::new(()))
        });
        let response = CorrelationLayer::new().layer(inner).oneshot(request).await.unwrap();
        assert_eq!(response.headers()["x-request-id"], "long-1", "{others} other fields");
    }
}

/// On a router and on one of its routes, with whatever settings: the outer one has decided.
#[tokio::test]
async fn a_layer_inside_of_another_keeps_what_that_decided() {
    use tower_correlation::trace::TraceParent;

    // Id and trace of the handler, of what stands between the layers, and the echo.
    let ask =
        async |outer: CorrelationLayer, inner: CorrelationLayer, span: Option<TraceParent>, id: &str| {
            let between = std::sync::Arc::new(std::sync::Mutex::new(None));
            let handler = service_fn(async |request: Request<()>| {
                let mut response = Response::new(String::new());
                let known = request.extensions().get::<Correlation>().unwrap().clone();
                assert_eq!(known.id(), current().unwrap().id());
                assert_eq!(request.headers()["x-request-id"], known.id().as_str());
                response.extensions_mut().insert(known);
                Ok::<_, Infallible>(response)
            });
            let inner = inner.layer(handler);
            let seen = between.clone();
            let middle = service_fn(move |mut request: Request<()>| {
                *seen.lock().unwrap() = request.extensions().get::<Correlation>().cloned();
                if let Some(span) = span {
                    request.extensions_mut().insert(span);
                }
                inner.clone().oneshot(request)
            });
            let request = Request::builder().header("x-request-id", id).body(()).unwrap();
            let response = outer.layer(middle).oneshot(request).await.unwrap();
            let handled = response.extensions().get::<Correlation>().unwrap().clone();
            let between: Correlation = between.lock().unwrap().take().unwrap();
            assert_eq!(handled.id(), between.id());
            assert_eq!(handled.origin(), between.origin());
            assert_eq!(response.headers()["x-request-id"], handled.id().as_str());
            (between, handled)
        };
    let plain = CorrelationLayer::new;
    let other = HeaderName::from_static("x-other");
    for inner in [
        plain(),
        plain().trust(Trust::Never),
        plain().validate(Validation::builder().max_length(1).build().unwrap()),
        plain().inbound([other.clone()]).response(other),
    ] {
        for id in ["abc-1", "not good"] {
            let (between, handled) = ask(plain(), inner.clone(), None, id).await;
            assert_eq!(handled.trace(), between.trace(), "one span for one request");
        }
    }
    // A span that somebody between the two has made counts, under the same id.
    let span = TraceParent::new(7, 8, 3);
    let (between, handled) = ask(plain(), plain(), span, "abc-1").await;
    assert_ne!(Some(between.trace()), span);
    assert_eq!(Some(handled.trace()), span);
}

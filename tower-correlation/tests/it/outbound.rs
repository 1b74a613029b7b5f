//! What outbound calls carry.

use std::convert::Infallible;

use http::{HeaderMap, HeaderName, Request};
use tower::{Layer, ServiceExt, service_fn};
use tower_correlation::trace::{Baggage, TraceParent, TraceState, extract, inject};
use tower_correlation::{Correlation, CorrelationLayer, PropagateLayer, Trust, scope};

/// What the upstream gets when this is sent.
async fn sent(layer: PropagateLayer, request: Request<()>) -> HeaderMap {
    let upstream =
        service_fn(async |request: Request<()>| Ok::<_, Infallible>(request.into_parts().0.headers));
    layer.layer(upstream).oneshot(request).await.unwrap()
}

fn correlation() -> Correlation {
    Correlation::generate()
        .with_tracestate(TraceState::with(None, "us", "1"))
        .with_baggage(Baggage::with(None, "user", "17"))
}

fn of(correlation: &Correlation) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(correlation.clone());
    request
}

#[tokio::test]
async fn names_are_chosen() {
    let correlation = correlation();
    let headers = sent(PropagateLayer::new(), of(&correlation)).await;
    assert_eq!(headers["x-request-id"], correlation.id().as_str());
    let names = ["x-correlation-id", "request-id"].map(HeaderName::from_static);
    let headers = sent(PropagateLayer::new().outbound(names), of(&correlation)).await;
    assert!(!headers.contains_key("x-request-id"));
    assert_eq!(headers["x-correlation-id"], correlation.id().as_str());
    assert_eq!(headers["request-id"], correlation.id().as_str());
}

#[tokio::test]
async fn trace_and_baggage_stay_at_home_when_told_to() {
    let correlation = correlation();
    let headers = sent(PropagateLayer::new(), of(&correlation)).await;
    assert!(headers["tracestate"] == "us=1" && headers["baggage"] == "user=17");
    let parent = TraceParent::parse(headers["traceparent"].as_bytes()).unwrap();
    assert_eq!(parent.trace_id(), correlation.trace().trace_id());
    assert_ne!(parent.parent_id(), correlation.trace().parent_id(), "each call is a span of its own");
    let headers = sent(PropagateLayer::new().trace_context(false).baggage(false), of(&correlation)).await;
    assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-request-id"]);
}

#[tokio::test]
async fn what_stood_there_gives_way() {
    let correlation = correlation().with_tracestate(None);
    let mut request = of(&correlation);
    for (name, value) in [("x-request-id", "old"), ("x-request-id", "older"), ("tracestate", "old=1")] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    // What gRPC and others carry beside is not ours.
    for (name, value) in [("grpc-trace-bin", "AAA="), ("grpc-trace-bin", "BBB="), ("b3", "0")] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let headers = sent(PropagateLayer::new(), request).await;
    let theirs: Vec<_> = headers.get_all("grpc-trace-bin").iter().chain(headers.get("b3")).collect();
    assert_eq!(theirs, ["AAA=", "BBB=", "0"]);
    let ids: Vec<_> = headers.get_all("x-request-id").iter().collect();
    assert_eq!(ids, [correlation.id().as_str()]);
    assert!(!headers.contains_key("tracestate"), "it belonged to another trace");
}

#[tokio::test]
async fn the_request_comes_before_the_task_and_both_before_nothing() {
    let (own, task) = (correlation(), correlation());
    scope(task.clone(), async {
        let headers = sent(PropagateLayer::new(), of(&own)).await;
        assert_eq!(headers["x-request-id"], own.id().as_str());
        let headers = sent(PropagateLayer::new(), Request::new(())).await;
        assert_eq!(headers["x-request-id"], task.id().as_str());
    })
    .await;
    let headers = sent(PropagateLayer::new(), Request::new(())).await;
    assert!(!headers.contains_key("x-request-id") && !headers.contains_key("baggage"));
    assert!(TraceParent::parse(headers["traceparent"].as_bytes()).unwrap().random(), "a new trace");
}

#[test]
fn those_without_layers_read_and_write_the_fields_alone() {
    let mut headers = HeaderMap::new();
    assert_eq!(extract(&headers), None);
    headers.insert("tracestate", "a=1".parse().unwrap());
    assert_eq!(extract(&headers), None, "without a parent the state means nothing");
    let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
    headers.insert("traceparent", value.parse().unwrap());
    let (parent, state) = extract(&headers).unwrap();
    assert_eq!(state.as_ref().map(TraceState::as_str), Some("a=1"));
    let mut outbound = HeaderMap::new();
    inject(&mut outbound, parent, state.as_ref());
    assert_eq!(outbound, headers);
    inject(&mut outbound, parent.child(7), None);
    assert_eq!(outbound["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007-03");
    assert!(!outbound.contains_key("tracestate"));
    headers.append("tracestate", "B=2".parse().unwrap());
    assert_eq!(extract(&headers), Some((parent, None)), "a bad state does not hurt the parent");
    headers.append("traceparent", value.parse().unwrap());
    assert_eq!(extract(&headers), None, "two parents are none");
}

/// A request that a proxy passes on as it came brings what its caller wrote.
#[tokio::test]
async fn a_request_passed_on_takes_nothing_along_that_was_refused() {
    let relay = async |server: CorrelationLayer, client: PropagateLayer, baggage: &str| {
        let upstream =
            service_fn(async |request: Request<()>| Ok::<_, Infallible>(request.into_parts().0.headers));
        // The handler is the client: the request goes on with all its fields and extensions.
        let client = client.layer(upstream);
        let handler = service_fn(move |request: Request<()>| {
            let client = client.clone();
            async move {
                let mut response = http::Response::new(());
                *response.headers_mut() = client.oneshot(request).await.unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        let request = Request::builder()
            .header("x-request-id", "a-1")
            .header("x-correlation-id", "b-2")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .header("tracestate", "a=1")
            .header("baggage", baggage);
        let response = server.layer(handler).oneshot(request.body(()).unwrap()).await.unwrap();
        response.into_parts().0.headers
    };
    let (server, client) = (CorrelationLayer::new, PropagateLayer::new);
    let headers = relay(server(), client(), "a=1, b=\"x\"").await;
    assert_eq!(headers["baggage"], "a=1");
    assert_eq!(headers["tracestate"], "a=1");
    assert_eq!(headers["x-request-id"], "a-1");
    assert_eq!(headers["x-correlation-id"], "a-1", "one id, whichever field is read");
    let headers = relay(server(), client(), "b=\"x\"").await;
    assert!(!headers.contains_key("baggage"), "none of it was valid");
    let headers = relay(server().trust(Trust::Never), client(), "a=1").await;
    assert!(!headers.contains_key("baggage") && !headers.contains_key("tracestate"), "a stranger's");
    assert_ne!(headers["x-correlation-id"], "b-2");
    let headers = relay(server(), client().baggage(false).trace_context(false), "a=1").await;
    let names = ["traceparent", "tracestate", "baggage"];
    assert!(names.iter().all(|name| !headers.contains_key(*name)), "{headers:?}");
}

/// Where an SDK writes the fields, they are its own and stay.
#[tokio::test]
async fn fields_of_another_span_stay_where_an_sdk_writes_them() {
    let mut request = of(&correlation());
    let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.headers_mut().insert("traceparent", theirs.parse().unwrap());
    request.headers_mut().insert("tracestate", "sdk=1".parse().unwrap());
    let headers = sent(PropagateLayer::new().trace_context(false), request).await;
    assert!(headers["traceparent"] == theirs && headers["tracestate"] == "sdk=1");
}

/// The same when the request has a caller in that trace: a span of the SDK's is another than the caller's.
#[tokio::test]
async fn the_caller_s_span_leaves_and_that_of_an_sdk_stays() {
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01";
    for (written, stays) in [(caller, false), (span, true)] {
        let upstream =
            service_fn(async |request: Request<()>| Ok::<_, Infallible>(request.into_parts().0.headers));
        let client = PropagateLayer::new().trace_context(false).layer(upstream);
        let handler = service_fn(move |mut request: Request<()>| {
            let client = client.clone();
            async move {
                request.headers_mut().insert("traceparent", written.parse().unwrap());
                let mut response = http::Response::new(());
                *response.headers_mut() = client.oneshot(request).await.unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        let request = Request::builder().header("traceparent", caller).header("tracestate", "a=1");
        let answer = CorrelationLayer::new().layer(handler).oneshot(request.body(()).unwrap()).await.unwrap();
        assert_eq!(answer.headers().get("traceparent").is_some_and(|it| it == span), stays, "{answer:?}");
        assert_eq!(answer.headers().contains_key("tracestate"), stays);
    }
}

/// A span of an SDK that has begun another trace takes nothing of the first one along.
#[tokio::test]
async fn the_state_of_one_trace_is_not_sent_in_another() {
    let correlation = correlation();
    for (trace_id, told) in [(correlation.trace().trace_id(), true), (5, false)] {
        let mut request = of(&correlation);
        request.extensions_mut().insert(TraceParent::new(trace_id, 7, 1).unwrap());
        let headers = sent(PropagateLayer::new(), request).await;
        let parent = TraceParent::parse(headers["traceparent"].as_bytes()).unwrap();
        assert_eq!((parent.trace_id(), parent.parent_id()), (trace_id, 7));
        assert_eq!(headers.contains_key("tracestate"), told);
    }
}

/// The same where a layer finds the span of an SDK, outermost or inside of another.
#[tokio::test]
async fn the_caller_s_state_stays_in_the_caller_s_trace() {
    let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
    for (span, state) in [(trace, Some("a=1")), (5, None)] {
        let span = TraceParent::new(span, 7, 1).unwrap();
        let handler = service_fn(async |request: Request<()>| {
            let known = request.extensions().get::<Correlation>().cloned().unwrap();
            let mut response = http::Response::new(());
            response.extensions_mut().insert(known);
            Ok::<_, Infallible>(response)
        });
        let late = tower::util::MapRequestLayer::new(move |mut request: Request<()>| {
            request.extensions_mut().insert(span);
            request
        });
        let request = || {
            let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            Request::builder().header("traceparent", parent).header("tracestate", "a=1").body(()).unwrap()
        };
        let one = CorrelationLayer::new().layer(handler);
        let first = late.layer(one.clone()).oneshot(request()).await.unwrap();
        let second = CorrelationLayer::new().layer(late.layer(one)).oneshot(request()).await.unwrap();
        for response in [first.map(drop), second.map(drop)] {
            let known = response.extensions().get::<Correlation>().unwrap();
            assert_eq!(known.trace(), span);
            assert_eq!(known.tracestate().map(TraceState::as_str), state);
        }
    }
}

/// Nor does anybody inside who reads fields, such as an SDK, get to see it.
#[tokio::test]
async fn nobody_inside_reads_what_was_refused() {
    let seen = async |trust: Trust, fields: &[(&str, &str)]| {
        let handler = service_fn(async |request: Request<()>| {
            let mut response = http::Response::new(());
            response.extensions_mut().insert(request.headers().clone());
            Ok::<_, Infallible>(response)
        });
        let mut request = Request::new(());
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let names = ["x-request-id", "traceparent"].map(HeaderName::from_static);
        let layer = CorrelationLayer::new().trust(trust).inbound(names);
        let mut response = layer.layer(handler).oneshot(request).await.unwrap();
        let headers = response.extensions_mut().remove::<HeaderMap>().unwrap();
        let there = |name: &&str| headers.contains_key(*name);
        ["traceparent", "tracestate", "baggage"].into_iter().filter(there).collect::<Vec<_>>()
    };
    let parent = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let (id, state, baggage) = (("x-request-id", "a"), ("tracestate", "a=1"), ("baggage", "a=1"));
    let good = [id, parent, state, baggage];
    assert_eq!(seen(Trust::Always, &good).await, ["traceparent", "tracestate", "baggage"]);
    assert_eq!(seen(Trust::Never, &good).await, [""; 0]);
    assert_eq!(seen(Trust::Always, &[id, parent, parent, state, baggage]).await, ["baggage"], "two parents");
    assert_eq!(seen(Trust::Always, &[id, ("traceparent", "x"), state]).await, [""; 0]);
    assert_eq!(
        seen(Trust::Always, &[id, parent, ("tracestate", "A=1"), baggage]).await,
        ["traceparent", "baggage"]
    );
    assert_eq!(seen(Trust::Always, &[id, parent, ("baggage", "a")]).await, ["traceparent"]);
}

/// Towards a party that is not to read it, whoever wrote it.
#[tokio::test]
async fn no_baggage_leaves_where_that_is_said() {
    for known in [true, false] {
        let request = || {
            let mut request = if known { of(&correlation()) } else { Request::new(()) };
            request.headers_mut().insert("baggage", "by=hand".parse().unwrap());
            request
        };
        let headers = sent(PropagateLayer::new(), request()).await;
        assert_eq!(headers["baggage"], if known { "user=17" } else { "by=hand" });
        let headers = sent(PropagateLayer::new().baggage(false), request()).await;
        assert!(!headers.contains_key("baggage"), "{headers:?}");
    }
}

//! Which span a line is about: each call its own, on both sides, and the one that its callee names as its parent.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Request, Response};
use serde_json::Value;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use tower_correlation::observe::ObserveLayer;
use tower_correlation::trace::{TraceParent, extract};
use tower_correlation::{Correlation, CorrelationLayer, PropagateLayer};

use crate::observed::{Body, Lines, lines, request};

type Http = BoxCloneService<Request<Body>, Response<()>, BoxError>;

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";

/// The fields of the requests that went out.
type Sent = Arc<Mutex<Vec<HeaderMap>>>;

fn upstream(sent: &Sent) -> Http {
    let sent = sent.clone();
    let answer = service_fn(move |request: Request<Body>| {
        sent.lock().unwrap().push(request.into_parts().0.headers);
        std::future::ready(Ok::<_, BoxError>(Response::new(Body::default())))
    });
    ServiceBuilder::new()
        .boxed_clone()
        .map_response(|response: Response<Body>| response.map(drop))
        .service(answer)
}

fn gone(sent: &Sent) -> TraceParent {
    let sent = sent.lock().unwrap();
    extract(sent.last().unwrap()).unwrap().0
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    ObserveOutside,
    PropagateOutside,
}

const ORDERS: [Order; 2] = [Order::ObserveOutside, Order::PropagateOutside];

/// A client whose lines are returned.
fn client(order: Order, inner: Http) -> (Lines, Http) {
    let (lines, builder) = lines();
    let observe = ObserveLayer::client(builder.build().unwrap());
    let inner = inner.map_response(|response| response.map(|()| Body::default()));
    let client = match order {
        Order::ObserveOutside => {
            let client = observe.layer(PropagateLayer::new().layer(inner));
            client.map_response(|response| response.map(drop)).boxed_clone()
        }
        Order::PropagateOutside => {
            let client = PropagateLayer::new().layer(observe.layer(inner));
            client.map_response(|response| response.map(drop)).boxed_clone()
        }
    };
    (lines, client)
}

/// A server that asks a client: by a request of its own, or by the one it got.
async fn serve(client: Http, passes_on: bool, incoming: Request<Body>) -> Value {
    let (lines, builder) = lines();
    let handler = service_fn(move |incoming: Request<Body>| {
        let client = client.clone();
        async move {
            client.oneshot(if passes_on { incoming } else { request("/") }).await?;
            Ok::<_, BoxError>(Response::new(Body::default()))
        }
    });
    let server = ServiceBuilder::new()
        .layer(CorrelationLayer::new())
        .layer(ObserveLayer::server(builder.build().unwrap()))
        .service(handler);
    drop(server.oneshot(incoming).await.unwrap());
    lines.one()
}

fn called() -> Request<Body> {
    let mut request = request("/");
    request.headers_mut().insert("traceparent", CALLER.parse().unwrap());
    request
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

#[tokio::test]
async fn a_call_is_a_span_of_its_own_and_the_one_that_is_sent() {
    for order in ORDERS {
        for passes_on in [false, true] {
            for incoming in [called(), request("/")] {
                let began_here = incoming.headers().is_empty();
                let sent = Sent::default();
                let (made, client) = client(order, upstream(&sent));
                let server = serve(client, passes_on, incoming).await;
                let (made, gone) = (made.one(), gone(&sent));
                let case = format!("{order:?} {passes_on} {began_here}\n{server}\n{made}");
                assert_eq!(made["trace_id"], server["trace_id"], "{case}");
                assert_eq!(made["trace_id"], format!("{:032x}", gone.trace_id()), "{case}");
                assert_eq!(made["span_id"], hex(gone.parent_id()), "{case}");
                assert_eq!(made["parent_span_id"], server["span_id"], "{case}");
                assert_ne!(made["span_id"], server["span_id"], "{case}");
                let caller = if began_here { Value::Null } else { "00f067aa0ba902b7".into() };
                assert_eq!(server["parent_span_id"], caller, "{case}");
            }
        }
    }
}

/// What the caller's line calls the call, the callee's names as its parent.
#[tokio::test]
async fn the_lines_of_two_services_join() {
    for order in ORDERS {
        let callee = Arc::new(Mutex::new(None));
        let to = callee.clone();
        let second = service_fn(move |request: Request<Body>| {
            let to = to.clone();
            async move {
                let line = serve(upstream(&Sent::default()), false, request).await;
                *to.lock().unwrap() = Some(line);
                Ok::<_, BoxError>(Response::new(()))
            }
        });
        // On its way to another process a request loses all but its fields.
        let wire = second.map_request(|mut request: Request<Body>| {
            request.extensions_mut().clear();
            request
        });
        let (made, client) = client(order, wire.boxed_clone());
        serve(client, false, called()).await;
        let callee = callee.lock().unwrap().take().unwrap();
        assert_eq!(callee["parent_span_id"], made.one()["span_id"], "{order:?}");
    }
}

/// Where no request is at hand, the call is the first of its trace; callee and line agree on which, and so do they on
/// what is kept.
#[tokio::test]
async fn work_without_a_request_is_the_root_of_the_trace_that_is_sent() {
    for order in ORDERS {
        let sent = Sent::default();
        let (lines, client) = client(order, upstream(&sent));
        client.oneshot(request("/")).await.unwrap();
        let (line, gone) = (lines.one(), gone(&sent));
        assert_eq!(line["trace_id"], format!("{:032x}", gone.trace_id()), "{order:?}");
        assert_eq!((&line["span_id"], line.get("parent_span_id")), (&hex(gone.parent_id()).into(), None));
    }
    let sent = Sent::default();
    let (lines, builder) = lines();
    let observe = ObserveLayer::client(builder.sample(0.5).build().unwrap());
    let inner = upstream(&sent).map_response(|response| response.map(|()| Body::default()));
    let client = observe.layer(PropagateLayer::new().layer(inner));
    for _ in 0..64 {
        drop(client.clone().oneshot(request("/")).await.unwrap());
        let kept = gone(&sent).trace_id() as u64 & 0x0080_0000_0000_0000 != 0;
        let last = lines.all().pop();
        let written = last.is_some_and(|line| line["span_id"] == hex(gone(&sent).parent_id()));
        assert_eq!(written, kept);
    }
    assert!((1..64).contains(&lines.all().len()));
}

/// A span that an SDK made for the call is the call's; one that it made for the request is not.
#[tokio::test]
async fn a_span_of_an_sdk_is_that_of_the_call_it_was_made_for() {
    let correlation = Correlation::generate();
    for (trace_id, parent) in [(correlation.trace().trace_id(), true), (5, false)] {
        let sent = Sent::default();
        let (lines, client) = client(Order::ObserveOutside, upstream(&sent));
        let mut call = request("/");
        call.extensions_mut().insert(correlation.clone());
        call.extensions_mut().insert(TraceParent::new(trace_id, 7, 1).unwrap());
        client.oneshot(call).await.unwrap();
        let (line, gone) = (lines.one(), gone(&sent));
        assert_eq!((gone.trace_id(), gone.parent_id()), (trace_id, 7));
        assert_eq!(
            (&line["trace_id"], &line["span_id"]),
            (&format!("{trace_id:032x}").into(), &hex(7).into())
        );
        let own = hex(correlation.trace().parent_id());
        assert_eq!(line["parent_span_id"], if parent { own.into() } else { Value::Null });
    }
    let sent = Sent::default();
    let (lines, client) = client(Order::ObserveOutside, upstream(&sent));
    let mut incoming = called();
    incoming
        .extensions_mut()
        .insert(TraceParent::new(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 7, 1).unwrap());
    let server = serve(client, true, incoming).await;
    let line = lines.one();
    assert_eq!((&server["span_id"], &line["parent_span_id"]), (&hex(7).into(), &hex(7).into()));
    assert_eq!(line["span_id"], hex(gone(&sent).parent_id()));
    assert_ne!(line["span_id"], hex(7));
}

/// What is tried twice is one call where it is observed from outside, and two of it where each try is.
#[tokio::test]
async fn tries_are_spans_where_they_are_observed() {
    let twice = |inner: Http| {
        service_fn(move |request: Request<Body>| {
            let mut inner = inner.clone();
            async move {
                inner.ready().await?.call(request.clone()).await?;
                inner.ready().await?.call(request).await
            }
        })
        .boxed_clone()
    };
    let sent = Sent::default();
    let (tries, client) = client(Order::ObserveOutside, upstream(&sent));
    let (lines, builder) = lines();
    let whole = ObserveLayer::client(builder.build().unwrap());
    let retried = twice(client).map_response(|response| response.map(|()| Body::default()));
    drop(whole.clone().layer(retried).oneshot(request("/")).await.unwrap());
    let (whole_call, tries) = (lines.one(), tries.all());
    let sent_ids: Vec<String> =
        sent.lock().unwrap().iter().map(|fields| hex(extract(fields).unwrap().0.parent_id())).collect();
    assert_eq!(tries.iter().map(|line| line["span_id"].as_str().unwrap()).collect::<Vec<_>>(), sent_ids);
    assert_ne!(sent_ids[0], sent_ids[1]);
    for line in &tries {
        assert_eq!(line["parent_span_id"], whole_call["span_id"]);
        assert_eq!(line["trace_id"], whole_call["trace_id"]);
    }
    let sent = Sent::default();
    let propagated = PropagateLayer::new().layer(upstream(&sent)).boxed_clone();
    let retried = twice(propagated).map_response(|response| response.map(|()| Body::default()));
    drop(whole.layer(retried).oneshot(request("/")).await.unwrap());
    let line = lines.all().pop().unwrap();
    for fields in sent.lock().unwrap().iter() {
        assert_eq!(
            line["span_id"],
            hex(extract(fields).unwrap().0.parent_id()),
            "the span that was recorded"
        );
    }
}

/// Nobody has made a span for the request: what is known is who called.
#[tokio::test]
async fn without_an_identity_only_the_caller_s_span_is_known() {
    let (lines, builder) = lines();
    let answer = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::default())));
    drop(ObserveLayer::server(builder.build().unwrap()).layer(answer).oneshot(called()).await.unwrap());
    let line = lines.one();
    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((line.get("span_id"), &line["parent_span_id"]), (None, &"00f067aa0ba902b7".into()));
}

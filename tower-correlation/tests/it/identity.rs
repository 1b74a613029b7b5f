//! Which id a request gets, and who learns of it.

use std::convert::Infallible;

use http::{HeaderMap, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_correlation::{Correlation, CorrelationLayer, Origin, Replaced, Trust, current};

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

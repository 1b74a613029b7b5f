//! Migration with any body, query, tags and conditions: nothing panics, lengths are right, tags are the version's own,
//! and a document that goes up and comes down again is the same document.
#![no_main]

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tower_layer::Layer;
use tower_service::Service;
use tower_versioning::migrate::{Change, MigrateBody, MigrateLayer, Migrations};
use tower_versioning::{Registry, Source, Version, VersionLayer};

/// Answers with the body and the tag that it was asked with.
#[derive(Clone)]
struct Echo(Option<HeaderValue>);

impl Service<Request<MigrateBody<Full<Bytes>>>> for Echo {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<MigrateBody<Full<Bytes>>>) -> Self::Future {
        let tag = self.0.clone();
        Box::pin(async move {
            let body = request.into_body().collect().await?.to_bytes();
            let mut response = Response::new(Full::new(body));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert("content-type", json);
            if let Some(tag) = tag {
                response.headers_mut().insert("etag", tag);
            }
            Ok(response)
        })
    }
}

fn layers() -> (VersionLayer, MigrateLayer) {
    let (v1, v2) = (Version::major(1), Version::major(2));
    let wrap = Change::new("wrapped")
        .request_query(|query| {
            query.rename("a", "b");
            query.set("c", &query.get("b").unwrap_or_default());
            Ok(())
        })
        .request_body(|body| {
            **body = json!([body.take()]);
            Ok(())
        })
        .response_body(|body| {
            **body = body[0].take();
            Ok(())
        });
    let migrations = Migrations::builder().change(v2, wrap).build().unwrap();
    let registry = Registry::builder().version(v1, |v| v).version(v2, |v| v).build().unwrap();
    let versions =
        VersionLayer::new(registry).sources([Source::header(HeaderName::from_static("api-version"))]);
    (versions, MigrateLayer::new(migrations))
}

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(4, |&octet| octet == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (tag, tags, target, body) = (next(), next(), next(), next());
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
    if let Ok(uri) = http::Uri::try_from([b"/x?", target].concat()) {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    headers.insert("api-version", HeaderValue::from_static("1"));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    for name in ["if-match", "if-none-match"] {
        if let Ok(value) = HeaderValue::from_bytes(tags) {
            headers.insert(name, value);
        }
    }
    let (versions, migrations) = layers();
    let mut service = versions.layer(migrations.layer(Echo(HeaderValue::from_bytes(tag).ok())));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut context) else {
        panic!("everything is at hand");
    };
    let (head, sent) = response.into_parts();
    let Poll::Ready(Ok(sent)) = pin!(sent.collect()).poll(&mut context) else { panic!("the body is") };
    let sent = sent.to_bytes();
    assert!(head.headers.get("etag").is_none_or(|tag| tag.as_bytes().ends_with(b";1\"")));
    match serde_json::from_slice::<Value>(body) {
        Ok(document) => {
            // Numbers beyond 64 bits are kept as `serde_json` keeps them, each time they are read.
            let again = |document: Value| -> Value { serde_json::from_str(&document.to_string()).unwrap() };
            assert_eq!(head.status, 200);
            assert_eq!(head.headers["content-length"], sent.len().to_string().as_str());
            assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), again(again(document)));
        }
        // An empty body is none; anything else is not the JSON that it says it is, and goes to nobody.
        Err(_) => assert_eq!(head.status, if body.is_empty() { 200 } else { 400 }),
    }
});

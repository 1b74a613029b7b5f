//! What answers announce: `Deprecation`, `Sunset`, `Link` and the lists of versions, a line each, to the client layer.
//! Nothing panics, and what is told is what such fields can say.
#![no_main]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::UNIX_EPOCH;

use http::{HeaderName, HeaderValue, Request, Response};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer;
use tower_service::Service;
use tower_versioning::Version;
use tower_versioning::client::{ClientVersionLayer, Notice};

const FIELDS: [&str; 5] =
    ["deprecation", "sunset", "link", "api-supported-versions", "api-deprecated-versions"];

struct Answers(Option<Response<()>>);

impl Service<Request<()>> for Answers {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(self.0.take().unwrap_or_default()))
    }
}

fuzz_target!(|data: &[u8]| {
    let mut response = Response::new(());
    for line in data.split(|&octet| octet == b'\n').take(16) {
        let Some((&field, value)) = line.split_first() else { continue };
        let name = HeaderName::from_static(FIELDS[usize::from(field) % FIELDS.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            response.headers_mut().append(name, value);
        }
    }
    let told = Arc::new(Mutex::new(Vec::<Notice>::new()));
    let tell = told.clone();
    let layer = ClientVersionLayer::new(Version::major(1))
        .on_notice(move |notice| tell.lock().unwrap().push(notice.clone()))
        .wall_clock(|| UNIX_EPOCH);
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static("http://h/a/b?c");
    let mut call = pin!(layer.layer(Answers(Some(response))).call(request));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    for notice in told.lock().unwrap().iter() {
        for link in &notice.links {
            assert!(!link.relations.is_empty());
            assert!(link.target.contains(':'));
            assert!(!link.target.contains([' ', '<', '>', '"']));
        }
        assert!(notice.deprecation.is_none_or(|at| at.unix().unsigned_abs() < 10u64.pow(15)));
    }
});

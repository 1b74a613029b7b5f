use http::{HeaderName, HeaderValue, Method};
use tower::layer::util::Stack;
use tower_versioning::migrate::{Change, MigrateLayer, Migrations};
use tower_versioning::{Registry, Source, Version, VersionLayer};

use super::{assert_refused, assert_through, with};
use crate::hosts::Host;

#[derive(Debug, Default)]
pub(crate) struct Row;

impl Row {
    pub(crate) fn layer(&self) -> Stack<MigrateLayer, VersionLayer> {
        let (v1, v2) = (Version::major(1), Version::major(2));
        let registry = Registry::builder().version(v1, |v| v).version(v2, |v| v).build().unwrap();
        let header = Source::header(HeaderName::from_static("api-version"));
        let change = Change::new("things have names").request_body(|thing| {
            thing["name"] = "none".into();
            Ok(())
        });
        let migrations = Migrations::builder().change(v2, change).build().unwrap();
        Stack::new(MigrateLayer::new(migrations), VersionLayer::new(registry).sources([header]))
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, with(host, "api-version", "2")).await;
    }

    /// What cannot be read cannot be translated.
    pub(crate) async fn decides(&self, host: &Host) {
        let mut request = with(host, "api-version", "1");
        *request.method_mut() = Method::POST;
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        *request.body_mut() = "{".into();
        assert_refused(host, request, 400, 3).await;
    }
}

//! What the tests share.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_versioning::{ApiVersion, Registry, Version, VersionError, VersionErrorKind, VersionLayer};

pub(crate) const V1: Version = Version::major(1);
pub(crate) const V2: Version = Version::major(2);

pub(crate) fn v(text: &str) -> Version {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn day(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(number * 86_400)
}

pub(crate) fn registry(versions: &[&str]) -> Registry {
    versions
        .iter()
        .fold(Registry::builder(), |builder, text| builder.version(v(text), |v| v))
        .build()
        .unwrap()
}

pub(crate) fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

pub(crate) fn get(uri: &str) -> Request<String> {
    Request::get(uri).body(String::new()).unwrap()
}

pub(crate) fn with(uri: &str, headers: &[(&'static str, &str)]) -> Request<String> {
    let mut request = get(uri);
    for (name, value) in headers {
        request.headers_mut().append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) error: Option<VersionError>,
}

impl Answer {
    pub(crate) fn kind(&self) -> Option<VersionErrorKind> {
        self.error.as_ref().map(VersionError::kind)
    }

    /// All lines of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect()
    }
}

/// Sends a request through the layer to a service that answers with the version and the target it saw.
pub(crate) async fn send(layer: &VersionLayer, request: Request<String>) -> Answer {
    send_to(layer, request, |_| {}).await
}

/// The same; the service adds header fields of its own.
pub(crate) async fn send_to(
    layer: &VersionLayer,
    request: Request<String>,
    own: impl Fn(&mut HeaderMap) + Clone,
) -> Answer {
    let inner = service_fn(async |request: Request<String>| {
        let version = request.extensions().get::<ApiVersion>().map(|v| v.version().to_string());
        let seen = format!("{} {}", version.unwrap_or("-".into()), request.uri());
        let mut response = Response::new(seen);
        own(response.headers_mut());
        Ok::<_, Infallible>(response)
    });
    let (parts, body) = layer.layer(inner).oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
        error: parts.extensions.get::<VersionError>().cloned(),
    }
}

//! Metadata of a protected resource (RFC 9728): tells clients whom to ask for tokens, and for which scopes.
//!
//! [`ProtectedResource`] is a service for the well-known path; given to
//! [`AuthLayer::resource_metadata`](crate::AuthLayer::resource_metadata) it is named in every challenge.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Map, Value};
use tower_service::Service;

use crate::body::ResponseBody;
use crate::error::ConfigError;
use crate::policy::metadata;

/// The inner body of a service that has none.
#[derive(Debug)]
pub enum Nothing {}

impl http_body::Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        match *self {}
    }
}

/// Serves the metadata of one resource: `GET` and `HEAD` at [`path`](Self::path), 404 elsewhere, 405 for other methods.
/// A cheap handle.
#[derive(Clone)]
pub struct ProtectedResource {
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    path: String,
    json: Bytes,
}

/// Builds a [`ProtectedResource`].
#[derive(Debug, Clone)]
pub struct ProtectedResourceBuilder {
    resource: String,
    members: Map<String, Value>,
}

impl ProtectedResource {
    /// The metadata of the resource with this identifier: the URL clients use, without query and fragment.
    #[must_use]
    pub fn builder(resource: impl Into<String>) -> ProtectedResourceBuilder {
        ProtectedResourceBuilder { resource: resource.into(), members: Map::new() }
    }

    /// Where the metadata is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Its path, for a router.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.shared.path
    }
}

impl fmt::Debug for ProtectedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedResource").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl ProtectedResourceBuilder {
    /// An issuer whose tokens are accepted (`authorization_servers`). May be said for several.
    #[must_use]
    pub fn authorization_server(self, issuer: impl Into<String>) -> Self {
        self.add("authorization_servers", issuer.into())
    }

    /// A scope that is of use here (`scopes_supported`). May be said for several.
    #[must_use]
    pub fn scope(self, scope: impl Into<String>) -> Self {
        self.add("scopes_supported", scope.into())
    }

    /// Any other member of RFC 9728 §2, or of one's own, in place of what it was.
    #[must_use]
    pub fn member(mut self, name: impl Into<String>, value: Value) -> Self {
        self.members.insert(name.into(), value);
        self
    }

    fn add(mut self, name: &str, value: String) -> Self {
        match self.members.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(values) => values.push(Value::String(value)),
            other => *other = Value::Array(vec![Value::String(value)]),
        }
        self
    }

    /// The finished service.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn build(self) -> Result<ProtectedResource, ConfigError> {
        let location = metadata::location(&self.resource)
            .ok_or_else(|| ConfigError::new("resource", "not an absolute URL without query and fragment"))?;
        if self.members.contains_key("resource") {
            return Err(ConfigError::new("member", "`resource` is said already"));
        }
        let mut members = Map::new();
        members.insert("resource".to_owned(), Value::String(self.resource));
        members.extend(self.members);
        // RFC 6750 §2.1 is the only way tokens are taken unless one says otherwise.
        let header = || Value::Array(vec![Value::String("header".to_owned())]);
        members.entry("bearer_methods_supported").or_insert_with(header);
        let json = Value::Object(members).to_string().into();
        let (url, path) = (location.to_string(), location.path().to_owned());
        Ok(ProtectedResource { shared: Arc::new(Shared { url, path, json }) })
    }
}

impl<B> Service<Request<B>> for ProtectedResource {
    type Response = Response<ResponseBody<Nothing>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = &self.shared;
        let mut response = Response::new(Bytes::new());
        if request.uri().path() != shared.path {
            *response.status_mut() = StatusCode::NOT_FOUND;
        } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        } else {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(shared.json.len()));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
            if request.method() == Method::GET {
                *response.body_mut() = shared.json.clone();
            }
        }
        ready(Ok(response.map(ResponseBody::own)))
    }
}

/// Adds `resource_metadata` to each challenge that has none (RFC 9728 §5.1).
pub(crate) fn name_in_challenges(url: &str, headers: &mut HeaderMap) {
    let challenges: Vec<HeaderValue> = headers.get_all(header::WWW_AUTHENTICATE).iter().cloned().collect();
    headers.remove(header::WWW_AUTHENTICATE);
    for challenge in challenges {
        let named = challenge.to_str().ok().filter(|text| !text.contains("resource_metadata="));
        let named = named.and_then(|text| metadata::named(text, url).parse().ok());
        headers.append(header::WWW_AUTHENTICATE, named.unwrap_or(challenge));
    }
}

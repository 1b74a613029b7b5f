//! Forms posted to an issuer with the credentials of a client (RFC 6749 §2.3.1): how tokens are asked for, and asked about.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use tower_service::Service;

use crate::error::ConfigError;
use crate::fetch;

/// How the client proves who it is (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AuthMethod {
    /// In the `Authorization` header. The default: what the RFC asks every server to support.
    #[default]
    Basic,
    /// In the form.
    Post,
}

/// Where forms are posted, by whom, and within which bounds.
pub(crate) struct Endpoint<S> {
    uri: Uri,
    pub(crate) id: String,
    secret: String,
    service: S,
    pub(crate) method: AuthMethod,
    pub(crate) timeout: Duration,
    pub(crate) max_body: usize,
}

/// The body of the answer; `None` is a failure of any kind.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

impl<S> Endpoint<S> {
    /// With the defaults that are documented where they can be changed: 5 seconds, 64 KiB.
    pub(crate) fn new(uri: Uri, id: String, secret: String, service: S) -> Self {
        let (timeout, max_body) = (Duration::from_secs(5), 64 * 1024);
        Self { uri, id, secret, service, method: AuthMethod::default(), timeout, max_body }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.uri.scheme().is_none() || self.uri.host().is_none() {
            return Err(ConfigError::new("uri", "not an absolute URL"));
        }
        if self.id.is_empty() {
            return Err(ConfigError::new("id", "empty"));
        }
        if self.timeout.is_zero() {
            return Err(ConfigError::new("fetch_timeout", "zero"));
        }
        if self.max_body == 0 {
            return Err(ConfigError::new("max_body", "zero"));
        }
        Ok(())
    }

    /// What posts a form. An answer counts whose status is 200.
    pub(crate) fn post<B, R>(self) -> impl Fn(String) -> Answering + Send + Sync + 'static
    where
        S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
        B: From<Bytes> + Send + 'static,
        R: Body<Data: Send, Error: Send> + Send + 'static,
    {
        let (mut credentials, mut authorization) = (String::new(), None);
        match self.method {
            AuthMethod::Post => {
                let (id, secret) = (encode(&self.id), encode(&self.secret));
                credentials = format!("&client_id={id}&client_secret={secret}");
            }
            AuthMethod::Basic => authorization = basic(&self.id, &self.secret),
        }
        let Self { uri, timeout, max_body, service, .. } = self;
        let service = Mutex::new(service);
        move |form| {
            let service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut request = Request::post(uri.clone())
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::ACCEPT, "application/json");
            if let Some(authorization) = &authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let request = request.body(B::from((form + &credentials).into()));
            Box::pin(async move {
                let answer = fetch::exchange(service, request.ok()?, timeout, max_body).await?;
                (answer.status() == StatusCode::OK).then(|| answer.into_body())
            })
        }
    }
}

/// Client credentials in a header (RFC 6749 §2.3.1).
fn basic(id: &str, secret: &str) -> Option<HeaderValue> {
    let pair = format!("{}:{}", encode(id), encode(secret));
    let pair = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `application/x-www-form-urlencoded` (RFC 6749 appendix B).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

//! How the tour speaks: plain HTTP/1.1 over connections that are kept, as any client would.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::with_causes;

/// Longest time the tour waits for one answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// A request before it is sent.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// Sets a header field; a value that is none is left out, and the answer shows it.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.header(header::AUTHORIZATION, &format!("Bearer {token}"))
    }

    pub(super) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into();
        self.header(header::CONTENT_TYPE, "application/json")
    }

    pub(super) fn form(mut self, body: String) -> Self {
        self.body = body.into();
        self.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) took: Duration,
}

impl Answer {
    /// A header field, empty when there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// All values of a field, joined as a list.
    pub(super) fn list(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` when it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// No answer at all.
#[derive(Debug)]
pub(super) struct Unanswered {
    call: String,
    reason: String,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer to {}: {}", self.call, self.reason)
    }
}

impl std::error::Error for Unanswered {}

/// A client with connections of its own: the balancer sees it as one.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    pub(super) fn new() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build_http() }
    }

    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Unanswered> {
        let unanswered =
            |reason: String| Unanswered { call: format!("{} {}", call.method, call.uri), reason };
        let mut request = Request::new(Full::new(call.body.clone()));
        request.method_mut().clone_from(&call.method);
        request.uri_mut().clone_from(&call.uri);
        request.headers_mut().clone_from(&call.headers);
        let begun = Instant::now();
        let exchange = async {
            let (parts, body) = self.client.request(request).await.map_err(|e| with_causes(&e))?.into_parts();
            let body = body.collect().await.map_err(|e| with_causes(&e))?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body, took: begun.elapsed() })
        };
        match tokio::time::timeout(DEADLINE, exchange).await {
            Ok(answer) => answer.map_err(unanswered),
            Err(_) => Err(unanswered(format!("none within {DEADLINE:?}"))),
        }
    }
}

//! What every HTTP intermediary does to a message (RFC 9110 §7.6), and a service that forwards to one upstream.

use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, FutureExt};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::BoxError;

/// Fields that concern one connection only, besides those that `Connection` lists (RFC 9110 §7.6.1). `Trailer` is none of
/// them: it says what the message ends with (§6.6.2).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Removes the fields of one connection, among them those that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // gRPC asks for `te: trailers` on every hop; it is the one value HTTP/2 allows (RFC 9113 §8.2.2).
    let trailers = headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Appends this intermediary to `Via` (RFC 9110 §7.6.3); `version` is that of the message received.
pub fn append_via(headers: &mut HeaderMap, version: Version, pseudonym: &str) {
    let received = match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::try_from(format!("{received} {pseudonym}")) {
        headers.append(header::VIA, value);
    }
}

/// Why a request goes no further: the status to answer with, and what is wrong.
#[must_use]
pub fn refusal<B>(request: &Request<B>) -> Option<(StatusCode, &'static str)> {
    if !names_one_host(request) {
        return Some((StatusCode::BAD_REQUEST, "the request does not say for which host it is"));
    }
    if has_unknown_coding(request.headers()) {
        return Some((StatusCode::NOT_IMPLEMENTED, "the content has an unknown transfer coding"));
    }
    let traced =
        request.method() == Method::TRACE && hops_left(request.method(), request.headers()) == Some(0);
    if request.method() == Method::CONNECT || traced {
        return Some((StatusCode::NOT_IMPLEMENTED, "there is no such method here"));
    }
    None
}

/// Whether there is a transfer coding besides `chunked`: sent on without it, the content would be another (RFC 9112 §6.1).
fn has_unknown_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    codings.next().is_some_and(|coding| !chunked(coding)) || codings.next().is_some()
}

/// Whether it is clear which host a request is for: a server refuses any other by 400 (RFC 9112 §3.2).
fn names_one_host<B>(request: &Request<B>) -> bool {
    let mut lines = request.headers().get_all(header::HOST).iter();
    match (lines.next(), lines.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => {
            let authority = Authority::try_from(host.as_bytes());
            authority.is_ok_and(|host| {
                !host.as_str().contains('@')
                    && host.port_u16().is_some() == host.as_str()[host.host().len()..].starts_with(':')
            })
        }
        (Some(_), Some(_)) => false,
    }
}

/// How many intermediaries may still pass it on, where TRACE or OPTIONS say so (RFC 9110 §7.6.2).
#[must_use]
pub fn hops_left(method: &Method, headers: &HeaderMap) -> Option<u64> {
    if !matches!(*method, Method::TRACE | Method::OPTIONS) {
        return None;
    }
    let hops = headers.get(header::MAX_FORWARDS)?.to_str().ok()?;
    let number = !hops.is_empty() && hops.bytes().all(|digit| digit.is_ascii_digit());
    number.then(|| hops.parse().unwrap_or(u64::MAX))
}

/// Ends what concerns the connection that a message came by. What is added after that goes on, whatever `Connection` said:
/// an intermediary that adds fields of its own has to do this first, and [`Forward`] does it again.
pub fn end_connection(headers: &mut HeaderMap) {
    strip_doubtful_length(headers);
    strip_hop_by_hop(headers);
}

/// Why a response cannot be passed on.
fn unusable<B>(response: &Response<B>) -> Option<&'static str> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // No upgrade was asked for: the upstream does not know what it says (RFC 9110 §7.8).
        return Some("the upstream changed the protocol unasked");
    }
    is_coded(response.headers()).then_some("the upstream's content has a transfer coding besides chunked")
}

/// Whether the content came in one of the registered transfer codings besides `chunked` (RFC 9112 §7.2), and would be
/// another without it. Whoever sends what is no coding at all means nothing by it: that ends with the connection.
fn is_coded(headers: &HeaderMap) -> bool {
    const CODINGS: [&str; 5] = ["compress", "deflate", "gzip", "x-compress", "x-gzip"];
    let lines = headers.get_all(header::TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes);
    let mut codings = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    codings.any(|coding| CODINGS.iter().any(|known| coding.eq_ignore_ascii_case(known.as_bytes())))
}

/// Takes away a length that is not that of the content: one beside a transfer coding, which overrides it (RFC 9112 §6.3),
/// or one that is said more than once (RFC 9110 §8.6). Who sends the message counts for itself.
fn strip_doubtful_length(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lines.next() else { return };
    let one = lines.next().is_none() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if !one || headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
}

/// One line of cookies: HTTP/2 may divide it, HTTP/1 may not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(line) = HeaderValue::from_bytes(&lines.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, line);
    }
}

/// Whether the request's own content is why it failed: the client broke off, or what it sent cannot be read.
#[must_use]
pub fn is_clients_fault(error: &(dyn std::error::Error + 'static)) -> bool {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.filter_map(|error| error.downcast_ref::<hyper::Error>()).any(hyper::Error::is_user)
}

/// An upstream such as `http://127.0.0.1:8080`, as command lines name it.
///
/// # Errors
///
/// Says what is wrong with the address: also with a path, which nothing would be put below of.
pub fn upstream_url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
    let (_, authority) = upstream(&uri)?;
    match uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@') {
        true => Ok(uri),
        false => Err(format!("`{text}` is not of the form http://HOST:PORT")),
    }
}

/// The scheme and authority of an upstream such as `http://127.0.0.1:8080`.
///
/// # Errors
///
/// Says what is wrong with the address.
pub fn upstream(uri: &Uri) -> Result<(Scheme, Authority), String> {
    match (uri.scheme(), uri.authority()) {
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP => Ok((scheme.clone(), authority.clone())),
        _ => Err(format!("`{uri}` is not of the form http://HOST:PORT")),
    }
}

/// Forwards requests to one upstream over pooled connections; both directions stream.
#[derive(Debug)]
pub struct Forward<B> {
    client: Client<HttpConnector, B>,
    scheme: Scheme,
    authority: Authority,
    pseudonym: std::sync::Arc<str>,
}

// Derived, this would ask for `B: Clone`.
impl<B> Clone for Forward<B> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
            pseudonym: self.pseudonym.clone(),
        }
    }
}

impl<B> Forward<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    /// A forwarder to `uri` that names itself `pseudonym` in `Via`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the address.
    pub fn new(uri: &Uri, pseudonym: &str) -> Result<Self, String> {
        let (scheme, authority) = upstream(uri)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(std::time::Duration::from_secs(2)));
        // Whoever closes an idle connection first loses no request on it; many servers close theirs after five seconds.
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(std::time::Duration::from_secs(4))
            .build(connector);
        Ok(Self { client, scheme, authority, pseudonym: pseudonym.into() })
    }
}

impl<B> tower::Service<Request<B>> for Forward<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let received = request.version();
        let hops = hops_left(request.method(), request.headers());
        *request.version_mut() = Version::HTTP_11;
        let host = request.uri().authority().map(|authority| {
            let authority = authority.as_str();
            authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
        });
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
        // Scheme, authority and path are all set, which is the one thing this conversion asks for.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        let headers = request.headers_mut();
        // HTTP/2 carries the host as authority, and so may HTTP/1: the upstream sees the host that the client asked for,
        // and no other (RFC 9112 §3.2.2).
        if let Some(Ok(host)) = host.map(HeaderValue::try_from) {
            headers.insert(header::HOST, host);
        }
        end_connection(headers);
        if headers.contains_key(header::TE) {
            // It is a field of this connection again (RFC 9110 §10.1.4).
            headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
        }
        join_cookies(headers);
        append_via(headers, received, &self.pseudonym);
        if let Some(hops) = hops {
            headers.insert(header::MAX_FORWARDS, HeaderValue::from(hops.saturating_sub(1)));
        }
        if let Some(sender) = request.extensions_mut().remove::<crate::interim::Sender>() {
            hyper::ext::on_informational(&mut request, move |interim| {
                sender.send(interim.status(), interim.headers());
            });
        }
        let answer = self.client.request(request);
        let pseudonym = self.pseudonym.clone();
        async move {
            let mut response = answer.await?;
            if let Some(why) = unusable(&response) {
                return Err(why.into());
            }
            let received = response.version();
            end_connection(response.headers_mut());
            append_via(response.headers_mut(), received, &pseudonym);
            // The server side picks the version that the client speaks.
            *response.version_mut() = Version::HTTP_11;
            Ok(response)
        }
        .boxed()
    }
}

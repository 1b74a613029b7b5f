//! Where in a request the token is (RFC 6750 §2).

use http::Response;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;

use crate::error::AuthError;
use crate::policy::challenge::{Credentials, b64token, credentials};

/// Finds the token of a request. [`BearerHeader`] is the default of the layer; others are named by
/// [`AuthLayer::token_source`](crate::AuthLayer::token_source).
pub trait TokenSource: Send + Sync + 'static {
    /// The token, or `None` where none was sent this way.
    ///
    /// # Errors
    ///
    /// [`AuthError::InvalidRequest`] where something was sent that cannot be a token, or more than one.
    fn find<'r>(&self, request: &'r Parts) -> Result<Option<Found<'r>>, AuthError>;
}

/// A token as it was found; not yet verified.
#[derive(Clone, Copy)]
pub struct Found<'r> {
    pub(crate) token: &'r str,
    pub(crate) in_uri: bool,
}

impl<'r> Found<'r> {
    /// A token.
    #[must_use]
    pub fn new(token: &'r str) -> Self {
        Self { token, in_uri: false }
    }

    /// A token that is part of the URI: the answer becomes private to its receiver (RFC 6750 §2.3).
    #[must_use]
    pub fn in_uri(token: &'r str) -> Self {
        Self { token, in_uri: true }
    }
}

impl std::fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("in_uri", &self.in_uri).finish_non_exhaustive()
    }
}

const fn invalid(reason: &'static str) -> AuthError {
    AuthError::InvalidRequest(reason)
}

/// `Authorization: Bearer …` (RFC 6750 §2.1): the way every server must understand.
#[derive(Debug, Clone, Copy, Default)]
pub struct BearerHeader;

/// What stands where the token of `Authorization: Bearer` is, whatever it is; `None` where only [`BearerHeader`] can say.
pub(super) fn bearer_bytes(request: &Parts) -> Option<&[u8]> {
    let mut values = request.headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    let token = value.strip_prefix(b"Bearer ")?;
    values.next().is_none().then_some(token)
}

impl TokenSource for BearerHeader {
    fn find<'r>(&self, request: &'r Parts) -> Result<Option<Found<'r>>, AuthError> {
        let mut values = request.headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(invalid("More than one Authorization header"));
        }
        match credentials(value.as_bytes()) {
            Credentials::Token(token) => Ok(Some(Found::new(token))),
            Credentials::OtherScheme => Ok(None),
            Credentials::Malformed => Err(invalid("The Authorization header is malformed")),
        }
    }
}

/// A header field of its own whose whole value is the token, such as `x-access-token` behind a proxy that keeps
/// `Authorization` for itself.
#[derive(Debug, Clone)]
pub struct Header {
    name: HeaderName,
}

impl Header {
    /// The field of this name.
    #[must_use]
    pub fn new(name: HeaderName) -> Self {
        Self { name }
    }
}

impl TokenSource for Header {
    fn find<'r>(&self, request: &'r Parts) -> Result<Option<Found<'r>>, AuthError> {
        let mut values = request.headers.get_all(&self.name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(invalid("More than one header with an access token"));
        }
        let token =
            b64token(value.as_bytes()).ok_or(invalid("The header with the access token is malformed"))?;
        Ok(Some(Found::new(token)))
    }
}

/// A cookie. Browsers send cookies with requests that other sites make: set it `Secure; HttpOnly; SameSite=Strict` and
/// defend against request forgery besides (RFC 6750 §5.3). An empty value, which is how cookies are cleared, is no token.
#[derive(Debug, Clone)]
pub struct Cookie {
    name: String,
}

impl Cookie {
    /// The cookie of this name, compared exactly; `__Host-` names cannot be set by neighbours.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl TokenSource for Cookie {
    fn find<'r>(&self, request: &'r Parts) -> Result<Option<Found<'r>>, AuthError> {
        let malformed = invalid("The cookie with the access token is malformed");
        let mut found = None;
        let pairs = request.headers.get_all(header::COOKIE).iter();
        for pair in pairs.flat_map(|value| value.as_bytes().split(|byte| *byte == b';')) {
            let pair = pair.trim_ascii();
            let Some(rest) = pair.strip_prefix(self.name.as_bytes()) else { continue };
            let Some(value) = rest.strip_prefix(b"=").filter(|value| !value.is_empty()) else { continue };
            if found.is_some() {
                return Err(invalid("More than one cookie with an access token"));
            }
            found = Some(Found::new(b64token(value).ok_or_else(|| malformed.clone())?));
        }
        Ok(found)
    }
}

/// A query parameter (RFC 6750 §2.3). **Dangerous**: URLs end up in access logs, histories and `Referer` fields, and the
/// token with them. For clients that cannot set a header, such as WebSocket handshakes of browsers, with short-lived
/// tokens. Successful answers get `Cache-Control: private` where they do not say `private` or `no-store` themselves;
/// refusals are `no-store` as always.
#[derive(Debug, Clone)]
pub struct Query {
    name: String,
}

impl Query {
    /// The parameter `access_token`, which the RFC names.
    #[must_use]
    pub fn danger_access_token() -> Self {
        Self::danger_named("access_token")
    }

    /// A parameter of another name, compared exactly and without decoding.
    pub fn danger_named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl TokenSource for Query {
    fn find<'r>(&self, request: &'r Parts) -> Result<Option<Found<'r>>, AuthError> {
        let mut found = None;
        for pair in request.uri.query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name != self.name {
                continue;
            }
            if found.is_some() {
                return Err(invalid("More than one query parameter with an access token"));
            }
            // No character of a JWT needs encoding, so an encoded one is none.
            let token = b64token(value.as_bytes());
            found = Some(Found::in_uri(
                token.ok_or(invalid("The query parameter with the access token is malformed"))?,
            ));
        }
        Ok(found)
    }
}

/// Several ways at once. Each request may use one of them: "Clients MUST NOT use more than one method" (RFC 6750 §2), and
/// a server that picked one of two would let an attacker choose which of them another component looks at. Two are 400.
#[derive(Default)]
pub struct FirstOf {
    sources: Vec<Box<dyn TokenSource>>,
}

impl FirstOf {
    /// Starts with one way.
    pub fn new(source: impl TokenSource) -> Self {
        Self::default().or(source)
    }

    /// One more way.
    #[must_use]
    pub fn or(mut self, source: impl TokenSource) -> Self {
        self.sources.push(Box::new(source));
        self
    }
}

impl std::fmt::Debug for FirstOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstOf").field("sources", &self.sources.len()).finish()
    }
}

impl TokenSource for FirstOf {
    fn find<'r>(&self, request: &'r Parts) -> Result<Option<Found<'r>>, AuthError> {
        let mut first = None;
        for source in &self.sources {
            let found = source.find(request)?;
            if found.is_some() && first.is_some() {
                return Err(invalid("The access token was sent in more than one way"));
            }
            first = first.or(found);
        }
        Ok(first)
    }
}

/// "Server success (2XX status) responses to these requests SHOULD contain a Cache-Control header with the 'private'
/// option" (RFC 6750 §2.3).
/// What the answer says besides stays, but for what invites shared caches.
pub(super) fn keep_private<B>(response: &mut Response<B>) {
    if !response.status().is_success() {
        return;
    }
    let values = response.headers().get_all(header::CACHE_CONTROL).iter();
    let mut said = Vec::new();
    for directive in values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
        let directive = directive.trim();
        let name = directive.split('=').next().unwrap_or_default().trim_ascii_end();
        // `private` with a list of fields is about these fields alone (RFC 9111 §5.2.2.7).
        if directive.eq_ignore_ascii_case("private") || name.eq_ignore_ascii_case("no-store") {
            return;
        }
        let shared = ["public", "s-maxage", "private", "proxy-revalidate"];
        if !directive.is_empty() && !shared.iter().any(|shared| name.eq_ignore_ascii_case(shared)) {
            said.push(directive);
        }
    }
    said.push("private");
    // Quotes may hold commas; such lists of fields are not taken apart.
    if said.iter().any(|directive| directive.contains('"')) {
        said = vec!["no-cache", "private"];
    }
    let value = HeaderValue::try_from(said.join(", ")).unwrap_or(HeaderValue::from_static("private"));
    response.headers_mut().insert(header::CACHE_CONTROL, value);
}

//! How a refusal looks.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, header};

use crate::error::AuthError;
use crate::grpc;
use crate::problem::Problem;

/// Makes the response to a refused request. The layer adds `WWW-Authenticate`, `Retry-After` and `Cache-Control`
/// afterwards where the response has none, so that a rendering cannot forget them.
pub trait RenderRejection: Send + Sync + 'static {
    /// The response to this request.
    fn render(&self, rejection: &AuthError, request: &Parts) -> Response<Bytes>;
}

impl<F> RenderRejection for F
where
    F: Fn(&AuthError, &Parts) -> Response<Bytes> + Send + Sync + 'static,
{
    fn render(&self, rejection: &AuthError, request: &Parts) -> Response<Bytes> {
        self(rejection, request)
    }
}

/// The default: a gRPC status where the request is gRPC, otherwise a problem document (RFC 9457).
#[derive(Debug, Clone, Default)]
pub struct Negotiated {
    pub(super) realm: Option<String>,
}

impl RenderRejection for Negotiated {
    fn render(&self, rejection: &AuthError, request: &Parts) -> Response<Bytes> {
        let detail = rejection.to_string();
        let mut response = if grpc::is_grpc(&request.headers) {
            grpc::trailers_only(&request.headers, rejection.grpc_code(), &detail)
        } else {
            let kind = format!("https://docs.rs/tower-auth/latest/tower_auth/#{}", rejection.kind());
            Problem::new(&kind, title(rejection), rejection.status())
                .text("detail", &detail)
                .correlation(&request.headers)
                .into_response(request)
        };
        if let Some(value) = rejection.challenge(self.realm.as_deref()).and_then(|text| text.parse().ok()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}

fn title(rejection: &AuthError) -> &'static str {
    match rejection {
        AuthError::MissingToken => "Missing token",
        AuthError::InvalidRequest(_) => "Invalid request",
        AuthError::InvalidToken(_) => "Invalid token",
        AuthError::InsufficientScope { .. } => "Insufficient scope",
        AuthError::Forbidden => "Forbidden",
        AuthError::RuleUnavailable { .. } => "Rule unavailable",
        AuthError::KeysUnavailable { .. } => "Keys unavailable",
        AuthError::InvalidProof(_) => "Invalid proof",
        AuthError::UseNonce => "Use nonce",
        AuthError::IntrospectionUnavailable { .. } => "Introspection unavailable",
    }
}

/// The whole answer: rendered, completed, and with the refusal in its extensions.
pub(crate) fn refuse(render: &dyn RenderRejection, error: &AuthError, request: &Parts) -> Response<Bytes> {
    let mut response = render.render(error, request);
    let headers = response.headers_mut();
    if let (false, Some(value)) = (
        headers.contains_key(header::WWW_AUTHENTICATE),
        error.challenge(None).and_then(|text| text.parse().ok()),
    ) {
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
    if let Some(retry_after) = error.retry_after() {
        let seconds = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0));
        headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from(seconds.max(1)));
    }
    // What one caller is refused must not be served to another (RFC 9111 §5.2.2.5).
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(error.clone());
    response
}

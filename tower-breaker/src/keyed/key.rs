use http::Request;
use http::header::HOST;
use http::uri::Authority;

/// The host and port a request is for: the authority of its URI, or else its `Host` field (RFC 9112 §3.3). Compared
/// without regard to case; user information is left out.
///
/// A server takes this from whoever asks: use it in clients, or where the hosts are checked before.
#[must_use]
pub fn host<B>(request: &Request<B>) -> Option<Authority> {
    let named = || request.headers().get(HOST)?.to_str().ok()?.parse().ok();
    let authority = request.uri().authority().cloned().or_else(named)?;
    match authority.as_str().rsplit_once('@') {
        Some((_, bare)) => bare.parse().ok(),
        None => Some(authority),
    }
}

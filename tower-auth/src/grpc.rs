//! gRPC answers that consist of trailers only.
//!
//! Repeated in each crate on purpose: the wire format is fixed, and sharing it would couple five release trains. The
//! golden vectors of `examples/tests/it` pin all the copies.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};

/// Whether the request speaks gRPC: its media type is `application/grpc`, `application/grpc-web`,
/// `application/grpc-web-text` or one of these with a suffix such as `+proto`.
pub(crate) fn is_grpc(request: &HeaderMap) -> bool {
    let Some(content_type) = request.get(header::CONTENT_TYPE) else { return false };
    let content_type = content_type.as_bytes();
    let Some((start, rest)) = content_type.split_at_checked(b"application/grpc".len()) else { return false };
    let without = |kind: &[u8]| {
        let (start, after) = rest.split_at_checked(kind.len())?;
        start.eq_ignore_ascii_case(kind).then_some(after)
    };
    let rest = without(b"-web-text").or_else(|| without(b"-web")).unwrap_or(rest);
    start.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// A "Trailers-Only" answer (gRPC over HTTP/2, Responses): status 200, and the call's outcome in the header block.
pub(crate) fn trailers_only(request: &HeaderMap, code: u8, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    let content_type = request.get(header::CONTENT_TYPE).cloned();
    headers
        .insert(header::CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/grpc")));
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        headers.insert("grpc-message", message);
    }
    response
}

/// Percent-encoding of `grpc-message`: everything but printable ASCII, and the percent sign itself.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | ..=0x1f | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            printable => encoded.push(char::from(printable)),
        }
    }
    encoded
}

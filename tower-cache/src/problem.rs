//! Problem documents (RFC 9457).
//!
//! Repeated in each crate on purpose: the wire format is fixed, and sharing it would couple five release trains. The
//! golden vectors of `examples/tests/it` pin all the copies.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};

/// Longest piece of foreign input that is echoed, in characters.
const MAX_ECHO: usize = 128;

/// A JSON object written member by member; `status` always equals the status of the response it ends up in.
pub(crate) struct Problem {
    status: StatusCode,
    json: String,
}

impl Problem {
    /// `type_uri` is absolute (RFC 9457 §3.1.1).
    pub(crate) fn new(type_uri: &str, title: &str, status: StatusCode) -> Self {
        let mut json = String::with_capacity(256);
        json.push_str("{\"type\":");
        push_string(&mut json, type_uri);
        json.push_str(",\"title\":");
        push_string(&mut json, title);
        let _ = write!(json, ",\"status\":{}", status.as_u16());
        Self { status, json }
    }

    /// A string member. Foreign input is escaped here and cut after [`MAX_ECHO`] characters.
    #[must_use]
    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.member(name);
        push_string(&mut self.json, value);
        self
    }

    /// The id of the request as a member, when the request carries one that is fit to print.
    #[must_use]
    pub(crate) fn correlation(self, request: &HeaderMap) -> Self {
        let fit = |id: &&str| {
            (1..=MAX_ECHO).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        match request.get("x-request-id").and_then(|id| id.to_str().ok()).filter(fit) {
            Some(id) => self.text("correlation_id", id),
            None => self,
        }
    }

    /// The response; a HEAD request gets the same header fields and no content (RFC 9110 §9.3.2).
    pub(crate) fn into_response(mut self, request: &Parts) -> Response<Bytes> {
        self.json.push('}');
        let length = self.json.len();
        let body = if request.method == Method::HEAD { Bytes::new() } else { Bytes::from(self.json) };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        response
    }

    fn member(&mut self, name: &str) {
        self.json.push(',');
        push_string(&mut self.json, name);
        self.json.push(':');
    }
}

/// A JSON string (RFC 8259 §7), cut after [`MAX_ECHO`] characters.
fn push_string(json: &mut String, value: &str) {
    // Most texts are short and go as they are, which is found out faster than character by character.
    let plain = |octet| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\');
    json.push('"');
    if value.len() <= MAX_ECHO && value.bytes().all(plain) {
        json.push_str(value);
    } else {
        push_escaped(json, value);
    }
    json.push('"');
}

fn push_escaped(json: &mut String, value: &str) {
    for (index, character) in value.chars().enumerate() {
        if index == MAX_ECHO {
            json.push('…');
            break;
        }
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            // Beyond what JSON asks: C1 controls and line separators break terminals and log files.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
}

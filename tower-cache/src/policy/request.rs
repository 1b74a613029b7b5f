//! Which requests a cache has anything to do with.

use std::borrow::Cow;

use http::{HeaderMap, Method, request::Parts};

use super::directives::RequestDirectives;
use crate::grpc::is_grpc;
use crate::outcome::BypassReason;

/// What is to be done with a request before anything is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The cache may answer it.
    Lookup(Asks),
    /// It passes, and the cache says so.
    Pass(BypassReason),
    /// It passes, and the cache leaves no trace on it: gRPC, an upgrade, a tunnel.
    Untouched,
}

/// What a request that may be answered asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asks {
    pub(crate) head: bool,
    pub(crate) range: bool,
    /// It has a condition that a cache evaluates.
    pub(crate) conditional: bool,
    pub(crate) directives: RequestDirectives,
}

impl Asks {
    /// What a request that is not looked up says about being stored.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let directives = RequestDirectives::parse(headers);
        Self { head: false, range: false, conditional: false, directives }
    }
}

/// Decides by method and fields alone.
pub(crate) fn admit(request: &Parts, honour_directives: bool) -> Admission {
    let headers = &request.headers;
    let traits = Traits::of(headers);
    // An unsafe request that merely offers one, as curl does with h2c, still changes what is stored (RFC 9111 §4.4).
    let upgrade = traits.upgrade && !invalidates(&request.method);
    if request.method == Method::CONNECT || upgrade || traits.typed && is_grpc(headers) {
        return Admission::Untouched;
    }
    let head = request.method == Method::HEAD;
    if traits.disguised {
        // Whatever the method: a response to POST may be one that answers GET.
        Admission::Pass(BypassReason::Override)
    } else if !head && request.method != Method::GET {
        Admission::Pass(BypassReason::Method)
    } else if traits.precondition {
        Admission::Pass(BypassReason::Precondition)
    } else if traits.content {
        Admission::Pass(BypassReason::Content)
    } else {
        let mut directives = RequestDirectives::default();
        if traits.control {
            directives = RequestDirectives::parse(headers);
        }
        if !honour_directives {
            // What is left is no wish but a prohibition (§5.2.1.5).
            directives = RequestDirectives { no_store: directives.no_store, ..RequestDirectives::default() };
        }
        // A range means something to GET alone (RFC 9110 §14.2).
        let range = traits.range && !head;
        Admission::Lookup(Asks { head, range, conditional: traits.conditional, directives })
    }
}

/// What one pass over the fields finds.
#[derive(Default)]
struct Traits {
    /// A field by which many frameworks take another method or path than the request line's: what such a request is
    /// answered must not be given to those who send none. Or one that takes fields away from the origin, by which it would
    /// have chosen.
    disguised: bool,
    /// `If-Match` and `If-Unmodified-Since` are for the origin (RFC 9111 §4.3.2).
    precondition: bool,
    /// Content in a GET is no part of the key, and an origin that minds it would poison the cache.
    content: bool,
    range: bool,
    conditional: bool,
    control: bool,
    typed: bool,
    upgrade: bool,
}

impl Traits {
    fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for field in headers.keys() {
            let name = field.as_str();
            let any = |is: fn(&[u8]) -> bool| headers.get_all(field).iter().any(|value| is(value.as_bytes()));
            // The first letters tell that most names are none of these.
            match name.as_bytes() {
                [b'c' | b'i' | b'p' | b'r' | b't' | b'u', ..] => {}
                [b'x', b'-' | b'_', b'h' | b'm' | b'o' | b'r', ..] => {
                    found.disguised |= disguises(&with_dashes(name));
                    continue;
                }
                _ => continue,
            }
            match name {
                "connection" => found.disguised |= any(takes_away),
                "cache-control" | "pragma" => found.control = true,
                "content-type" => found.typed = true,
                "upgrade" => found.upgrade = true,
                "range" => found.range = true,
                "if-none-match" | "if-modified-since" => found.conditional = true,
                "if-match" | "if-unmodified-since" => found.precondition = true,
                "transfer-encoding" => found.content = true,
                "content-length" => found.content |= any(|length| length != b"0"),
                _ => {}
            }
        }
        found
    }
}

fn disguises(name: &str) -> bool {
    matches!(
        name,
        "x-http-method-override" | "x-http-method" | "x-method-override" | "x-original-url" | "x-rewrite-url"
    )
}

/// A name as CGI and what came of it read it, for which underscores are dashes.
pub(crate) fn with_dashes(name: &str) -> Cow<'_, str> {
    if name.contains('_') { name.replace('_', "-").into() } else { name.into() }
}

/// Whether `Connection` names a field that is not of the connection anyway: whoever forwards the request removes it
/// (RFC 9110 §7.6.1), and the origin answers another request than the one that was looked up.
fn takes_away(names: &[u8]) -> bool {
    const OWN: [&str; 9] = [
        "close",
        "keep-alive",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "proxy-connection",
    ];
    let mut names = names.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
    names.any(|name| !OWN.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes())))
}

/// Whether a successful response to this method makes what is stored for the target invalid (RFC 9111 §4.4): every
/// method that is not known to be safe.
pub(crate) fn invalidates(method: &Method) -> bool {
    !method.is_safe() && !matches!(method.as_str(), "PROPFIND" | "SEARCH" | "REPORT" | "QUERY" | "CONNECT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, fields: &[(&'static str, &str)]) -> Parts {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = method;
        for (name, value) in fields {
            parts.headers.append(*name, value.parse().unwrap());
        }
        parts
    }

    #[test]
    fn one_field_more_decides() {
        let ordinary = [("accept", "*/*"), ("content-length", "0")];
        assert!(matches!(admit(&request(Method::GET, &ordinary), true), Admission::Lookup(_)));
        let cases = [
            (("content-type", "application/grpc+proto"), Admission::Untouched),
            (("upgrade", "websocket"), Admission::Untouched),
            (("x-http-method-override", "DELETE"), Admission::Pass(BypassReason::Override)),
            (("x-original-url", "/admin"), Admission::Pass(BypassReason::Override)),
            (("if-match", "\"a\""), Admission::Pass(BypassReason::Precondition)),
            (("transfer-encoding", "chunked"), Admission::Pass(BypassReason::Content)),
            (("content-length", "5"), Admission::Pass(BypassReason::Content)),
        ];
        for (field, expected) in cases {
            let fields = [ordinary[0], ordinary[1], field];
            assert_eq!(admit(&request(Method::GET, &fields), true), expected, "{field:?}");
        }
        assert_eq!(admit(&request(Method::POST, &ordinary), true), Admission::Pass(BypassReason::Method));
        assert_eq!(admit(&request(Method::CONNECT, &ordinary), true), Admission::Untouched);
    }

    #[test]
    fn wishes_can_be_ignored_but_not_no_store() {
        let parts = request(Method::GET, &[("cache-control", "no-cache, no-store")]);
        let Admission::Lookup(asks) = admit(&parts, false) else { panic!("not admitted") };
        assert!(asks.directives.no_store && !asks.directives.no_cache);
    }

    #[test]
    fn methods_that_invalidate() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FROBNICATE"] {
            assert!(invalidates(&Method::from_bytes(method.as_bytes()).unwrap()), "{method}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND"] {
            assert!(!invalidates(&Method::from_bytes(method.as_bytes()).unwrap()), "{method}");
        }
    }
}

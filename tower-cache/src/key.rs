//! What a stored response is found by.
//!
//! The key is scheme, authority, path and query as the request has them, then the fields by which an upstream may be
//! told that it is called by another name (`X-Forwarded-Host` and such, so that nobody poisons the answers of those
//! who send none), then what [`partition`](crate::CacheBuilder::partition) adds. The method is no part of it: a
//! stored GET answers HEAD.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use http::{HeaderValue, Uri, header, request::Parts};

use crate::policy::request::with_dashes;
use crate::policy::vary::Variant;
use crate::reference;

/// Keys come from the network: their hash is seeded, so that nobody chooses what collides.
static SEED: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);

thread_local! {
    /// Where keys are written: what is kept of one is as long as it is, and allocated once.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What is longer is not kept for the next key.
const MAX_SCRATCH: usize = 4096;

/// A hash that nobody outside of this process can predict.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    SEED.hash_one(bytes)
}

/// The primary key of stored responses (RFC 9111 §2), with a hash that is computed once.
#[derive(Clone, Eq)]
pub struct CacheKey {
    /// The URI, then the partition behind a zero octet.
    bytes: Arc<[u8]>,
    uri: usize,
    uri_hash: u64,
    hash: u64,
}

impl CacheKey {
    fn new(bytes: &[u8], uri: usize) -> Self {
        let uri_hash = SEED.hash_one(&bytes[..uri]);
        let hash = if uri == bytes.len() { uri_hash } else { SEED.hash_one(bytes) };
        Self { bytes: bytes.into(), uri, uri_hash, hash }
    }

    /// Of what `write` writes, which says where the URI ends.
    fn written(write: impl FnOnce(&mut Vec<u8>) -> usize) -> Self {
        let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        let uri = write(&mut bytes);
        let key = Self::new(&bytes, uri);
        if bytes.capacity() <= MAX_SCRATCH {
            let _ = SCRATCH.try_with(|scratch| scratch.set(bytes));
        }
        key
    }

    /// Of [`as_bytes`](Self::as_bytes) and the length of the URI in it.
    #[cfg(feature = "redis")]
    pub(crate) fn from_bytes(bytes: &[u8], uri: usize) -> Option<Self> {
        std::str::from_utf8(bytes.get(..uri)?).ok()?;
        Some(Self::new(bytes, uri))
    }

    /// The key of a URI without partition; what [`CacheHandle::purge`](crate::CacheHandle::purge) uses. `None` when
    /// it has no authority.
    #[must_use]
    pub fn of_uri(uri: &Uri) -> Option<Self> {
        KeyRules::default().of_uri(uri)
    }

    /// The URI as a string: `scheme://authority/path?query`.
    #[must_use]
    pub fn uri(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.uri]).unwrap_or_default()
    }

    /// All of the key, partition included: equal keys have equal octets, in every process.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key of a flight for one variant alone. It has no entries.
    pub(crate) fn of_variant(&self, variant: &Variant) -> Self {
        Self::written(|bytes| {
            bytes.extend_from_slice(&self.bytes);
            let mut parts = Partition { bytes };
            variant.each(|name, value| {
                parts.add(name).add_optional(value);
            });
            self.uri
        })
    }

    /// A hash of the URI alone, seeded per process: the same for all partitions of a URI.
    pub(crate) fn uri_hash(&self) -> u64 {
        self.uri_hash
    }

    pub(crate) fn hash64(&self) -> u64 {
        self.hash
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.uri == other.uri && self.bytes == other.bytes
    }
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Partitions may hold identities: only the URI is printed.
impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CacheKey").field(&self.uri()).finish()
    }
}

/// What further divides the stored responses of a URI.
///
/// Each part is written with its length, so that no two different lists of parts make the same key.
#[derive(Debug)]
pub struct Partition<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
}

impl Partition<'_> {
    /// Adds a part.
    pub fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.bytes.push(0);
        self.bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        self.bytes.extend_from_slice(part);
        self
    }

    /// Adds a part that may be missing; a missing part differs from an empty one.
    pub fn add_optional(&mut self, part: Option<impl AsRef<[u8]>>) -> &mut Self {
        match part {
            Some(part) => self.add([1]).add(part),
            None => self.add([0]),
        }
    }
}

/// A function that adds to the [`Partition`] of a request.
pub(crate) type PartitionFn = dyn Fn(&Parts, &mut Partition<'_>) + Send + Sync;

/// How keys are made of requests and URIs.
#[derive(Default)]
pub(crate) struct KeyRules {
    /// Names of query parameters that are left out; one that ends in `*` stands for all that start with the rest.
    pub(crate) ignored: Vec<Box<str>>,
    /// The order of query parameters means nothing.
    pub(crate) sorted: bool,
    /// The path is the one that the layer sees, also where the request came with another.
    #[cfg(feature = "axum")]
    pub(crate) without_original_path: bool,
    pub(crate) partitions: Vec<Box<PartitionFn>>,
}

impl KeyRules {
    /// The key of a request; `None` when it is not clear which authority it is for.
    pub(crate) fn of_request(&self, request: &Parts) -> Option<CacheKey> {
        // "*" is no path (RFC 9112 §3.2.4), and would be taken for one.
        let authority = authority(request).filter(|_| request.uri.path() != "*")?;
        Some(CacheKey::written(|bytes| {
            self.push_uri(bytes, scheme(&request.uri), authority, &request.uri);
            let uri = bytes.len();
            push_forwarded(bytes, request);
            #[cfg(feature = "axum")]
            if !self.without_original_path {
                crate::axum::push_original(bytes, request);
            }
            for partition in &self.partitions {
                partition(request, &mut Partition { bytes });
            }
            uri
        }))
    }

    /// The key of a request's URI alone, which stands for all its partitions.
    pub(crate) fn of_target(&self, request: &Parts) -> Option<CacheKey> {
        Some(self.key(scheme(&request.uri), authority(request)?, &request.uri))
    }

    /// The key of an absolute URI.
    pub(crate) fn of_uri(&self, uri: &Uri) -> Option<CacheKey> {
        Some(self.key(scheme(uri), uri.authority()?.as_str().as_bytes(), uri))
    }

    /// The key of another URI of the same origin that a response to `target` names (RFC 9111 §4.4).
    pub(crate) fn of_reference(&self, target: &CacheKey, reference: &[u8]) -> Option<CacheKey> {
        let reference = reference::resolve(target.uri(), std::str::from_utf8(reference).ok()?)?;
        let key = self.of_uri(&Uri::try_from(reference).ok()?)?;
        let origin = target.uri().find("://").and_then(|at| {
            let end = target.uri()[at + 3..].find('/')?;
            target.uri().get(..at + 3 + end + 1)
        })?;
        key.uri().starts_with(origin).then_some(key)
    }

    fn key(&self, scheme: &str, authority: &[u8], uri: &Uri) -> CacheKey {
        CacheKey::written(|bytes| {
            self.push_uri(bytes, scheme, authority, uri);
            bytes.len()
        })
    }

    /// Scheme and host do not regard case (RFC 9110 §4.2.3).
    fn push_uri(&self, bytes: &mut Vec<u8>, scheme: &str, authority: &[u8], uri: &Uri) {
        bytes.extend_from_slice(scheme.as_bytes());
        bytes.extend_from_slice(b"://");
        bytes.extend_from_slice(without_default_port(scheme, authority));
        bytes.make_ascii_lowercase();
        let plain = self.ignored.is_empty() && !self.sorted;
        if let Some(whole) = uri.path_and_query().filter(|whole| plain && whole.as_str().starts_with('/')) {
            bytes.extend_from_slice(whole.as_str().as_bytes());
            return;
        }
        if !uri.path().starts_with('/') {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(uri.path().as_bytes());
        let Some(query) = uri.query() else { return };
        if plain {
            bytes.push(b'?');
            bytes.extend_from_slice(query.as_bytes());
            return;
        }
        let mut parameters: Vec<&str> =
            query.split('&').filter(|parameter| !self.ignores(parameter)).collect();
        if self.sorted && parameters.iter().all(|parameter| is_plain(parameter)) {
            // Stable: parameters of one name, whose case some do not regard, keep their order.
            parameters.sort_by_cached_key(|parameter| name(parameter).to_ascii_lowercase());
        }
        for (index, parameter) in parameters.into_iter().enumerate() {
            bytes.push(if index == 0 { b'?' } else { b'&' });
            bytes.extend_from_slice(parameter.as_bytes());
        }
    }

    fn ignores(&self, parameter: &str) -> bool {
        let name = name(parameter);
        is_one(parameter)
            && self.ignored.iter().any(|ignored| match ignored.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == &**ignored,
            })
    }
}

/// Whether nobody can take it for more than one: some divide at `;` or at a further `?` too, so that a parameter that
/// counts could hide in one that does not.
fn is_one(parameter: &str) -> bool {
    !parameter.contains([';', '?'])
}

/// Whether its name is the same for all who read it: not in code, and without what some change into something else.
fn is_plain(parameter: &str) -> bool {
    is_one(parameter)
        && name(parameter).bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn name(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// The URI's authority, or the one `Host` line of an origin-form request.
fn authority(request: &Parts) -> Option<&[u8]> {
    if let Some(authority) = request.uri.authority() {
        return Some(authority.as_str().as_bytes());
    }
    // It is among the first, and to compare with a standard name is less than to look for it.
    let mut lines = request.headers.iter().filter(|(name, _)| **name == header::HOST);
    let host = lines.next()?.1.as_bytes();
    let valid = !host.is_empty() && host.iter().all(|byte| OF_HOST[usize::from(*byte)]);
    (valid && lines.next().is_none()).then_some(host)
}

/// Octets that a `Host` may have.
static OF_HOST: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        // Fits, as it is small.
        all[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b".-_:[]~%!$&'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        all[others[at] as usize] = true;
        at += 1;
    }
    all
};

/// `http` when the request does not say: an HTTP/1 server sees no scheme.
fn scheme(uri: &Uri) -> &str {
    uri.scheme_str().unwrap_or("http")
}

fn without_default_port<'a>(scheme: &str, authority: &'a [u8]) -> &'a [u8] {
    let default: &[u8] = if scheme.eq_ignore_ascii_case("https") { b":443" } else { b":80" };
    authority.strip_suffix(default).unwrap_or(authority)
}

/// The fields that tell an upstream by which name and scheme it is called, and no `Vary` mentions.
fn push_forwarded(bytes: &mut Vec<u8>, request: &Parts) {
    for field in request.headers.keys() {
        let name = field.as_str();
        // The first letters tell that most names are none of these.
        match name.as_bytes() {
            // Without an authority in the URI it is the key's own.
            b"host" if request.uri.authority().is_none() => continue,
            b"host"
            | b"forwarded"
            | b"front-end-https"
            | [b'x', b'-' | b'_', b'b' | b'f' | b'h' | b'o' | b'u', ..] => {}
            _ => continue,
        }
        let values = request.headers.get_all(field);
        values.iter().for_each(|value| push_field(bytes, request, name, value));
    }
}

/// One line of a field that may be one of those.
fn push_field(bytes: &mut Vec<u8>, request: &Parts, name: &str, value: &HeaderValue) {
    match &*with_dashes(name) {
        // RFC 9112 §3.2.2: the URI counts where it has an authority. A handler that reads `Host` all the same must
        // not answer those who are sincere.
        "host" => {
            let same = |authority: &[u8]| {
                let scheme = scheme(&request.uri);
                let plain = without_default_port(scheme, authority);
                authority == value.as_bytes()
                    || plain.eq_ignore_ascii_case(without_default_port(scheme, value.as_bytes()))
            };
            if request.uri.authority().is_some_and(|authority| !same(authority.as_str().as_bytes())) {
                Partition { bytes }.add(name).add(value.as_bytes());
            }
        }
        "x-forwarded-host"
        | "x-forwarded-proto"
        | "x-forwarded-scheme"
        | "x-forwarded-port"
        | "x-forwarded-prefix"
        | "x-host"
        | "x-forwarded-server"
        | "x-forwarded-protocol"
        | "x-forwarded-ssl"
        | "x-forwarded-path"
        | "x-forwarded-uri"
        | "x-url-scheme"
        | "x-original-host"
        | "x-original-uri"
        | "x-forward-host"
        | "x-backend-host"
        | "x-http-host-override"
        | "x-http-destinationurl"
        | "front-end-https" => {
            Partition { bytes }.add(name).add(value.as_bytes());
        }
        // `for` and `by` differ with each client and name no resource.
        "forwarded" => {
            let pairs = value.as_bytes().split(|byte| matches!(byte, b';' | b','));
            for pair in pairs.map(<[u8]>::trim_ascii) {
                let named = |name: &[u8]| {
                    pair.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
                };
                if named(b"host=") || named(b"proto=") {
                    Partition { bytes }.add(name).add(pair);
                }
            }
        }
        _ => {}
    }
}

/// Hashes what has a hash already: keys, and those hashes.
#[derive(Clone, Default)]
pub(crate) struct Prehashed;

impl BuildHasher for Prehashed {
    type Hasher = KeyHash;

    fn build_hasher(&self) -> KeyHash {
        KeyHash(0)
    }
}

pub(crate) struct KeyHash(u64);

impl Hasher for KeyHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn key(uri: &str, fields: &[(&str, &str)]) -> Option<CacheKey> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        KeyRules::default().of_request(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn equal_uris_have_equal_keys() {
        let plain = key("http://example.com/a?b", &[]).unwrap();
        assert_eq!(plain.uri(), "http://example.com/a?b");
        for same in ["http://EXAMPLE.com/a?b", "http://example.com:80/a?b", "HTTP://example.com/a?b"] {
            assert_eq!(key(same, &[]).unwrap(), plain, "{same}");
        }
        assert_eq!(key("/a?b", &[("host", "Example.com")]).unwrap(), plain);
        assert_eq!(CacheKey::of_uri(&"http://example.com/a?b".parse().unwrap()).unwrap(), plain);
        for other in [
            "https://example.com/a?b",
            "http://example.com:81/a?b",
            "http://example.com/A?b",
            "http://example.com/a?B",
            "http://example.com/a",
            "http://example.com/a?",
        ] {
            assert_ne!(key(other, &[]).unwrap(), plain, "{other}");
        }
    }

    #[test]
    fn queries_without_what_means_nothing() {
        let ignored = ["utm_*", "sid"].map(Into::into).into();
        let rules = KeyRules { ignored, sorted: true, ..KeyRules::default() };
        let of = |uri: &str| rules.of_uri(&uri.parse().unwrap()).unwrap();
        for (uri, key) in [
            ("http://a.example/x", "http://a.example/x"),
            ("http://a.example/x?utm_source=1&sid=2", "http://a.example/x"),
            ("http://a.example/x?b=1&utm_x&a=2&sidx=3", "http://a.example/x?a=2&b=1&sidx=3"),
            ("http://a.example/x?a=2&a=1", "http://a.example/x?a=2&a=1"),
        ] {
            assert_eq!(of(uri).uri(), key);
        }
    }

    #[test]
    fn an_unclear_authority_has_no_key() {
        assert!(key("/a", &[("host", "a.example")]).is_some());
        for fields in
            [&[][..], &[("host", "")], &[("host", "a.example"), ("host", "b.example")], &[("host", "a/b")]]
        {
            assert_eq!(key("/a", fields), None, "{fields:?}");
        }
    }

    #[test]
    fn names_by_which_an_upstream_is_called_divide() {
        let plain = key("http://a.example/", &[]).unwrap();
        for field in
            [("x-forwarded-host", "evil"), ("x-forwarded-proto", "http"), ("forwarded", "for=1;host=evil")]
        {
            let divided = key("http://a.example/", &[field]).unwrap();
            assert_ne!(divided, plain, "{field:?}");
            assert_eq!(divided.uri_hash(), plain.uri_hash());
        }
        for field in [("host", "b.example"), ("front-end-https", "on"), ("x-original-host", "b.example")] {
            assert_ne!(key("http://a.example/", &[field]).unwrap(), plain, "{field:?}");
        }
        for host in ["a.example", "A.Example", "a.example:80"] {
            assert_eq!(key("http://a.example/", &[("host", host)]).unwrap(), plain, "{host}");
        }
        for field in [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1"), ("x-request-id", "1")]
        {
            assert_eq!(key("http://a.example/", &[field]).unwrap(), plain, "{field:?}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let with = |parts: &[&str]| {
            let mut bytes = Vec::new();
            let mut partition = Partition { bytes: &mut bytes };
            for part in parts {
                partition.add(part);
            }
            bytes
        };
        assert_ne!(with(&["ab", "c"]), with(&["a", "bc"]));
        assert_ne!(with(&["", "a"]), with(&["a", ""]));
        let mut bytes = (Vec::new(), Vec::new());
        Partition { bytes: &mut bytes.0 }.add_optional(None::<&str>);
        Partition { bytes: &mut bytes.1 }.add_optional(Some(""));
        assert_ne!(bytes.0, bytes.1);
    }
}

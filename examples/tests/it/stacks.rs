//! The layers in their documented order, on both sides of the wire: a cache inside a layer that rewrites or annotates
//! sees neither the original URI nor the `Vary` added outside, nor whose request it is. Its partition tells it, and
//! without the partition the very same checks fail.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{ServiceExt, service_fn};
use tower_auth::{AuthLayer, Verified};
use tower_breaker::{Breaker, HttpBreakerLayer};
use tower_cache::key::Partition;
use tower_cache::{Cache, CacheLayer};
use tower_correlation::CorrelationLayer;
use tower_versioning::{ApiVersion, Registry, Source, Version, VersionLayer};

use crate::tokens::{authenticator, token};

type Sent = Request<Full<Bytes>>;

const API_VERSION: HeaderName = HeaderName::from_static("api-version");

/// What a request is about, and so what its answer has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    path: &'static str,
    header: Option<&'static str>,
    user: &'static str,
    /// The version that path or header name.
    version: &'static str,
}

const fn case(
    path: &'static str,
    header: Option<&'static str>,
    user: &'static str,
    version: &'static str,
) -> Case {
    Case { path, header, user, version }
}

/// Versions by path.
const BY_PATH: [Case; 2] =
    [case("/api/v1/things", None, "ada", "1"), case("/api/v2/things", None, "ada", "2")];
/// Versions by header.
const BY_HEADER: [Case; 2] =
    [case("/api/things", Some("1"), "ada", "1"), case("/api/things", Some("2"), "ada", "2")];
/// One by path, one by header: inside, both have the same URI.
const MIXED: [Case; 2] =
    [case("/api/v1/things", None, "ada", "1"), case("/api/things", Some("2"), "ada", "2")];
/// The same request for two users.
const USERS: [Case; 2] =
    [case("/api/v2/things", None, "ada", "2"), case("/api/v2/things", None, "grace", "2")];

impl Case {
    fn request(&self, token: &str) -> Sent {
        let mut request = Request::get(format!("http://api.example{}", self.path));
        if let Some(version) = self.header {
            request = request.header(API_VERSION, version);
        }
        request.header("authorization", format!("Bearer {token}")).body(Full::default()).unwrap()
    }

    fn answer(&self) -> String {
        format!("version {} for {}", self.version, self.user)
    }
}

/// What came of the two requests of a pair, each sent twice in turn.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Whether some answer was meant for another request.
    leaked: bool,
    /// How often the innermost service was asked.
    calls: usize,
}

const SEPARATE: Outcome = Outcome { leaked: false, calls: 2 };
const SHARED: Outcome = Outcome { leaked: true, calls: 1 };

/// Sends a pair through a stack.
macro_rules! outcome {
    ($stack:expr, $calls:expr, $pair:expr) => {{
        let (stack, calls) = ($stack, $calls);
        let mut leaked = false;
        // Each caller has one token: a later one would be another.
        let pair = $pair.map(|case| (case, token(case.user, "read")));
        for (case, token) in pair.iter().chain(&pair) {
            let response = stack.clone().oneshot(case.request(token)).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            leaked |= body != case.answer();
        }
        Outcome { leaked, calls: calls.load(Ordering::SeqCst) }
    }};
}

/// A registry of versions 1 and 2.
fn versions() -> VersionLayer {
    let registry = Registry::builder().version(Version::major(1), |v| v).version(Version::major(2), |v| v);
    VersionLayer::new(registry.build().unwrap()).sources([Source::path("/api"), Source::header(API_VERSION)])
}

/// What a partition may look at.
#[derive(Debug, Clone, Copy)]
enum Apart {
    VersionAndUser,
    Version,
    User,
    Nothing,
}

/// Tells versions and users apart by what the layers outside found out.
fn by_extensions(apart: Apart) -> impl Fn(&Parts, &mut Partition<'_>) + Send + Sync + 'static {
    move |parts, key| {
        if matches!(apart, Apart::VersionAndUser | Apart::Version) {
            key.add_optional(
                parts.extensions.get::<ApiVersion>().map(|version| version.version().to_string()),
            );
        }
        if matches!(apart, Apart::VersionAndUser | Apart::User) {
            let user = parts.extensions.get::<Verified>().and_then(|user| user.subject().map(str::to_owned));
            key.add_optional(user);
        }
    }
}

/// The server's order: correlation → auth → versioning → cache → breaker → handler. The handler's answers are `public`,
/// which is what makes a shared cache keep them although the requests were authenticated (RFC 9111 §3.5).
macro_rules! server {
    ($apart:expr) => {{
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let handler = service_fn(move |request: Sent| {
            counted.fetch_add(1, Ordering::SeqCst);
            let version = request.extensions().get::<ApiVersion>().unwrap().version();
            let user = request.extensions().get::<Verified>().unwrap().subject().unwrap().to_owned();
            let response = Response::builder().header("cache-control", "public, max-age=60");
            let body = Full::<Bytes>::from(format!("version {version} for {user}"));
            async move { Ok::<_, Infallible>(response.body(body).unwrap()) }
        });
        let breaker = Breaker::builder("handler").build().unwrap();
        let cache = Cache::builder().without_original_path().partition(by_extensions($apart));
        let cache = cache.build().unwrap();
        let stack = tower::ServiceBuilder::new()
            .layer(CorrelationLayer::new())
            .layer(AuthLayer::new(authenticator()))
            .layer(versions())
            .layer(CacheLayer::new(cache))
            .layer(HttpBreakerLayer::new(breaker))
            .service(handler);
        (stack, calls)
    }};
}

macro_rules! on_server {
    ($apart:expr, $pair:expr) => {{
        let (stack, calls) = server!($apart);
        outcome!(stack, calls, $pair)
    }};
}

#[tokio::test]
async fn versions_by_path_share_no_entry() {
    assert_eq!(on_server!(Apart::VersionAndUser, BY_PATH), SEPARATE);
    assert_eq!(on_server!(Apart::User, BY_PATH), SHARED);
    assert_eq!(on_server!(Apart::Nothing, BY_PATH), SHARED);
}

#[tokio::test]
async fn versions_by_header_share_no_entry() {
    assert_eq!(on_server!(Apart::VersionAndUser, BY_HEADER), SEPARATE);
    assert_eq!(on_server!(Apart::User, BY_HEADER), SHARED);
    assert_eq!(on_server!(Apart::Nothing, BY_HEADER), SHARED);
}

#[tokio::test]
async fn versions_by_path_and_header_share_no_entry() {
    assert_eq!(on_server!(Apart::VersionAndUser, MIXED), SEPARATE);
    assert_eq!(on_server!(Apart::User, MIXED), SHARED);
}

#[tokio::test]
async fn users_share_no_entry() {
    assert_eq!(on_server!(Apart::VersionAndUser, USERS), SEPARATE);
    assert_eq!(on_server!(Apart::Version, USERS), SHARED);
    assert_eq!(on_server!(Apart::Nothing, USERS), SHARED);
}

/// The same version by path and by header is the same resource: one entry serves both.
#[tokio::test]
async fn the_same_version_by_path_and_header_is_one_entry() {
    let pair = [case("/api/v2/things", None, "ada", "2"), case("/api/things", Some("2"), "ada", "2")];
    assert_eq!(on_server!(Apart::VersionAndUser, pair), Outcome { leaked: false, calls: 1 });
}

/// The client's order: what depends on the caller is stamped outside the cache. Here the caller's token is forwarded and
/// its version asked for; behind the cache stands the server's order without a cache, as if over the wire.
macro_rules! on_client {
    ($partition:expr, $pair:expr) => {{
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let origin = service_fn(move |request: Sent| {
            counted.fetch_add(1, Ordering::SeqCst);
            let version = request.extensions().get::<ApiVersion>().unwrap().version();
            let user = request.extensions().get::<Verified>().unwrap().subject().unwrap().to_owned();
            let response = Response::builder().header("cache-control", "max-age=60");
            let body = Full::<Bytes>::from(format!("version {version} for {user}"));
            async move { Ok::<_, Infallible>(response.body(body).unwrap()) }
        });
        let origin = tower::ServiceBuilder::new()
            .layer(AuthLayer::new(authenticator()))
            .layer(versions())
            .service(origin);
        let cache = Cache::builder().private().partition($partition).build().unwrap();
        let breaker = Breaker::builder("origin").build().unwrap();
        let stack = tower::ServiceBuilder::new()
            .layer(CacheLayer::new(cache))
            .layer(HttpBreakerLayer::new(breaker))
            .service(origin);
        outcome!(stack, calls, $pair)
    }};
}

/// The token is the caller.
fn by_token(parts: &Parts, key: &mut Partition<'_>) {
    key.add_optional(parts.headers.get("authorization"));
}

#[tokio::test]
async fn forwarded_users_share_no_entry_of_a_client() {
    assert_eq!(on_client!(by_token, USERS), SEPARATE);
    // A private cache takes all its requests for those of one user.
    assert_eq!(on_client!(|_: &Parts, _: &mut Partition<'_>| {}, USERS), SHARED);
}

/// Outside of the rewriting layers the URI and `Vary` say it all, partition or not.
#[tokio::test]
async fn versions_share_no_entry_of_a_client() {
    for pair in [BY_PATH, BY_HEADER, MIXED] {
        assert_eq!(on_client!(by_token, pair), SEPARATE);
        assert_eq!(on_client!(|_: &Parts, _: &mut Partition<'_>| {}, pair), SEPARATE);
    }
}

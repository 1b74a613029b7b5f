//! Resolves the version of each request, tells the handlers, reports to the client.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use http::header::{HeaderMap, HeaderName, HeaderValue, LINK, VARY};
use http::request::Parts;
use http::{Request, Response, Uri};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::metrics::Metrics;
use crate::policy::source::{Said, Source, requested, rewrite};
use crate::policy::version::Version;
use crate::registry::{AfterSunset, Registry};
use crate::rejection::{Negotiated, RenderRejection, VersionError, VersionErrorKind};

const API_VERSION: HeaderName = HeaderName::from_static("api-version");
const SUPPORTED: HeaderName = HeaderName::from_static("api-supported-versions");
const DEPRECATED: HeaderName = HeaderName::from_static("api-deprecated-versions");
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// The version a request is served as: the one entry that the layer puts into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersion {
    version: Version,
    requested: bool,
}

impl ApiVersion {
    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the request named it; otherwise it is the default.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.requested
    }
}

type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

#[derive(Clone)]
struct Config {
    registry: Registry,
    sources: Vec<Source>,
    vary: Option<HeaderValue>,
    neutral: Option<Predicate>,
    render: Arc<dyn RenderRejection>,
    wall_clock: fn() -> SystemTime,
    metrics: Metrics,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// Resolves versions by a [`Registry`].
#[derive(Debug, Clone)]
pub struct VersionLayer {
    config: Arc<Config>,
}

impl VersionLayer {
    /// Versions in the first path segment (`/v2/…`, stripped) or in the field `api-version`.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let config = Config {
            registry,
            sources: Vec::new(),
            vary: None,
            neutral: None,
            render: Arc::new(Negotiated),
            wall_clock: SystemTime::now,
            metrics: Metrics::default(),
        };
        Self { config: Arc::new(config) }.sources([Source::path(""), Source::header(API_VERSION)])
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Where versions are looked for; several sources must agree. Default: the first path segment and `api-version`.
    #[must_use]
    pub fn sources(self, sources: impl IntoIterator<Item = Source>) -> Self {
        let sources: Vec<Source> = sources.into_iter().collect();
        let consulted: Vec<&str> = sources
            .iter()
            .filter_map(|source| match source {
                Source::Header(name) => Some(name.as_str()),
                Source::Path(_) => None,
            })
            .collect();
        let vary = HeaderValue::from_str(&consulted.join(", ")).ok().filter(|value| !value.is_empty());
        self.with(|config| {
            config.sources = sources;
            config.vary = vary;
        })
    }

    /// Requests without versions: they pass untouched, such as health checks. Default: none.
    #[must_use]
    pub fn neutral(self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|config| config.neutral = Some(Arc::new(predicate)))
    }

    /// How refusals look. Default: [`Negotiated`].
    #[must_use]
    pub fn render_with(self, render: impl RenderRejection) -> Self {
        self.with(|config| config.render = Arc::new(render))
    }

    /// Where the time comes from that sunsets are compared with. Default: [`SystemTime::now`].
    #[must_use]
    pub fn wall_clock(self, now: fn() -> SystemTime) -> Self {
        self.with(|config| config.wall_clock = now)
    }
}

impl<S> Layer<S> for VersionLayer {
    type Service = VersionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VersionService { inner, config: self.config.clone() }
    }
}

/// What [`VersionLayer`] builds.
#[derive(Debug, Clone)]
pub struct VersionService<S> {
    inner: S,
    config: Arc<Config>,
}

impl Config {
    fn resolve(&self, parts: &Parts) -> Result<ApiVersion, VersionError> {
        let url_only = self.vary.is_none();
        let refuse = |kind, version| Err(VersionError::new(kind, version, &self.registry, url_only));
        let (version, requested) = match requested(parts, &self.sources) {
            Said::Version(version) => (version, true),
            Said::Malformed => return refuse(VersionErrorKind::Malformed, None),
            Said::Ambiguous => return refuse(VersionErrorKind::Ambiguous, None),
            Said::Nothing => match self.registry.inner.default {
                Some(default) => (default, false),
                None => return refuse(VersionErrorKind::Missing, None),
            },
        };
        let Some(entry) = self.registry.find(version) else {
            return refuse(VersionErrorKind::Unsupported, Some(version));
        };
        let policy = &entry.policy;
        let over = || policy.sunset.is_some_and(|sunset| (self.wall_clock)() >= sunset);
        if policy.after_sunset == AfterSunset::Gone && over() {
            return refuse(VersionErrorKind::Gone, Some(version));
        }
        Ok(ApiVersion { version: policy.version, requested })
    }

    /// Adds to what the handler said, and overwrites none of it.
    fn report(&self, headers: &mut HeaderMap, version: Option<Version>, original: &Uri) {
        let inner = &self.registry.inner;
        if let Some(vary) = &self.vary {
            headers.append(VARY, vary.clone());
        }
        headers.entry(SUPPORTED).or_insert_with(|| inner.supported.clone());
        if let Some(deprecated) = &inner.deprecated {
            headers.entry(DEPRECATED).or_insert_with(|| deprecated.clone());
        }
        let Some(entry) = version.and_then(|version| self.registry.find(version)) else { return };
        headers.entry(API_VERSION).or_insert_with(|| entry.name.clone());
        if let Some(deprecation) = &entry.deprecation {
            headers.entry(DEPRECATION).or_insert_with(|| deprecation.clone());
        }
        if let Some(sunset) = &entry.sunset {
            headers.entry(SUNSET).or_insert_with(|| sunset.clone());
        }
        for link in &entry.links {
            headers.append(LINK, link.clone());
        }
        if let Some(link) = entry.policy.successor.and_then(|successor| self.successor(successor, original)) {
            headers.append(LINK, link);
        }
    }

    /// The same resource under the successor, where the path says the version (RFC 5829 §3.3).
    fn successor(&self, successor: Version, original: &Uri) -> Option<HeaderValue> {
        let path = original.path();
        let range = self.sources.iter().find_map(|source| source.segment(path))?;
        let target = format!(
            "<{}/v{successor}{}>; rel=\"successor-version\"",
            &path[..range.start],
            &path[range.end..]
        );
        HeaderValue::from_str(&target).ok()
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for VersionService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        if self.config.neutral.as_ref().is_some_and(|neutral| neutral(&parts)) {
            return ResponseFuture::served(self.inner.call(Request::from_parts(parts, body)), None);
        }
        let config = self.config.clone();
        match config.resolve(&parts) {
            Ok(version) => {
                config.metrics.decided(&config.registry, Some(version.version));
                let original = parts.uri.clone();
                if let Some(uri) = rewrite(&parts.uri, &config.sources) {
                    parts.uri = uri;
                }
                parts.extensions.insert(version);
                let report = Some(Report { config, version: version.version, original });
                ResponseFuture::served(self.inner.call(Request::from_parts(parts, body)), report)
            }
            Err(error) => {
                config.metrics.decided(&config.registry, None);
                let mut response = config.render.render(&error, &parts);
                config.report(response.headers_mut(), None, &parts.uri);
                response.extensions_mut().insert(error);
                ResponseFuture::refused(response)
            }
        }
    }
}

#[derive(Debug)]
struct Report {
    config: Arc<Config>,
    version: Version,
    original: Uri,
}

pin_project! {
    /// The future of [`VersionService`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<F> {
        Served { #[pin] inner: F, report: Option<Report> },
        Refused { response: Option<Response<bytes::Bytes>> },
    }
}

impl<F> ResponseFuture<F> {
    fn served(inner: F, report: Option<Report>) -> Self {
        Self { kind: Kind::Served { inner, report } }
    }

    fn refused(response: Response<bytes::Bytes>) -> Self {
        Self { kind: Kind::Refused { response: Some(response) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Served { inner, report } => {
                let mut response = ready!(inner.poll(cx))?;
                if let Some(report) = report.take() {
                    report.config.report(response.headers_mut(), Some(report.version), &report.original);
                }
                Poll::Ready(Ok(response.map(ResponseBody::inner)))
            }
            KindProj::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
                None => Poll::Pending,
            },
        }
    }
}

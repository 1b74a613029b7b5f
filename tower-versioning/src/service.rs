//! Resolves, annotates, rewrites, refuses and reports.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, Uri};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::kept::Answer;
use crate::layer::{ApiVersion, Bound, Config, OriginalUri};
use crate::metrics::{Event, Metrics};
use crate::policy::decide::{Named, Quick, Refusal, Sources};
use crate::policy::moment::Moment;
use crate::policy::path::{self, Segment};
use crate::policy::source::{Kind, SourceKind};
use crate::policy::vary::Consulted;
use crate::policy::version::Version;
use crate::registry::Registered;
use crate::rejection::VersionError;
use crate::report::{self, Reports};

/// What [`VersionLayer`](crate::VersionLayer) builds.
#[derive(Debug, Clone)]
pub struct VersionService<S> {
    pub(crate) inner: S,
    pub(crate) config: Arc<Config>,
    pub(crate) bound: Arc<Bound>,
    pub(crate) misplaced: bool,
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

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        if self.bound.generation != self.config.registry.generation() {
            self.bound = self.config.bound();
        }
        let Self { inner, config, bound, misplaced } = self;
        let Some(resolved) = config.named_quickly(&request, bound) else {
            return Self::call_slowly(inner, config, bound, *misplaced, request);
        };
        // In place: taking a request apart and putting it together is a good part of what a layer costs.
        let (successor, original_uri) = if resolved.segment.is_none() {
            (None, OriginalUri::Unchanged)
        } else {
            // They cannot be borrowed together.
            let mut extensions = std::mem::take(request.extensions_mut());
            let seen = config.rewrite_served(bound, resolved, request.uri_mut(), &mut extensions, *misplaced);
            *request.extensions_mut() = extensions;
            seen
        };
        let report = config.annotate(bound, resolved, successor, original_uri, request.extensions_mut());
        ResponseFuture { inner: Some(inner.call(request)), report, refused: None }
    }
}

impl<S> VersionService<S> {
    /// A function of its own, so that the commonest request is not moved because of the others.
    #[inline(never)]
    fn call_slowly<ReqB>(
        inner: &mut S,
        config: &Config,
        bound: &Arc<Bound>,
        misplaced: bool,
        request: Request<ReqB>,
    ) -> ResponseFuture<S::Future>
    where
        S: Service<Request<ReqB>>,
    {
        let (mut parts, body) = request.into_parts();
        match config.admit(bound, &mut parts, misplaced) {
            Ok(report) => {
                let inner = inner.call(Request::from_parts(parts, body));
                ResponseFuture { inner: Some(inner), report, refused: None }
            }
            Err(response) => ResponseFuture { inner: None, report: None, refused: Some(response) },
        }
    }
}

/// What a request that is served comes to.
#[derive(Clone, Copy)]
struct Resolved<'a> {
    entry: usize,
    /// As the request names it.
    requested: Option<&'a Version>,
    source: Option<SourceKind>,
    /// The segment of the path that carries a version, and the index of its source.
    segment: Segment,
    segment_source: usize,
    /// How many sources were asked.
    asked: usize,
    now: Moment,
}

impl Config {
    /// The commonest case, where neither time nor neutral requests matter.
    #[inline(always)]
    fn named_quickly<'a, B>(&self, request: &Request<B>, bound: &'a Bound) -> Option<Resolved<'a>> {
        if self.neutral.is_some() || !self.neutral_paths.is_empty() {
            return None;
        }
        let Quick { entry, version, segment } =
            self.sources.quick(request.uri(), request.headers(), &bound.registered.table)?;
        Some(Resolved {
            entry,
            requested: Some(version),
            source: self.sources.only_kind,
            segment,
            segment_source: 0,
            asked: 1,
            now: Moment::from_unix(0),
        })
    }

    /// Prepares the request for the inner service, with what is to be reported; or answers it.
    fn admit(
        &self,
        bound: &Arc<Bound>,
        parts: &mut Parts,
        misplaced: bool,
    ) -> Result<Option<Report>, Box<Response<Bytes>>> {
        if self.neutral.as_ref().is_some_and(|neutral| neutral(parts)) {
            return Ok(None);
        }
        let table = &bound.registered.table;
        let named = self.sources.ask(parts);
        if !self.neutral_paths.is_empty() && self.is_neutral(parts, &named) {
            if let Some(rest) = self.rest(&parts.uri, named.segment()) {
                let _ = path::replace(&mut parts.uri, rest);
            }
            return Ok(None);
        }
        let now = if table.timed { Moment::from((self.wall_clock)()) } else { Moment::from_unix(0) };
        match self.sources.decide(&named, table, now) {
            Ok(entry) => {
                let requested = Sources::requested(&named);
                let (segment, segment_source) = named.segment().unwrap_or((Segment::NONE, 0));
                let resolved = Resolved {
                    entry,
                    requested: requested.as_ref(),
                    source: self.sources.kind(&named),
                    segment,
                    segment_source,
                    asked: named.asked,
                    now,
                };
                let Parts { uri, extensions, .. } = parts;
                let (successor, original_uri) =
                    self.rewrite_served(bound, resolved, uri, extensions, misplaced);
                Ok(self.annotate(bound, resolved, successor, original_uri, extensions))
            }
            Err(kind) => {
                Metrics::count(&bound.registered, Event::Refused(kind));
                let consulted = &bound.consulted[named.asked];
                let refusal = self.sources.refuse(kind, &named, table, now);
                Err(Box::new(self.refuse(parts, consulted, &bound.registered, refusal, now)))
            }
        }
    }

    fn is_neutral(&self, parts: &Parts, named: &Named) -> bool {
        let segment = named.segment().map(|(segment, _)| segment);
        self.neutral_paths.iter().any(|prefix| path::is_below(parts.uri.path(), segment, prefix))
    }

    /// The path without the segment that carries a version, where the source takes it out.
    #[inline]
    fn rest(&self, uri: &Uri, segment: Option<(Segment, usize)>) -> Option<PathAndQuery> {
        let (segment, index) = segment?;
        let Kind::Path(source) = &self.sources.list[index].kind else { return None };
        if source.strip { path::without(uri, segment) } else { None }
    }

    /// Rewrites the target: the link to the successor, and where the target is that was sent. Nothing as large as a `Uri`
    /// is handed about: what was just written in small pieces is slow to move.
    fn rewrite_served(
        &self,
        bound: &Bound,
        Resolved { entry, segment, segment_source, .. }: Resolved<'_>,
        uri: &mut Uri,
        extensions: &mut Extensions,
        misplaced: bool,
    ) -> (Option<Box<HeaderValue>>, OriginalUri) {
        let segment = (!segment.is_none()).then_some((segment, segment_source));
        let successor = bound.registered.table.entries[entry].successor;
        let successor = successor.and_then(|successor| self.successor(uri, segment, successor));
        let Some(rest) = self.rest(uri, segment) else { return (successor, OriginalUri::Unchanged) };
        if misplaced && !self.misplaced.swap(true, Ordering::Relaxed) {
            say_misplaced();
        }
        let original = path::replace(uri, rest).map_or(OriginalUri::Unchanged, |uri| keep(extensions, uri));
        (successor, original)
    }

    /// Counts the request and tells the handler; what is to be reported.
    #[inline(always)]
    fn annotate(
        &self,
        bound: &Arc<Bound>,
        resolved: Resolved<'_>,
        successor: Option<Box<HeaderValue>>,
        original_uri: OriginalUri,
        extensions: &mut Extensions,
    ) -> Option<Report> {
        let Resolved { entry, requested, source, asked, now, .. } = resolved;
        let table = &bound.registered.table;
        let past_sunset = table.timed && table.entries[entry].is_past_sunset(now);
        Metrics::count(&bound.registered, Event::Served { entry, past_sunset });
        let (version, requested) = (table.versions.list[entry], requested.copied());
        let deprecated = table.entries[entry].deprecated.is_some();
        extensions.insert(ApiVersion { version, requested, source, deprecated, original_uri });
        if successor.is_none()
            && let Some(answer) = bound.kept(entry, asked)
        {
            return (!answer.is_empty()).then_some(Report::Kept(answer));
        }
        let says = self.reports != Reports::None || !bound.consulted[asked].is_empty();
        says.then(|| Report::Made { bound: bound.clone(), entry, asked, successor, now })
    }

    /// The same resource in the successor, where the path says the version and the successor has no place of its own
    /// (RFC 5829 §3.3).
    #[inline(never)]
    fn successor(
        &self,
        uri: &Uri,
        segment: Option<(Segment, usize)>,
        (successor, located): (Version, bool),
    ) -> Option<Box<HeaderValue>> {
        let (segment, index) = segment?;
        let Kind::Path(source) = &self.sources.list[index].kind else { return None };
        if located || self.reports == Reports::None {
            return None;
        }
        let path = uri.path();
        let (before, after) = (path.get(..segment.start)?, path.get(segment.end..)?);
        // A path may hold what a link target may not (RFC 8288 §3.1), and `//host` would be another host (RFC 3986 §4.2).
        if path.contains(['<', '>', '"']) || before.starts_with("//") {
            return None;
        }
        let name = source.write(successor);
        let link = format!("<{before}/{name}{after}>; rel=\"successor-version\"");
        HeaderValue::try_from(link).ok().map(Box::new)
    }

    #[cold]
    fn refuse(
        &self,
        parts: &Parts,
        consulted: &Consulted,
        registered: &Registered,
        refusal: Refusal,
        now: Moment,
    ) -> Response<Bytes> {
        let lists = registered.table.lists(now);
        let error = VersionError::new(refusal, lists.served.clone());
        let mut response = self.render.render(&error, parts);
        consulted.append_to(response.headers_mut());
        if self.reports == Reports::All {
            report::lists(response.headers_mut(), lists);
        }
        response.extensions_mut().insert(error);
        response
    }
}

/// Keeps the target that was rewritten.
#[inline]
fn keep(extensions: &mut Extensions, uri: Uri) -> OriginalUri {
    #[cfg(feature = "axum")]
    let Some(uri) = crate::axum::keep_original_uri(extensions, uri) else { return OriginalUri::Extension };
    let _ = extensions;
    OriginalUri::Kept(Box::new(uri))
}

/// Once per layer, because nothing else tells why everything is 404.
#[cold]
fn say_misplaced() {
    const MESSAGE: &str = "a path was rewritten after routing: put VersionLayer around the Router \
                           (`layer.layer(router)`), not into `Router::layer`";
    #[cfg(feature = "tracing")]
    tracing::error!(target: "tower_versioning", "{MESSAGE}");
    #[cfg(not(feature = "tracing"))]
    eprintln!("tower-versioning: {MESSAGE}");
}

/// What is to be said about an answer, by the registry that decided.
#[derive(Debug)]
enum Report {
    Kept(&'static Answer),
    Made { bound: Arc<Bound>, entry: usize, asked: usize, successor: Option<Box<HeaderValue>>, now: Moment },
}

impl Report {
    #[inline]
    fn write(&self, headers: &mut HeaderMap) {
        match self {
            Self::Kept(answer) => report::kept(headers, answer),
            Self::Made { bound, entry, asked, successor, now } => {
                bound.consulted[*asked].append_to(headers);
                let table = &bound.registered.table;
                report::served(headers, bound.reports, table, *entry, successor.as_deref(), *now);
            }
        }
    }
}

pin_project! {
    /// The future of [`VersionService`]: that of the inner service, or an answer of our own.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Option<F>,
        report: Option<Report>,
        // In a box, so that the future of a request that is served is no larger for it.
        refused: Option<Box<Response<Bytes>>>,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            // Polled again after its end, it waits for ever.
            let Some(response) = this.refused.take() else { return Poll::Pending };
            return Poll::Ready(Ok(response.map(ResponseBody::own)));
        };
        // Written where it stands, and moved once.
        let mut polled = inner.poll(cx);
        if let (Poll::Ready(Ok(response)), Some(report)) = (&mut polled, this.report) {
            report.write(response.headers_mut());
        }
        match polled {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response.map(ResponseBody::inner))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

//! Resolves, annotates, rewrites, refuses and reports.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, Uri};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::kept::Answer;
use crate::layer::{ApiVersion, Bound, Config};
use crate::metrics::{Event, Metrics};
use crate::policy::decide::{Named, Quick, Refusal, Sources};
use crate::policy::moment::Moment;
use crate::policy::path::{self, Segment};
use crate::policy::source::{Kind, SourceKind};
use crate::policy::table::Entry;
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
        let Self { config, bound, misplaced, .. } = self;
        let report = if let Some(resolved) = config.named_quickly(&request, bound) {
            // In place: taking a request apart and putting it together is a good part of what a layer costs.
            let seen = config.seen(bound, resolved, request.uri_mut(), *misplaced);
            config.annotate(bound, resolved, seen, request.extensions_mut())
        } else {
            let (mut parts, body) = request.into_parts();
            match config.admit(bound, &mut parts, *misplaced) {
                Ok(report) => {
                    request = Request::from_parts(parts, body);
                    report
                }
                Err(response) => return ResponseFuture::refused(*response),
            }
        };
        ResponseFuture::served(self.inner.call(request), report)
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

/// What the target of a request said.
struct Seen {
    /// The link to the successor.
    successor: Option<HeaderValue>,
    /// The target as it was, when it is another one now.
    original_uri: Option<Uri>,
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
            self.rewrite(&mut parts.uri, named.segment());
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
                let seen = self.seen(bound, resolved, &mut parts.uri, misplaced);
                Ok(self.annotate(bound, resolved, seen, &mut parts.extensions))
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

    /// Takes the segment with the version out of the path, where the source says so. Returns the target as it was.
    fn rewrite(&self, uri: &mut Uri, segment: Option<(Segment, usize)>) -> Option<Uri> {
        let (segment, index) = segment?;
        let Kind::Path(source) = &self.sources.list[index].kind else { return None };
        if !source.strip {
            return None;
        }
        let rest = path::without(uri, segment)?;
        Some(std::mem::replace(uri, rest))
    }

    /// Counts the request, and rewrites its target.
    #[inline(always)]
    fn seen(&self, bound: &Bound, resolved: Resolved<'_>, uri: &mut Uri, misplaced: bool) -> Seen {
        let Resolved { entry, segment, segment_source, now, .. } = resolved;
        let table = &bound.registered.table;
        let served = &table.entries[entry];
        let past_sunset = table.timed && served.is_past_sunset(now);
        Metrics::count(&bound.registered, Event::Served { entry, past_sunset });
        if segment.is_none() {
            return Seen { successor: None, original_uri: None };
        }
        let segment = Some((segment, segment_source));
        let successor = self.successor(uri, segment, served);
        let original_uri = self.rewrite(uri, segment);
        if original_uri.is_some() && misplaced && !self.misplaced.swap(true, Ordering::Relaxed) {
            say_misplaced();
        }
        Seen { successor, original_uri }
    }

    /// Tells the handler; what is to be reported.
    #[inline(always)]
    fn annotate(
        &self,
        bound: &Arc<Bound>,
        resolved: Resolved<'_>,
        seen: Seen,
        extensions: &mut Extensions,
    ) -> Option<Report> {
        let Resolved { entry, requested, source, asked, now, .. } = resolved;
        let Seen { successor, original_uri } = seen;
        #[cfg(feature = "axum")]
        if let Some(original_uri) = &original_uri {
            crate::axum::keep_original_uri(extensions, original_uri);
        }
        let table = &bound.registered.table;
        let (version, requested) = (table.versions.list[entry], requested.copied());
        let deprecated = table.entries[entry].deprecated.is_some();
        extensions.insert(ApiVersion { version, requested, source, deprecated, original_uri });
        if successor.is_none()
            && let Some(answer) = bound.kept(entry, asked)
        {
            return Some(Report::Kept(answer));
        }
        let says = self.reports != Reports::None || !bound.consulted[asked].is_empty();
        says.then(|| Report::Made { bound: bound.clone(), entry, asked, successor, now })
    }

    /// The same resource in the successor, where the path says the version and the successor has no place of its own
    /// (RFC 5829 §3.3).
    fn successor(&self, uri: &Uri, segment: Option<(Segment, usize)>, served: &Entry) -> Option<HeaderValue> {
        let (successor, false) = served.successor? else { return None };
        let (segment, index) = segment?;
        let Kind::Path(source) = &self.sources.list[index].kind else { return None };
        if self.reports == Reports::None {
            return None;
        }
        let path = uri.path();
        let (before, after) = (path.get(..segment.start)?, path.get(segment.end..)?);
        // A path may hold what a link target may not (RFC 8288 §3.1), and `//host` would be another host (RFC 3986 §4.2).
        if path.contains(['<', '>', '"']) || before.starts_with("//") {
            return None;
        }
        let name = source.write(successor);
        HeaderValue::from_str(&format!("<{before}/{name}{after}>; rel=\"successor-version\"")).ok()
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
    Made { bound: Arc<Bound>, entry: usize, asked: usize, successor: Option<HeaderValue>, now: Moment },
}

impl Report {
    #[inline]
    fn write(self, headers: &mut HeaderMap) {
        match self {
            Self::Kept(answer) => report::kept(headers, answer),
            Self::Made { bound, entry, asked, successor, now } => {
                bound.consulted[asked].append_to(headers);
                let table = &bound.registered.table;
                report::served(headers, bound.reports, table, entry, successor.as_ref(), now);
            }
        }
    }
}

pin_project! {
    /// The future of [`VersionService`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        kind: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Served { #[pin] inner: F, report: Option<Report> },
        Refused { response: Option<Response<Bytes>> },
    }
}

impl<F> ResponseFuture<F> {
    fn served(inner: F, report: Option<Report>) -> Self {
        Self { kind: State::Served { inner, report } }
    }

    fn refused(response: Response<Bytes>) -> Self {
        Self { kind: State::Refused { response: Some(response) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            StateProj::Served { inner, report } => {
                // Moved first and written then: what was just written in small pieces is slow to move.
                let mut response = ready!(inner.poll(cx))?.map(ResponseBody::inner);
                if let Some(report) = report.take() {
                    report.write(response.headers_mut());
                }
                Poll::Ready(Ok(response))
            }
            StateProj::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
                None => Poll::Pending,
            },
        }
    }
}

//! Resolves, annotates, rewrites, refuses and reports.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, Uri};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::kept::Answer;
use crate::layer::{Always, Bound, Config};
use crate::metrics::{Event, Metrics};
use crate::policy::decide::{Named, Quick, Sources, VersionErrorKind};
use crate::policy::moment::Moment;
use crate::policy::path::{self, Segment};
use crate::policy::source::Kind;
use crate::policy::spelled::Spelling;
use crate::policy::table::Entry;
use crate::rejection::VersionError;
use crate::report::{self, Reports};
use crate::resolved::{ApiVersion, Facts};

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
        let Some(quick) = config.named_quickly(&request, bound) else {
            return Self::call_slowly(inner, config, bound, *misplaced, request);
        };
        let Quick { spelling, segment } = quick;
        // Before anything is written: an atomic addition waits for all that was.
        Metrics::count(&bound.registered, Event::Served { entry: spelling.entry, past_sunset: false });
        // In place: taking a request apart and putting it together is a good part of what a layer costs.
        let (successor, version) = if segment.is_none() {
            (None, config.told(bound, 0, spelling, Original::Unchanged))
        } else {
            // They cannot be borrowed together.
            let mut extensions = std::mem::take(request.extensions_mut());
            let seen = config.rewrite_quickly(bound, quick, request.uri_mut(), &mut extensions, *misplaced);
            *request.extensions_mut() = extensions;
            seen
        };
        request.extensions_mut().insert(version);
        let says = Says::of(bound, spelling.entry, 1, successor, Moment::from_unix(0));
        // While there is something to drop if the call panics, its future is made elsewhere and moved here. What is not
        // dropped then is leaked.
        let says = ManuallyDrop::new(says);
        ResponseFuture { inner: Some(inner.call(request)), says: ManuallyDrop::into_inner(says) }
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
            Ok(says) => ResponseFuture { inner: Some(inner.call(Request::from_parts(parts, body))), says },
            Err(response) => ResponseFuture { inner: None, says: Says::Refused(response) },
        }
    }
}

/// Where the target is that the client sent.
enum Original {
    /// In the request: nothing was taken out of it.
    Unchanged,
    /// In the extensions, where axum looks for it.
    #[cfg(feature = "axum")]
    Moved,
    /// Nowhere else.
    Kept(Uri),
}

impl Original {
    /// Whether it is in the extensions; and itself, where it is nowhere else.
    #[inline(always)]
    fn split(self) -> (bool, Option<Uri>) {
        match self {
            Self::Unchanged => (false, None),
            #[cfg(feature = "axum")]
            Self::Moved => (true, None),
            Self::Kept(uri) => (false, Some(uri)),
        }
    }
}

impl Config {
    /// The commonest case, where neither time nor neutral requests matter.
    #[inline(always)]
    fn named_quickly<'a, B>(&self, request: &Request<B>, bound: &'a Bound) -> Option<Quick<'a>> {
        if self.neutral.is_some() || !self.neutral_paths.is_empty() {
            return None;
        }
        self.sources.quick(request.uri(), request.headers(), &bound.registered.table)
    }

    /// Prepares the request for the inner service, with what is to be reported; or answers it.
    fn admit(
        &self,
        bound: &Arc<Bound>,
        parts: &mut Parts,
        misplaced: bool,
    ) -> Result<Says, Box<Response<Bytes>>> {
        if self.neutral.as_ref().is_some_and(|neutral| neutral(parts)) {
            return Ok(self.pass(parts, None));
        }
        let table = &bound.registered.table;
        let named = self.sources.ask(parts);
        if !self.neutral_paths.is_empty() && self.is_neutral(parts, &named) {
            return Ok(self.pass(parts, named.segment()));
        }
        let now = if table.timed { Moment::from((self.wall_clock)()) } else { Moment::from_unix(0) };
        match self.sources.decide(&named, table, now) {
            Ok(entry) => {
                let past_sunset = table.timed && table.entries[entry].is_past_sunset(now);
                let Parts { uri, extensions, .. } = parts;
                let asked = (entry, named.asked);
                let (successor, original) =
                    self.rewrite_served(bound, asked, named.segment(), uri, extensions, misplaced);
                Metrics::count(&bound.registered, Event::Served { entry, past_sunset });
                extensions.insert(self.told_slowly(bound, entry, &named, original));
                Ok(Says::of(bound, entry, named.asked, successor, now))
            }
            Err(kind) => {
                Metrics::count(&bound.registered, Event::Refused(kind));
                Err(Box::new(self.refuse(bound, parts, &named, kind, now)))
            }
        }
    }

    /// Lets a request through that has no version, without the segment of one.
    fn pass(&self, parts: &mut Parts, segment: Option<(Segment, usize)>) -> Says {
        if let Some(rest) = self.rest(&parts.uri, segment)
            && let Some(original) = path::replace(&mut parts.uri, rest)
        {
            // Nobody is told about a version, but axum's handlers look for the target.
            let _ = keep(&mut parts.extensions, original);
        }
        #[cfg(feature = "migrate")]
        parts.extensions.insert(crate::resolved::Neutral);
        Says::Nothing
    }

    fn is_neutral(&self, parts: &Parts, named: &Named) -> bool {
        let segment = named.segment().map(|(segment, _)| segment);
        self.neutral_paths.iter().any(|prefix| path::is_below(parts.uri.path(), segment, prefix))
    }

    /// The path without the segment that carries a version, where the source takes it out.
    #[inline(always)]
    fn rest(&self, uri: &Uri, segment: Option<(Segment, usize)>) -> Option<PathAndQuery> {
        let (segment, index) = segment?;
        let Kind::Path(source) = &self.sources.list[index].kind else { return None };
        if source.strip { path::without(uri, segment) } else { None }
    }

    /// Rewrites the target: the link to the successor, and where the target is that was sent. Nothing as large as a `Uri`
    /// is handed about: what was just written in small pieces is slow to move.
    #[inline(always)]
    fn rewrite_served(
        &self,
        bound: &Bound,
        (entry, asked): (usize, usize),
        segment: Option<(Segment, usize)>,
        uri: &mut Uri,
        extensions: &mut Extensions,
        misplaced: bool,
    ) -> (Option<Box<HeaderValue>>, Original) {
        let successor = match bound.always(entry, asked) {
            Always::No => self.successor(uri, segment, &bound.registered.table.entries[entry]),
            Always::Nothing | Always::This(_) => None,
        };
        let Some(rest) = self.rest(uri, segment) else { return (successor, Original::Unchanged) };
        if misplaced {
            self.misplaced.notice(MISPLACED);
        }
        let original = path::replace(uri, rest).map_or(Original::Unchanged, |uri| keep(extensions, uri));
        (successor, original)
    }

    /// The same for the commonest case, with what the handler is told.
    #[inline(never)]
    fn rewrite_quickly(
        &self,
        bound: &Bound,
        Quick { spelling, segment }: Quick<'_>,
        uri: &mut Uri,
        extensions: &mut Extensions,
        misplaced: bool,
    ) -> (Option<Box<HeaderValue>>, ApiVersion) {
        let segment = Some((segment, 0));
        let (successor, original) =
            self.rewrite_served(bound, (spelling.entry, 1), segment, uri, extensions, misplaced);
        (successor, self.told(bound, 0, spelling, original))
    }

    /// What the handler is told about a version that a source named by that spelling.
    #[inline(always)]
    fn told(&self, bound: &Bound, source: usize, spelling: &Spelling, original: Original) -> ApiVersion {
        let (moved, kept) = original.split();
        match bound.told(source, spelling.place, moved) {
            Some(facts) if kept.is_none() => ApiVersion::kept(facts),
            _ => self.told_own(bound, source, spelling, moved, kept),
        }
    }

    #[cold]
    fn told_own(
        &self,
        bound: &Bound,
        source: usize,
        spelling: &Spelling,
        moved: bool,
        original: Option<Uri>,
    ) -> ApiVersion {
        ApiVersion::own(self.facts(&bound.registered.table, source, spelling, moved), original)
    }

    /// The same for all other requests.
    fn told_slowly(&self, bound: &Bound, entry: usize, named: &Named, original: Original) -> ApiVersion {
        let table = &bound.registered.table;
        let requested = Sources::requested(named);
        let spelling = requested.and_then(|read| table.versions.spelled.of(entry, &read));
        if let Some(spelling) = spelling {
            return self.told(bound, named.source, spelling, original);
        }
        let (moved, kept) = original.split();
        let facts = Facts {
            version: table.versions.list[entry],
            requested,
            source: self.sources.kind(named),
            deprecated: table.entries[entry].deprecated.is_some(),
            moved,
        };
        ApiVersion::own(facts, kept)
    }

    /// The same resource in the successor, where the path says the version and the successor has no place of its own
    /// (RFC 5829 §3.3).
    #[inline(never)]
    fn successor(
        &self,
        uri: &Uri,
        segment: Option<(Segment, usize)>,
        entry: &Entry,
    ) -> Option<Box<HeaderValue>> {
        let (successor, located) = entry.successor?;
        let (segment, index) = segment?;
        let Kind::Path(source) = &self.sources.list[index].kind else { return None };
        if located || self.reports == Reports::None {
            return None;
        }
        let target = path::sibling(uri.path(), segment, &source.write(successor))?;
        HeaderValue::try_from(format!("<{target}>; rel=\"successor-version\"")).ok().map(Box::new)
    }

    #[cold]
    fn refuse(
        &self,
        bound: &Bound,
        parts: &Parts,
        named: &Named,
        kind: VersionErrorKind,
        now: Moment,
    ) -> Response<Bytes> {
        let table = &bound.registered.table;
        let lists = table.lists(now);
        let refusal = self.sources.refuse(kind, named, table, now);
        let gone = refusal.gone;
        let error = VersionError::new(refusal, lists.served.clone());
        let mut response = self.render.render(&error, parts);
        let headers = response.headers_mut();
        bound.consulted[named.asked].append_to(headers);
        if self.reports == Reports::All {
            report::lists(headers, lists);
        }
        if let Some(entry) = gone {
            let successor = self.successor(&parts.uri, named.segment(), &table.entries[entry]);
            report::life(headers, self.reports, table, entry, successor.as_deref(), now);
        }
        response.extensions_mut().insert(error);
        response
    }
}

/// Keeps the target that was rewritten.
#[inline]
fn keep(extensions: &mut Extensions, uri: Uri) -> Original {
    #[cfg(feature = "axum")]
    let Some(uri) = crate::axum::keep_original_uri(extensions, uri) else { return Original::Moved };
    let _ = extensions;
    Original::Kept(uri)
}

const MISPLACED: &str = "a path was rewritten after routing, so that everything is 404: put VersionLayer around the Router \
                         (`layer.layer(router)`), not into `Router::layer`";

/// What is to be said about an answer, by the registry that decided; or instead of one. As large as two pointers.
#[derive(Debug)]
enum Says {
    Nothing,
    Kept(&'static Answer),
    Made(Box<Made>),
    Refused(Box<Response<Bytes>>),
}

#[derive(Debug)]
struct Made {
    bound: Arc<Bound>,
    entry: usize,
    asked: usize,
    successor: Option<Box<HeaderValue>>,
    now: Moment,
}

impl Says {
    #[inline(always)]
    fn of(
        bound: &Arc<Bound>,
        entry: usize,
        asked: usize,
        successor: Option<Box<HeaderValue>>,
        now: Moment,
    ) -> Self {
        match bound.always(entry, asked) {
            Always::Nothing => Self::Nothing,
            Always::This(answer) => Self::Kept(answer),
            Always::No => Self::made(bound, entry, asked, successor, now),
        }
    }

    #[cold]
    fn made(
        bound: &Arc<Bound>,
        entry: usize,
        asked: usize,
        successor: Option<Box<HeaderValue>>,
        now: Moment,
    ) -> Self {
        if bound.reports == Reports::None && bound.consulted[asked].is_empty() {
            return Self::Nothing;
        }
        Self::Made(Box::new(Made { bound: bound.clone(), entry, asked, successor, now }))
    }

    #[inline]
    fn write(&self, headers: &mut HeaderMap) {
        match self {
            Self::Kept(answer) => report::kept(headers, answer),
            Self::Made(made) => {
                let Made { bound, entry, asked, successor, now } = &**made;
                bound.consulted[*asked].append_to(headers);
                let table = &bound.registered.table;
                report::served(headers, bound.reports, table, *entry, successor.as_deref(), *now);
            }
            Self::Nothing | Self::Refused(_) => {}
        }
    }
}

pin_project! {
    /// The future of [`VersionService`]: that of the inner service, or an answer of our own.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Option<F>,
        says: Says,
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
            return match std::mem::replace(this.says, Says::Nothing) {
                Says::Refused(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
                // Polled again after its end, it waits for ever.
                _ => Poll::Pending,
            };
        };
        match inner.poll(cx) {
            // A branch of its own: an answer that nothing is written into is moved once.
            Poll::Ready(Ok(response)) if matches!(this.says, Says::Nothing) => {
                Poll::Ready(Ok(response.map(ResponseBody::inner)))
            }
            Poll::Ready(Ok(response)) => {
                // In parts, which are moved once before and once after; a whole response is moved once more.
                let (mut parts, body) = response.into_parts();
                this.says.write(&mut parts.headers);
                Poll::Ready(Ok(Response::from_parts(parts, ResponseBody::inner(body))))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

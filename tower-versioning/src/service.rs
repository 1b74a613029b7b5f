//! Resolves, annotates, rewrites, refuses and reports.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::layer::{ApiVersion, Bound, Config};
use crate::metrics::{Event, Metrics};
use crate::policy::decide::{Named, Refusal, Sources};
use crate::policy::moment::Moment;
use crate::policy::path;
use crate::policy::source::Kind;
use crate::policy::vary::Consulted;
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

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        if self.bound.generation != self.config.registry.generation() {
            self.bound = self.config.bound();
        }
        let (mut parts, body) = request.into_parts();
        match self.config.admit(&self.bound, &mut parts, self.misplaced) {
            Ok(report) => ResponseFuture::served(self.inner.call(Request::from_parts(parts, body)), report),
            Err(response) => ResponseFuture::refused(*response),
        }
    }
}

impl Config {
    /// Prepares the request for the inner service, with what is to be reported; or answers it.
    #[inline]
    fn admit(
        &self,
        bound: &Arc<Bound>,
        parts: &mut Parts,
        misplaced: bool,
    ) -> Result<Option<Report>, Box<Response<Bytes>>> {
        if self.neutral.as_ref().is_some_and(|neutral| neutral(parts)) {
            return Ok(None);
        }
        let registered = &bound.registered;
        let table = &registered.table;
        let quick = self.sources.quick(&parts.uri, &parts.headers, table);
        let named = match quick {
            Some((_, version, segment)) => Named::quick(version, segment),
            None => self.sources.ask(parts),
        };
        if !self.neutral_paths.is_empty() && self.is_neutral(parts, &named) {
            self.rewrite(parts, &named);
            return Ok(None);
        }
        let now = if table.timed { Moment::from((self.wall_clock)()) } else { Moment::from_unix(0) };
        let decided = match quick {
            Some((entry, ..)) => Ok(entry),
            None => self.sources.decide(&named, table, now),
        };
        match decided {
            Ok(entry) => {
                let past_sunset = table.timed && table.entries[entry].is_past_sunset(now);
                Metrics::count(registered, Event::Served { entry, past_sunset });
                let successor = self.successor(parts, &named, registered, entry);
                self.annotate(parts, &named, registered, entry, misplaced);
                let says = self.reports != Reports::None || !bound.consulted[named.asked].is_empty();
                Ok(says.then(|| Report { bound: bound.clone(), entry, asked: named.asked, successor, now }))
            }
            Err(kind) => {
                Metrics::count(registered, Event::Refused(kind));
                let consulted = &bound.consulted[named.asked];
                let refusal = self.sources.refuse(kind, &named, table);
                Err(Box::new(self.refuse(parts, consulted, registered, refusal, now)))
            }
        }
    }

    fn is_neutral(&self, parts: &Parts, named: &Named) -> bool {
        let segment = named.segment().map(|(segment, _)| segment);
        self.neutral_paths.iter().any(|prefix| path::is_below(parts.uri.path(), segment, prefix))
    }

    /// Takes the segment with the version out of the path, where the source says so. Returns the target as it was.
    fn rewrite(&self, parts: &mut Parts, named: &Named) -> Option<http::Uri> {
        let (segment, index) = named.segment()?;
        let Kind::Path(source) = &self.sources.list[index].kind else { return None };
        if !source.strip {
            return None;
        }
        let uri = path::without(&parts.uri, segment)?;
        Some(std::mem::replace(&mut parts.uri, uri))
    }

    fn annotate(
        &self,
        parts: &mut Parts,
        named: &Named,
        registered: &Registered,
        entry: usize,
        misplaced: bool,
    ) {
        let original_uri = self.rewrite(parts, named);
        if let Some(original_uri) = &original_uri {
            if misplaced && !self.misplaced.swap(true, Ordering::Relaxed) {
                say_misplaced();
            }
            #[cfg(feature = "axum")]
            crate::axum::keep_original_uri(&mut parts.extensions, original_uri);
            #[cfg(not(feature = "axum"))]
            let _ = original_uri;
        }
        let table = &registered.table;
        parts.extensions.insert(ApiVersion {
            version: table.versions.list[entry],
            requested: Sources::requested(named),
            source: self.sources.kind(named),
            deprecated: table.entries[entry].deprecated.is_some(),
            original_uri,
        });
    }

    /// The same resource in the successor, where the path says the version and the successor has no place of its own
    /// (RFC 5829 §3.3).
    fn successor(
        &self,
        parts: &Parts,
        named: &Named,
        registered: &Registered,
        entry: usize,
    ) -> Option<HeaderValue> {
        let (successor, false) = registered.table.entries[entry].successor? else { return None };
        let (segment, index) = named.segment()?;
        let Kind::Path(source) = &self.sources.list[index].kind else { return None };
        if self.reports == Reports::None {
            return None;
        }
        let path = parts.uri.path();
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
struct Report {
    bound: Arc<Bound>,
    entry: usize,
    asked: usize,
    successor: Option<HeaderValue>,
    now: Moment,
}

impl Report {
    #[inline]
    fn write(&self, headers: &mut http::HeaderMap) {
        let Self { bound, entry, asked, successor, now } = self;
        bound.consulted[*asked].append_to(headers);
        report::served(headers, bound.reports, &bound.registered.table, *entry, successor.as_ref(), *now);
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
                let mut response = ready!(inner.poll(cx))?;
                if let Some(report) = report.take() {
                    report.write(response.headers_mut());
                }
                Poll::Ready(Ok(response.map(ResponseBody::inner)))
            }
            StateProj::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
                None => Poll::Pending,
            },
        }
    }
}

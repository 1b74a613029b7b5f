//! The layer and its settings.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use http::request::Parts;
use http::{Extensions, Uri};
use tower_layer::Layer;

use crate::kept::{self, Answer};
use crate::policy::decide::Sources;
use crate::policy::path;
use crate::policy::source::{Conflict, Source, SourceKind};
use crate::policy::vary::Consulted;
use crate::policy::version::Version;
use crate::registry::{Registered, Registry};
use crate::rejection::{Negotiated, RenderRejection};
use crate::report::{self, API_VERSION, Reports};
use crate::service::VersionService;

/// The version a request is served as: the one entry that the layer puts into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiVersion {
    pub(crate) version: Version,
    pub(crate) requested: Option<Version>,
    pub(crate) source: Option<SourceKind>,
    pub(crate) deprecated: bool,
    pub(crate) original_uri: OriginalUri,
}

/// Where the target is that the client sent. No `Uri` in place, which is three times as large as all the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OriginalUri {
    /// In the request: nothing was taken out of it.
    Unchanged,
    /// In the extensions, where axum looks for it.
    #[cfg(feature = "axum")]
    Extension,
    Kept(Box<Uri>),
}

impl ApiVersion {
    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the request named a version; otherwise it is the default.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.requested.is_some()
    }

    /// The version as the request named it, which selection may have replaced.
    #[must_use]
    pub fn requested_version(&self) -> Option<Version> {
        self.requested
    }

    /// Which source named it.
    #[must_use]
    pub fn source(&self) -> Option<SourceKind> {
        self.source
    }

    /// Whether the version is deprecated, now or from a moment to come.
    #[must_use]
    pub fn is_deprecated(&self) -> bool {
        self.deprecated
    }

    /// The target as it was, when a segment with the version was taken out of it. `extensions` are those of the request,
    /// because with the feature `axum` the target is left to axum's own extension, where handlers look for it.
    #[must_use]
    pub fn original_uri<'a>(&'a self, extensions: &'a Extensions) -> Option<&'a Uri> {
        match &self.original_uri {
            OriginalUri::Unchanged => None,
            #[cfg(feature = "axum")]
            OriginalUri::Extension => crate::axum::original_uri(extensions),
            OriginalUri::Kept(uri) => {
                let _ = extensions;
                Some(uri)
            }
        }
    }
}

type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

pub(crate) struct Config {
    pub(crate) registry: Registry,
    pub(crate) sources: Sources,
    pub(crate) neutral: Option<Predicate>,
    pub(crate) neutral_paths: Vec<Box<str>>,
    pub(crate) render: Arc<dyn RenderRejection>,
    pub(crate) wall_clock: fn() -> SystemTime,
    pub(crate) reports: Reports,
    pub(crate) misplaced: Arc<AtomicBool>,
    bound: ArcSwapOption<Bound>,
}

/// What an answer is decided and reported by: the registry at one moment, and the settings that answers need. One
/// reference to it per request instead of several.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) registered: Arc<Registered>,
    pub(crate) generation: u64,
    /// The request fields consulted, by how many sources were asked.
    pub(crate) consulted: Vec<Consulted>,
    pub(crate) reports: Reports,
    /// What answers say of which nothing depends on the request or on time: as many rows as `consulted`, with as many
    /// columns as there are versions.
    kept: Vec<Option<&'static Answer>>,
}

impl Bound {
    /// What is said about an answer of that version, if that is always the same.
    #[inline]
    pub(crate) fn kept(&self, entry: usize, asked: usize) -> Option<&'static Answer> {
        *self.kept.get(asked * self.registered.table.entries.len() + entry)?
    }
}

impl Config {
    fn bind(&self) -> Bound {
        let generation = self.registry.generation();
        let consulted = self.sources.consulted().to_vec();
        let (registered, reports) = (self.registry.load(), self.reports);
        let mut kept = Vec::new();
        for consulted in &consulted {
            for entry in &registered.table.entries {
                let values = registered
                    .table
                    .always(entry)
                    .map(|lists| report::values(consulted.value.as_ref(), reports, entry, lists));
                kept.push(values.and_then(kept::answer));
            }
        }
        Bound { registered, generation, consulted, reports, kept }
    }

    /// What is bound now; made anew by the first to ask after the registry was replaced.
    pub(crate) fn bound(&self) -> Arc<Bound> {
        let bound = self.bound.load();
        if let Some(bound) = &*bound
            && bound.generation == self.registry.generation()
        {
            return bound.clone();
        }
        let fresh = Arc::new(self.bind());
        self.bound.store(Some(fresh.clone()));
        fresh
    }
}

impl Clone for Config {
    /// A copy is about to be changed, so it has nothing bound yet.
    fn clone(&self) -> Self {
        Self {
            registry: self.registry.clone(),
            sources: self.sources.clone(),
            neutral: self.neutral.clone(),
            neutral_paths: self.neutral_paths.clone(),
            render: self.render.clone(),
            wall_clock: self.wall_clock,
            reports: self.reports,
            misplaced: self.misplaced.clone(),
            bound: ArcSwapOption::empty(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("registry", &self.registry)
            .field("sources", &self.sources)
            .field("reports", &self.reports)
            .finish_non_exhaustive()
    }
}

/// Resolves the version of each request by a [`Registry`], tells the handlers ([`ApiVersion`]), refuses what cannot be
/// served, and reports to the client.
///
/// Where a path source takes its segment out of the path, the layer has to stand around the router:
/// `layer.layer(router)`. Inside of `Router::layer` routing has happened already, and every versioned path is answered
/// with 404; the layer notices that and says so once.
#[derive(Debug, Clone)]
pub struct VersionLayer {
    config: Arc<Config>,
}

impl VersionLayer {
    /// Versions in the first path segment (`/v2/…`, taken out) or in the field `api-version`.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let config = Config {
            registry,
            sources: Sources::new(vec![Source::path(""), Source::header(API_VERSION)], Conflict::Reject),
            neutral: None,
            neutral_paths: Vec::new(),
            render: Arc::new(Negotiated),
            wall_clock: SystemTime::now,
            reports: Reports::All,
            misplaced: Arc::default(),
            bound: ArcSwapOption::empty(),
        };
        Self { config: Arc::new(config) }
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        let config = Arc::make_mut(&mut self.config);
        change(config);
        config.bound = ArcSwapOption::empty();
        self
    }

    /// Where versions are looked for, in this order. Default: the first path segment and the field `api-version`.
    #[must_use]
    pub fn sources(self, sources: impl IntoIterator<Item = Source>) -> Self {
        let sources = sources.into_iter().collect();
        self.with(|config| config.sources = Sources::new(sources, config.sources.conflict))
    }

    /// What it means when sources name different versions. Default: [`Conflict::Reject`].
    #[must_use]
    pub fn conflict(self, conflict: Conflict) -> Self {
        self.with(|config| config.sources = Sources::new(config.sources.list.clone(), conflict))
    }

    /// Requests without versions: they pass untouched, such as health checks. Default: none.
    #[must_use]
    pub fn neutral(self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|config| config.neutral = Some(Arc::new(predicate)))
    }

    /// A path that needs no version, and what is below it: with any version or none it passes, without a version segment
    /// and without [`ApiVersion`]. May be called several times. Default: none.
    #[must_use]
    pub fn neutral_path(self, path: &str) -> Self {
        self.with(|config| config.neutral_paths.push(path::prefix(path)))
    }

    /// How much answers say about versions. Default: [`Reports::All`].
    #[must_use]
    pub fn reports(self, reports: Reports) -> Self {
        self.with(|config| config.reports = reports)
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

    /// Whether a path was rewritten inside of axum's `Router::layer`, where that comes too late.
    #[must_use]
    pub fn is_misplaced(&self) -> bool {
        self.config.misplaced.load(Ordering::Relaxed)
    }
}

impl<S> Layer<S> for VersionLayer {
    type Service = VersionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        // axum hands its layers a `Route`; whoever wraps a router hands over a `Router`.
        let below_routing = std::any::type_name::<S>().contains("axum::routing::route::Route");
        let misplaced = below_routing && self.config.sources.strips();
        VersionService { inner, config: self.config.clone(), bound: self.config.bound(), misplaced }
    }
}

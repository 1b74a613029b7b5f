//! The layer and its settings.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use http::request::Parts;
use tower_layer::Layer;

use crate::kept::{self, Answer};
use crate::misplaced::Misplaced;
use crate::policy::decide::Sources;
use crate::policy::path;
use crate::policy::source::{Conflict, Source};
use crate::policy::spelled::Spelling;
use crate::policy::table::Table;
use crate::policy::vary::Consulted;
use crate::registry::{Registered, Registry};
use crate::rejection::{Negotiated, RenderRejection};
use crate::report::{self, API_VERSION, Reports};
use crate::resolved::Facts;
use crate::service::VersionService;

type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

pub(crate) struct Config {
    pub(crate) registry: Registry,
    pub(crate) sources: Sources,
    pub(crate) neutral: Option<Predicate>,
    pub(crate) neutral_paths: Vec<Box<str>>,
    pub(crate) render: Arc<dyn RenderRejection>,
    pub(crate) wall_clock: fn() -> SystemTime,
    pub(crate) reports: Reports,
    pub(crate) misplaced: Misplaced,
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
    /// What is said about answers: as many rows as `consulted`, with as many columns as there are versions.
    always: Vec<Always>,
    /// What handlers are told about versions that are named as they are spelled: as many rows as there are sources, with as
    /// many columns as spellings, each as the request came and with its target moved.
    told: Vec<[Option<&'static Facts>; 2]>,
}

/// What is said about an answer, where that depends neither on the request nor on time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Always {
    /// It does, or there is no room to keep it.
    No,
    Nothing,
    This(&'static Answer),
}

impl Bound {
    /// What is said about an answer of that version when so many sources were asked.
    #[inline]
    pub(crate) fn always(&self, entry: usize, asked: usize) -> Always {
        let at = asked * self.registered.table.entries.len() + entry;
        self.always.get(at).copied().unwrap_or(Always::No)
    }

    /// What a handler is told about a version that a source named by that spelling.
    #[inline]
    pub(crate) fn told(&self, source: usize, place: usize, moved: bool) -> Option<&'static Facts> {
        let spellings = self.registered.table.versions.spelled.list.len();
        self.told.get(source * spellings + place)?[usize::from(moved)]
    }
}

impl Config {
    fn bind(&self) -> Bound {
        let generation = self.registry.generation();
        let consulted = self.sources.consulted().to_vec();
        let (registered, reports) = (self.registry.load(), self.reports);
        let mut always = Vec::new();
        for consulted in &consulted {
            for entry in &registered.table.entries {
                let values = registered
                    .table
                    .always(entry)
                    .filter(|_| reports == Reports::None || !entry.links_by_path())
                    .map(|lists| report::values(consulted.value.as_ref(), reports, entry, lists));
                always.push(match values {
                    Some([None, None, None, None]) => Always::Nothing,
                    Some(values) => kept::answer(values).map_or(Always::No, Always::This),
                    None => Always::No,
                });
            }
        }
        let told = self.all_told(&registered.table);
        Bound { registered, generation, consulted, reports, always, told }
    }

    fn all_told(&self, table: &Table) -> Vec<[Option<&'static Facts>; 2]> {
        let mut told = Vec::new();
        for (index, source) in self.sources.list.iter().enumerate() {
            for spelling in &table.versions.spelled.list {
                let facts = |moved| kept::facts(&self.facts(table, index, spelling, moved));
                // Only what can come.
                told.push([
                    facts(false),
                    if source.strips() && cfg!(feature = "axum") { facts(true) } else { None },
                ]);
            }
        }
        told
    }

    /// What is known about a version that a source named by that spelling.
    pub(crate) fn facts(&self, table: &Table, source: usize, spelling: &Spelling, moved: bool) -> Facts {
        Facts {
            version: table.versions.list[spelling.entry],
            requested: Some(spelling.version),
            source: Some(self.sources.list[source].kind()),
            deprecated: table.entries[spelling.entry].deprecated.is_some(),
            moved,
        }
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

/// Resolves the version of each request by a [`Registry`], tells the handlers ([`ApiVersion`](crate::ApiVersion)), refuses what cannot be
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
            misplaced: Misplaced::default(),
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
    /// and without [`ApiVersion`](crate::ApiVersion). May be called several times. Default: none.
    #[must_use]
    pub fn neutral_path(self, path: &str) -> Self {
        self.with(|config| config.neutral_paths.push(path::prefix(path)))
    }

    /// How much answers say about versions. Default: [`Reports::All`]. `Vary` stays in any case, unless a source leaves it out
    /// ([`Source::varies_on`]).
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
        self.config.misplaced.was_noticed()
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

//! The versions of an API: built once, shared by every layer, replaced while requests run.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::error::ConfigError;
use crate::metrics::Metrics;
use crate::policy::lifecycle::VersionPolicy;
use crate::policy::select::Select;
use crate::policy::table::{DefaultVersion, Table};
use crate::policy::version::Version;

/// The versions of an API and what is said about each; a cheap handle, shared by its clones.
///
/// ```
/// use tower_versioning::{Moment, Registry, Version};
/// # fn main() -> Result<(), tower_versioning::ConfigError> {
/// let registry = Registry::builder()
///     .version(Version::major(1), |v| {
///         v.deprecated(Moment::utc(2026, 1, 1)).sunset(Moment::utc(2027, 1, 1)).successor(Version::major(2))
///     })
///     .version(Version::major(2), |v| v)
///     .build()?;
/// # let _ = registry;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Registered>,
    /// Counts replacements, so that who holds `current` learns cheaply that it is no more. Written after it.
    generation: AtomicU64,
}

/// What a request is decided by, from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) table: Table,
    pub(crate) metrics: Metrics,
    pub(crate) name: Option<Cow<'static, str>>,
}

impl Registry {
    /// A registry without versions.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// Takes over what another registry holds now. Requests that are under way end by what they began with; no request
    /// sees parts of both.
    pub fn replace(&self, other: &Self) {
        self.shared.current.store(other.load());
        self.shared.generation.fetch_add(1, Ordering::Release);
    }

    /// The registered versions, in ascending order.
    pub fn versions(&self) -> impl Iterator<Item = Version> + use<> {
        self.shared.current.load().table.versions.list.clone().into_iter()
    }

    pub(crate) fn load(&self) -> Arc<Registered> {
        self.shared.current.load_full()
    }

    /// How often it was replaced. What is loaded after this is at least as new.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }
}

/// Builds a [`Registry`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RegistryBuilder {
    versions: Vec<(Version, VersionPolicy)>,
    default: DefaultVersion,
    select: Select,
    name: Option<Cow<'static, str>>,
}

impl RegistryBuilder {
    /// Registers a version; the closure says what is to be said about it.
    pub fn version(mut self, version: Version, policy: impl FnOnce(VersionPolicy) -> VersionPolicy) -> Self {
        self.versions.push((version, policy(VersionPolicy::default())));
        self
    }

    /// The version of requests that name none. Default: none, such requests are refused, so that no client depends on a
    /// version it never chose. Once that version is gone, they get 410 and are not moved to another one silently.
    pub fn default_version(self, version: Version) -> Self {
        Self { default: DefaultVersion::Constant(version), ..self }
    }

    /// Requests that name no version get the newest release; every release then moves them. Versions that are gone are
    /// passed over as long as there is another.
    pub fn default_latest(self) -> Self {
        Self { default: DefaultVersion::Latest, ..self }
    }

    /// Requests that name no version get the oldest version that is not gone; one with a status (`1-beta`) only where none
    /// is released.
    pub fn default_lowest(self) -> Self {
        Self { default: DefaultVersion::Lowest, ..self }
    }

    /// How the version a request names selects a registered one. Default: [`Select::Exact`].
    pub fn select(self, select: Select) -> Self {
        Self { select, ..self }
    }

    /// The label `api` of this registry's metrics, for programs that serve several. Default: no such label.
    pub fn name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Validates, and writes every header field out.
    ///
    /// # Errors
    /// No version, or a version twice; a default or successor that is not registered, or a successor that is not newer; a sunset before its deprecation or
    /// outside of the years 1970 to 9999; `gone_after_sunset` without a sunset; a link that is no URI reference.
    pub fn build(self) -> Result<Registry, ConfigError> {
        let table = Table::new(self.versions, self.default, self.select)?;
        let registered = Registered { table, metrics: Metrics::default(), name: self.name };
        let current = ArcSwap::from_pointee(registered);
        Ok(Registry { shared: Arc::new(Shared { current, generation: AtomicU64::new(0) }) })
    }
}

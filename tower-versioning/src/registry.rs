//! The versions of an API, and what is said about each.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use crate::error::ConfigError;
use crate::policy::version::Version;

/// What happens to a version once its sunset has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AfterSunset {
    /// It is served on and counted: a sunset is a hint (RFC 8594 §3). The default.
    #[default]
    KeepServing,
    /// It is answered with 410.
    Gone,
}

/// One version and its life.
#[derive(Debug, Clone)]
pub struct VersionPolicy {
    pub(crate) version: Version,
    pub(crate) deprecated: Option<SystemTime>,
    pub(crate) sunset: Option<SystemTime>,
    pub(crate) successor: Option<Version>,
    pub(crate) documentation: Option<String>,
    pub(crate) after_sunset: AfterSunset,
}

impl VersionPolicy {
    /// Deprecated from then on (RFC 9745); may lie in the future. Default: never.
    #[must_use]
    pub fn deprecated(self, at: SystemTime) -> Self {
        Self { deprecated: Some(at), ..self }
    }

    /// May be gone from then on (RFC 8594). Default: never.
    #[must_use]
    pub fn sunset(self, at: SystemTime) -> Self {
        Self { sunset: Some(at), ..self }
    }

    /// The version to move to, named in `Link` as `successor-version` (RFC 5829). Default: none.
    #[must_use]
    pub fn successor(self, version: Version) -> Self {
        Self { successor: Some(version), ..self }
    }

    /// Where the deprecation is explained, named in `Link` as `deprecation` (RFC 9745 §3). Default: nowhere.
    #[must_use]
    pub fn documentation(self, uri: impl Into<String>) -> Self {
        Self { documentation: Some(uri.into()), ..self }
    }

    /// What happens after the sunset. Default: [`AfterSunset::KeepServing`].
    #[must_use]
    pub fn after_sunset(self, after: AfterSunset) -> Self {
        Self { after_sunset: after, ..self }
    }
}

/// One version with its header values written out.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) policy: VersionPolicy,
    pub(crate) name: HeaderValue,
    pub(crate) deprecation: Option<HeaderValue>,
    pub(crate) sunset: Option<HeaderValue>,
    pub(crate) links: Vec<HeaderValue>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) entries: Vec<Entry>,
    pub(crate) default: Option<Version>,
    pub(crate) supported: HeaderValue,
    pub(crate) deprecated: Option<HeaderValue>,
}

/// The versions of an API; a cheap handle.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

/// Builds a [`Registry`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RegistryBuilder {
    versions: Vec<VersionPolicy>,
    default: Option<Version>,
}

impl Registry {
    /// A registry without versions.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    pub(crate) fn find(&self, version: Version) -> Option<&Entry> {
        self.inner.entries.iter().find(|entry| entry.policy.version == version)
    }

    /// The registered versions, ascending.
    pub fn versions(&self) -> impl Iterator<Item = Version> + '_ {
        self.inner.entries.iter().map(|entry| entry.policy.version)
    }
}

impl RegistryBuilder {
    /// Registers a version; the closure says what is to be said about it.
    pub fn version(mut self, version: Version, policy: impl FnOnce(VersionPolicy) -> VersionPolicy) -> Self {
        self.versions.push(policy(VersionPolicy {
            version,
            deprecated: None,
            sunset: None,
            successor: None,
            documentation: None,
            after_sunset: AfterSunset::default(),
        }));
        self
    }

    /// The version of requests that name none. Default: none, such requests are refused, so that no client depends on a
    /// version it never chose.
    pub fn default_version(self, version: Version) -> Self {
        Self { default: Some(version), ..self }
    }

    /// Validates and writes every header value out.
    ///
    /// # Errors
    ///
    /// No version, a version twice, a sunset before its deprecation, a default or successor that is not registered, a link
    /// that is no header value, a date outside of the years 1970 to 9999.
    pub fn build(mut self) -> Result<Registry, ConfigError> {
        if self.versions.is_empty() {
            return Err(ConfigError::new("version", "an API has at least one version"));
        }
        self.versions.sort_by_key(|policy| policy.version);
        if let Some(twice) = self.versions.windows(2).find(|pair| pair[0].version == pair[1].version) {
            return Err(ConfigError::new("version", format!("{} is registered twice", twice[0].version)));
        }
        let known = |version: Version| self.versions.iter().any(|policy| policy.version == version);
        if let Some(default) = self.default.filter(|&default| !known(default)) {
            return Err(ConfigError::new("default_version", format!("{default} is not registered")));
        }
        for policy in &self.versions {
            if let Some(successor) = policy.successor.filter(|&successor| !known(successor)) {
                return Err(ConfigError::new("successor", format!("{successor} is not registered")));
            }
            // RFC 9745 §5: what is gone before it is deprecated is a mistake.
            if policy.sunset.zip(policy.deprecated).is_some_and(|(sunset, deprecated)| sunset < deprecated) {
                return Err(ConfigError::new(
                    "sunset",
                    format!("{} ends before it is deprecated", policy.version),
                ));
            }
        }
        let list = |filter: fn(&VersionPolicy) -> bool| {
            let names: Vec<String> = self
                .versions
                .iter()
                .filter(|policy| filter(policy))
                .map(|policy| policy.version.to_string())
                .collect();
            names.join(", ")
        };
        let supported = header("version", &list(|policy| policy.deprecated.is_none()))?;
        let deprecated = list(|policy| policy.deprecated.is_some());
        let deprecated = if deprecated.is_empty() { None } else { Some(header("version", &deprecated)?) };
        let entries = self.versions.iter().cloned().map(entry).collect::<Result<_, _>>()?;
        Ok(Registry { inner: Arc::new(Inner { entries, default: self.default, supported, deprecated }) })
    }
}

/// 10000-01-01: IMF-fixdate has four digits for the year.
const END_OF_DATES: Duration = Duration::from_secs(253_402_300_800);

fn since_epoch(field: &'static str, at: SystemTime) -> Result<Duration, ConfigError> {
    at.duration_since(UNIX_EPOCH)
        .ok()
        .filter(|since| *since < END_OF_DATES)
        .ok_or_else(|| ConfigError::new(field, "the date is outside of the years 1970 to 9999"))
}

fn header(field: &'static str, value: &str) -> Result<HeaderValue, ConfigError> {
    HeaderValue::from_str(value).map_err(|_| ConfigError::new(field, "not fit for a header field"))
}

fn entry(policy: VersionPolicy) -> Result<Entry, ConfigError> {
    let deprecation = match policy.deprecated {
        // RFC 9745 §2: a structured-field date.
        Some(at) => Some(header("deprecated", &format!("@{}", since_epoch("deprecated", at)?.as_secs()))?),
        None => None,
    };
    let sunset = match policy.sunset {
        Some(at) => {
            since_epoch("sunset", at)?;
            Some(header("sunset", &httpdate::fmt_http_date(at))?)
        }
        None => None,
    };
    let mut links = Vec::new();
    if let Some(uri) = &policy.documentation {
        if uri.contains(['<', '>']) {
            return Err(ConfigError::new("documentation", "not a URI"));
        }
        links.push(header("documentation", &format!("<{uri}>; rel=\"deprecation\""))?);
    }
    Ok(Entry { name: header("version", &policy.version.to_string())?, deprecation, sunset, links, policy })
}

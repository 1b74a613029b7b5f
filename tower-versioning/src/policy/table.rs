//! The registered versions with every header field written out.

use std::sync::Arc;

use http::HeaderValue;

use super::lifecycle::{
    self, AfterSunset, VersionPolicy, deprecation_value, links_value, list_value, sunset_value,
};
use super::moment::Moment;
use super::select::{Registered, Select};
use super::spelled::Spelling;
use super::version::Version;
use crate::error::ConfigError;

/// Which version a request gets that names none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DefaultVersion {
    #[default]
    None,
    Constant(Version),
    Latest,
    Lowest,
}

/// What [`DefaultVersion`] comes to.
#[derive(Debug, Clone, Copy)]
enum Otherwise {
    This(usize),
    Newest,
    Oldest,
}

/// One registered version.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) text: HeaderValue,
    pub(crate) deprecated: Option<Moment>,
    pub(crate) deprecation: Option<HeaderValue>,
    pub(crate) sunset: Option<(Moment, HeaderValue)>,
    pub(crate) gone: bool,
    /// What links say, from each moment at which that changes: what is gone is linked to no more.
    links: Vec<(Moment, Option<HeaderValue>)>,
    /// The successor, by index, and whether a link tells where it lives.
    pub(crate) successor: Option<(Version, bool)>,
}

impl Entry {
    #[inline]
    pub(crate) fn is_past_sunset(&self, now: Moment) -> bool {
        self.sunset.as_ref().is_some_and(|(at, _)| now >= *at)
    }

    #[inline]
    pub(crate) fn is_gone(&self, now: Moment) -> bool {
        self.gone && self.is_past_sunset(now)
    }

    /// The links of answers.
    pub(crate) fn links(&self, now: Moment) -> Option<&HeaderValue> {
        self.links.iter().rev().find(|(from, _)| *from <= now)?.1.as_ref()
    }

    /// Whether answers link to the same resource in the successor, which has no place of its own.
    pub(crate) fn links_by_path(&self) -> bool {
        matches!(self.successor, Some((_, false)))
    }

    /// Whether nothing is said but the version.
    pub(crate) fn is_plain(&self) -> bool {
        self.deprecation.is_none()
            && self.sunset.is_none()
            && self.links.iter().all(|(_, link)| link.is_none())
    }
}

/// What the lists say from a moment on.
#[derive(Debug)]
struct Epoch {
    from: Moment,
    lists: Lists,
}

/// The lists of versions: those supported, and those supported but deprecated.
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    pub(crate) supported: Option<HeaderValue>,
    pub(crate) deprecated: Option<HeaderValue>,
    /// Both together: what a refused client may choose from.
    pub(crate) served: Arc<Served>,
}

/// The versions that are served, and the same as a list in JSON.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) versions: Vec<Version>,
    pub(crate) json: Box<str>,
}

impl Served {
    /// Versions need no escapes in JSON.
    fn new(versions: Vec<Version>) -> Self {
        let list: Vec<String> = versions.iter().map(|version| format!("\"{version}\"")).collect();
        Self { versions, json: format!("[{}]", list.join(",")).into() }
    }
}

/// The versions of an API, in ascending order.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) versions: Registered,
    pub(crate) entries: Vec<Entry>,
    default: Option<Otherwise>,
    select: Select,
    /// In ascending order; the first begins before all time.
    epochs: Vec<Epoch>,
    /// Whether any answer depends on the time.
    pub(crate) timed: bool,
    /// Whether the text of a version is all that its choice depends on.
    hurried: bool,
}

impl Table {
    pub(crate) fn new(
        mut policies: Vec<(Version, VersionPolicy)>,
        default: DefaultVersion,
        select: Select,
    ) -> Result<Self, ConfigError> {
        policies.sort_by_key(|(version, _)| *version);
        let list: Vec<Version> = policies.iter().map(|(version, _)| *version).collect();
        if list.is_empty() {
            return Err(ConfigError::new("version", "an API has at least one version"));
        }
        if let Some(twice) = list.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigError::new("version", format!("{} is registered twice", twice[0])));
        }
        let versions = Registered::new(list);
        for (version, policy) in &policies {
            policy.check(*version)?;
            if let Some(successor) = policy.successor
                && (versions.find(successor).is_none() || successor <= *version)
            {
                let reason = format!("{successor} is no registered version above {version}");
                return Err(ConfigError::new("successor", reason));
            }
        }
        let default = match default {
            DefaultVersion::None => None,
            DefaultVersion::Latest => Some(Otherwise::Newest),
            DefaultVersion::Lowest => Some(Otherwise::Oldest),
            DefaultVersion::Constant(version) => {
                Some(Otherwise::This(versions.find(version).ok_or_else(|| {
                    ConfigError::new("default_version", format!("{version} is not registered"))
                })?))
            }
        };
        let mut entries: Vec<Entry> = policies.iter().map(|policy| entry(policy, &policies)).collect();
        let links: Vec<_> = (0..entries.len()).map(|index| links(&policies, &entries, index)).collect();
        for (entry, links) in entries.iter_mut().zip(links) {
            entry.links = links;
        }
        let epochs = epochs(&versions.list, &entries);
        let timed = epochs.len() > 1 || entries.iter().any(|entry| entry.sunset.is_some());
        let hurried = !timed && matches!(select, Select::Exact);
        Ok(Self { versions, entries, default, select, epochs, timed, hurried })
    }

    /// The version that is written there, where selection is exact and no version ends; `None` for all that is not known by
    /// its octets.
    #[inline(always)]
    pub(crate) fn find_quick(&self, text: &[u8]) -> Option<&Spelling> {
        if self.hurried { self.versions.spelled.find(text) } else { None }
    }

    /// The same for a digit.
    #[inline(always)]
    pub(crate) fn find_digit(&self, digit: u8) -> Option<&Spelling> {
        if self.hurried { self.versions.spelled.find_digit(digit) } else { None }
    }

    /// The version that is served to those who ask for `version`. Where the choice is ours, it is none that is gone, as
    /// long as there is another.
    #[inline]
    pub(crate) fn choose(&self, version: Version, now: Moment) -> Option<usize> {
        self.select.choose(&self.versions, version, |entry| !self.is_gone(entry, now))
    }

    /// The version that is served to those who ask for none, in the same way; one that is named in the registry stays
    /// the same for ever.
    pub(crate) fn otherwise(&self, now: Moment) -> Option<usize> {
        let list = &self.versions.list;
        let served = |entry: &usize| !self.is_gone(*entry, now);
        Some(match self.default? {
            Otherwise::This(entry) => entry,
            Otherwise::Newest => {
                let released = (0..list.len()).rev().filter(|entry| list[*entry].is_release()).find(served);
                released.or_else(|| (0..list.len()).rev().find(served)).unwrap_or_else(|| latest(list))
            }
            Otherwise::Oldest => {
                let released = (0..list.len()).filter(|entry| list[*entry].is_release()).find(served);
                released.or_else(|| (0..list.len()).find(served)).unwrap_or_else(|| lowest(list))
            }
        })
    }

    #[inline]
    pub(crate) fn is_gone(&self, entry: usize, now: Moment) -> bool {
        self.timed && self.entries[entry].is_gone(now)
    }

    /// The lists, where answers of that entry say the same at all times, and nothing but the version and these.
    pub(crate) fn always(&self, entry: &Entry) -> Option<&Lists> {
        (!self.timed && entry.is_plain()).then(|| &self.epochs[0].lists)
    }

    #[inline]
    pub(crate) fn lists(&self, now: Moment) -> &Lists {
        let after = self.epochs[1..].partition_point(|epoch| epoch.from <= now);
        &self.epochs[after].lists
    }
}

/// The oldest release, or the oldest of all when none is released.
fn lowest(versions: &[Version]) -> usize {
    versions.iter().position(Version::is_release).unwrap_or(0)
}

/// The newest release, or the newest of all when none is released.
fn latest(versions: &[Version]) -> usize {
    versions.iter().rposition(Version::is_release).unwrap_or(versions.len() - 1)
}

fn entry((version, policy): &(Version, VersionPolicy), all: &[(Version, VersionPolicy)]) -> Entry {
    let located = |successor: Version| {
        all.iter().any(|(version, policy)| *version == successor && policy.location.is_some())
    };
    Entry {
        text: lifecycle::text_value(&version.to_string()),
        deprecated: policy.deprecated,
        deprecation: policy.deprecated.map(deprecation_value),
        sunset: policy.sunset.map(|at| (at, sunset_value(at))),
        gone: policy.after_sunset == AfterSunset::Gone,
        links: Vec::new(),
        successor: policy.successor.map(|version| (version, located(version))),
    }
}

/// The links of one version, from each moment at which they change.
fn links(
    policies: &[(Version, VersionPolicy)],
    entries: &[Entry],
    index: usize,
) -> Vec<(Moment, Option<HeaderValue>)> {
    let mut links: Vec<(Moment, Option<HeaderValue>)> = Vec::new();
    for from in [BEFORE_ALL].into_iter().chain(ends(entries)) {
        let value = links_at(policies, entries, index, from);
        if links.last().is_none_or(|(_, last)| *last != value) {
            links.push((from, value));
        }
    }
    links
}

/// RFC 5829 §3: relations are told only of versions that exist, and only when it is known where.
fn links_at(
    policies: &[(Version, VersionPolicy)],
    entries: &[Entry],
    index: usize,
    now: Moment,
) -> Option<HeaderValue> {
    let (version, policy) = &policies[index];
    let served = || policies.iter().zip(entries).filter(|(_, entry)| !entry.is_gone(now)).map(|(one, _)| one);
    let successor = served().find(|(one, _)| Some(*one) == policy.successor);
    let predecessor = served().take_while(|(one, _)| one < version).last();
    let released = served().filter(|(one, _)| one.is_release()).last();
    let latest = released.or_else(|| served().last()).filter(|(one, _)| one != version);
    let related =
        [(successor, "successor-version"), (predecessor, "predecessor-version"), (latest, "latest-version")];
    let given = policy.links.iter().map(|link| (link.uri.as_ref(), link.rel.as_ref()));
    let related = related.into_iter().filter_map(|(one, rel)| Some((one?.1.location.as_deref()?, rel)));
    links_value(given.chain(related))
}

const BEFORE_ALL: Moment = Moment::from_unix(i64::MIN);

/// When versions end, in ascending order.
fn ends(entries: &[Entry]) -> Vec<Moment> {
    let gone = entries.iter().filter(|entry| entry.gone);
    let mut ends: Vec<Moment> = gone.filter_map(|entry| Some(entry.sunset.as_ref()?.0)).collect();
    ends.sort();
    ends
}

/// One epoch from each moment at which a list changes.
fn epochs(versions: &[Version], entries: &[Entry]) -> Vec<Epoch> {
    let deprecated = entries.iter().filter_map(|entry| entry.deprecated);
    let mut moments: Vec<Moment> = deprecated.chain(ends(entries)).collect();
    moments.push(BEFORE_ALL);
    moments.sort();
    moments.dedup();
    let lists = |now: Moment| {
        let served = || versions.iter().zip(entries).filter(move |(_, entry)| !entry.is_gone(now));
        let deprecated = |entry: &Entry| entry.deprecated.is_some_and(|at| at <= now);
        Lists {
            supported: list_value(
                served().filter(|(_, entry)| !deprecated(entry)).map(|(version, _)| version),
            ),
            deprecated: list_value(
                served().filter(|(_, entry)| deprecated(entry)).map(|(version, _)| version),
            ),
            served: Arc::new(Served::new(served().map(|(version, _)| *version).collect())),
        }
    };
    moments.into_iter().map(|from| Epoch { from, lists: lists(from) }).collect()
}

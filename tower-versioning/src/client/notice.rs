//! What is worth telling about an answer, once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Uri};

use super::metrics::ClientMetrics;
use crate::policy::announce::{self, Link, Read};
use crate::policy::moment::Moment;
use crate::policy::version::Version;
use crate::report::{DEPRECATED, DEPRECATION, SUNSET, SUPPORTED};

/// How many pairs of origin and version are remembered; beyond them nothing is told and counted any more.
const REMEMBERED: usize = 1024;

/// What a server announced about the version that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// Scheme and authority of the request, as far as it had them.
    pub origin: String,
    /// The version that was used, when this layer knows it.
    pub version: Option<Version>,
    /// Since when, or from when on, the version is deprecated.
    pub deprecation: Option<Moment>,
    /// When it may stop working.
    pub sunset: Option<Moment>,
    /// The links of the answer.
    pub links: Vec<Link>,
}

/// What a [`Notice`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoticeKind {
    /// The version is deprecated.
    Deprecated,
    /// It will be deprecated.
    WillBeDeprecated,
    /// It has a sunset and no deprecation.
    WillBeSunset,
    /// Its sunset is before its deprecation: a mistake of the server's.
    Misconfigured,
    /// There is a newer version.
    Newer,
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deprecated => "deprecated",
            Self::WillBeDeprecated => "will_be_deprecated",
            Self::WillBeSunset => "will_be_sunset",
            Self::Misconfigured => "misconfigured",
            Self::Newer => "newer",
        })
    }
}

/// The origin and the version that a notice is about.
type Subject = (String, Option<Version>);

type Told = dyn Fn(&Notice) + Send + Sync;

/// Shared by all services of a layer.
pub(crate) struct Notices {
    told: Mutex<HashMap<Subject, (NoticeKind, Moment)>>,
    tell: Box<Told>,
    again_after: Duration,
    metrics: ClientMetrics,
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").field("again_after", &self.again_after).finish_non_exhaustive()
    }
}

const ANNOUNCING: [HeaderName; 4] = [DEPRECATION, SUNSET, SUPPORTED, DEPRECATED];

impl Notices {
    pub(crate) fn new(tell: Box<Told>, again_after: Duration) -> Self {
        Self { told: Mutex::default(), tell, again_after, metrics: ClientMetrics::default() }
    }

    /// Reads an answer. Malformed fields are passed over and counted.
    pub(crate) fn read(&self, headers: &HeaderMap, target: &Uri, version: Option<Version>, now: Moment) {
        if !ANNOUNCING.iter().any(|name| headers.contains_key(name)) {
            return;
        }
        let deprecation = announce::deprecation(&headers.get_all(DEPRECATION));
        let sunset = announce::sunset(&headers.get_all(SUNSET));
        self.metrics.resolve();
        if deprecation == Read::Malformed {
            self.metrics.malformed("deprecation");
        }
        if sunset == Read::Malformed {
            self.metrics.malformed("sunset");
        }
        let (deprecation, sunset) = (deprecation.value(), sunset.value());
        let Some(kind) = kind(headers, version, deprecation, sunset, now) else { return };
        let origin = origin(target);
        if !self.is_due(&origin, version, kind, now) {
            return;
        }
        let links = announce::links(&headers.get_all(http::header::LINK), target);
        if links.is_none() {
            self.metrics.malformed("link");
        }
        self.metrics.noticed(kind);
        if let Some(sunset) = sunset {
            self.metrics.days_to_sunset(&origin, version, sunset, now);
        }
        (self.tell)(&Notice { kind, origin, version, deprecation, sunset, links: links.unwrap_or_default() });
    }

    /// Whether it was not told lately. One thing is told for each origin and version in a period.
    fn is_due(&self, origin: &str, version: Option<Version>, kind: NoticeKind, now: Moment) -> bool {
        let period = i64::try_from(self.again_after.as_secs()).unwrap_or(i64::MAX);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (origin.to_owned(), version);
        let due = match told.get(&key) {
            Some((NoticeKind::Newer, _)) if kind != NoticeKind::Newer => true,
            Some((_, at)) => now.unix().saturating_sub(at.unix()) >= period,
            None => told.len() < REMEMBERED,
        };
        if due {
            told.insert(key, (kind, now));
        }
        due
    }
}

fn kind(
    headers: &HeaderMap,
    version: Option<Version>,
    deprecation: Option<Moment>,
    sunset: Option<Moment>,
    now: Moment,
) -> Option<NoticeKind> {
    match (deprecation, sunset) {
        // RFC 9745 §4.
        (Some(deprecation), Some(sunset)) if sunset < deprecation => return Some(NoticeKind::Misconfigured),
        (Some(deprecation), _) if deprecation <= now => return Some(NoticeKind::Deprecated),
        (Some(_), _) => return Some(NoticeKind::WillBeDeprecated),
        (None, Some(_)) => return Some(NoticeKind::WillBeSunset),
        (None, None) => {}
    }
    let version = version?;
    if announce::versions(&headers.get_all(DEPRECATED)).contains(&version) {
        return Some(NoticeKind::Deprecated);
    }
    let newer =
        announce::versions(&headers.get_all(SUPPORTED)).into_iter().any(|supported| supported > version);
    newer.then_some(NoticeKind::Newer)
}

fn origin(target: &Uri) -> String {
    match (target.scheme_str(), target.authority()) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{}:{}", authority.host(), port(target)),
        (_, authority) => authority.map_or_else(String::new, |authority| authority.host().to_owned()),
    }
}

fn port(target: &Uri) -> u16 {
    let default = if target.scheme_str() == Some("http") { 80 } else { 443 };
    target.port_u16().unwrap_or(default)
}

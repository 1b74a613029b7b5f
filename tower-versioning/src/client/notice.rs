//! What is worth telling about an answer, once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, Uri};

use super::metrics::{ClientMetrics, SunsetGauge};
use crate::policy::announce::{self, Link, Read};
use crate::policy::moment::Moment;
use crate::policy::version::Version;
use crate::report::{API_VERSION, DEPRECATED, DEPRECATION, SUNSET, SUPPORTED};

/// How many pairs of origin and version are remembered. When they are full, those of the last period go; beyond that
/// nothing is told about new ones, and they have no gauge.
const REMEMBERED: usize = 1024;
/// A day: often enough to be seen, seldom enough to be read.
const AGAIN_AFTER: Duration = Duration::from_secs(86_400);

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
    /// Its sunset has passed: it may stop working at any moment (RFC 8594 §3).
    PastSunset,
    /// It has a sunset to come and no deprecation.
    WillBeSunset,
    /// Its sunset is before its deprecation: a mistake of the server's.
    Misconfigured,
    /// There is a newer version.
    Newer,
}

impl NoticeKind {
    /// How much it matters: what is worse is told although something was told lately.
    fn weight(self) -> u8 {
        match self {
            Self::Newer => 0,
            Self::WillBeSunset | Self::WillBeDeprecated => 1,
            Self::Deprecated | Self::Misconfigured => 2,
            Self::PastSunset => 3,
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deprecated => "deprecated",
            Self::WillBeDeprecated => "will_be_deprecated",
            Self::PastSunset => "past_sunset",
            Self::WillBeSunset => "will_be_sunset",
            Self::Misconfigured => "misconfigured",
            Self::Newer => "newer",
        })
    }
}

/// The origin and the version that a notice is about.
type Subject = (String, Option<Version>);

type Tell = dyn Fn(&Notice) + Send + Sync;

/// What was told about an origin and version.
struct Told {
    weight: u8,
    at: Moment,
    gauge: SunsetGauge,
}

/// Shared by all services of a layer.
pub(crate) struct Notices {
    told: Mutex<HashMap<Subject, Told>>,
    tell: Box<Tell>,
    metrics: ClientMetrics,
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}

const ANNOUNCING: [HeaderName; 4] = [DEPRECATION, SUNSET, SUPPORTED, DEPRECATED];

impl Notices {
    pub(crate) fn new(tell: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self { told: Mutex::default(), tell: Box::new(tell), metrics: ClientMetrics::default() }
    }

    /// Reads an answer to a request for `target` that meant `version`. Malformed fields are passed over and counted.
    pub(crate) fn read(
        &self,
        headers: &HeaderMap,
        target: &Uri,
        version: Option<Version>,
        now: fn() -> SystemTime,
    ) {
        if !ANNOUNCING.iter().any(|name| headers.contains_key(name)) {
            return;
        }
        let now = Moment::from(now());
        let version = version.or_else(|| echoed(headers));
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
        if !self.is_due(&origin, version, kind, sunset, now) {
            return;
        }
        let (links, malformed) = announce::links(&headers.get_all(http::header::LINK), target);
        for _ in 0..malformed {
            self.metrics.malformed("link");
        }
        self.metrics.noticed(kind);
        (self.tell)(&Notice { kind, origin, version, deprecation, sunset, links });
    }

    /// Whether it was not told lately. Of one weight, one thing is told for each origin and version in a period.
    fn is_due(
        &self,
        origin: &str,
        version: Option<Version>,
        kind: NoticeKind,
        sunset: Option<Moment>,
        now: Moment,
    ) -> bool {
        let period = i64::try_from(AGAIN_AFTER.as_secs()).unwrap_or(i64::MAX);
        let is_old = |told: &Told| now.unix().saturating_sub(told.at.unix()) >= period;
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = (origin.to_owned(), version);
        if all.len() >= REMEMBERED && !all.contains_key(&subject) {
            all.retain(|_, told| !is_old(told));
            if all.len() >= REMEMBERED {
                return false;
            }
        }
        let weight = kind.weight();
        let mut due = false;
        let told = all.entry(subject).or_insert_with(|| {
            due = true;
            Told { weight, at: now, gauge: SunsetGauge::default() }
        });
        if is_old(told) || weight > told.weight {
            due = true;
            (told.weight, told.at) = (weight, now);
        }
        if let Some(sunset) = sunset {
            told.gauge.set(origin, version, sunset, now);
        }
        due
    }
}

/// The version by which the server says it served.
fn echoed(headers: &HeaderMap) -> Option<Version> {
    Version::from_octets(headers.get(API_VERSION)?.as_bytes()).ok()
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
        (_, Some(sunset)) if sunset <= now => return Some(NoticeKind::PastSunset),
        (Some(deprecation), _) if deprecation <= now => return Some(NoticeKind::Deprecated),
        (Some(_), _) => return Some(NoticeKind::WillBeDeprecated),
        (None, Some(_)) => return Some(NoticeKind::WillBeSunset),
        (None, None) => {}
    }
    let version = version?;
    if announce::versions(&headers.get_all(DEPRECATED)).any(|deprecated| deprecated == version) {
        return Some(NoticeKind::Deprecated);
    }
    let newer = announce::versions(&headers.get_all(SUPPORTED)).any(|supported| supported > version);
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

//! The life of a version: deprecated, sunset, retired; and the header fields that announce it.

use std::borrow::Cow;

use http::HeaderValue;

use super::moment::Moment;
use super::version::Version;
use crate::error::ConfigError;

/// What becomes of a version after its sunset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterSunset {
    /// It is served as before, and counted. The default: `Sunset` is a hint (RFC 8594 §3), and a date in a
    /// configuration should not take a service down by itself.
    #[default]
    KeepServing,
    /// 410 Gone, within a second of that moment.
    Gone,
}

/// What is said about one version: built in [`RegistryBuilder::version`](crate::RegistryBuilder::version).
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct VersionPolicy {
    pub(crate) deprecated: Option<Moment>,
    pub(crate) sunset: Option<Moment>,
    pub(crate) after_sunset: AfterSunset,
    pub(crate) successor: Option<Version>,
    pub(crate) location: Option<Cow<'static, str>>,
    pub(crate) links: Vec<Link>,
}

#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) uri: Cow<'static, str>,
    pub(crate) rel: Cow<'static, str>,
    /// The method that was called for it.
    field: &'static str,
}

impl VersionPolicy {
    /// The moment from which the version is deprecated, in the past or in the future; sent as `Deprecation`
    /// (RFC 9745). By itself it changes neither status nor content. Default: not deprecated.
    pub fn deprecated(mut self, at: impl Into<Moment>) -> Self {
        self.deprecated = Some(at.into());
        self
    }

    /// The moment after which the version may stop working; sent as `Sunset` (RFC 8594). Not before the deprecation.
    /// Default: none.
    pub fn sunset(mut self, at: impl Into<Moment>) -> Self {
        self.sunset = Some(at.into());
        self
    }

    /// Answers 410 Gone from the sunset on. Default: [`AfterSunset::KeepServing`].
    pub fn gone_after_sunset(self) -> Self {
        self.after_sunset(AfterSunset::Gone)
    }

    /// What becomes of the version after its sunset. Default: [`AfterSunset::KeepServing`].
    pub fn after_sunset(mut self, after: AfterSunset) -> Self {
        self.after_sunset = after;
        self
    }

    /// The version that takes its place, which must be registered and newer; sent as a link of relation `successor-version`
    /// (RFC 5829) when that version has a [`location`](Self::location).
    pub fn successor(mut self, version: Version) -> Self {
        self.successor = Some(version);
        self
    }

    /// Where this version lives, as a URI reference such as `/v2/orders`. Answers of other versions link to it as their
    /// `successor-version`, `predecessor-version` or `latest-version`. Default: none, and then no such links.
    pub fn location(mut self, uri: impl Into<Cow<'static, str>>) -> Self {
        self.location = Some(uri.into());
        self
    }

    /// The page that explains the deprecation (link relation `deprecation`, RFC 9745 §3).
    pub fn deprecation_link(self, uri: impl Into<Cow<'static, str>>) -> Self {
        self.linked(uri.into(), "deprecation".into(), "deprecation_link")
    }

    /// The same as [`deprecation_link`](Self::deprecation_link).
    pub fn documentation(self, uri: impl Into<Cow<'static, str>>) -> Self {
        self.linked(uri.into(), "deprecation".into(), "documentation")
    }

    /// The page that explains the sunset (link relation `sunset`, RFC 8594 §6).
    pub fn sunset_link(self, uri: impl Into<Cow<'static, str>>) -> Self {
        self.linked(uri.into(), "sunset".into(), "sunset_link")
    }

    /// A link of any relation, sent with every answer of this version (RFC 8288).
    pub fn link(self, uri: impl Into<Cow<'static, str>>, rel: impl Into<Cow<'static, str>>) -> Self {
        self.linked(uri.into(), rel.into(), "link")
    }

    fn linked(mut self, uri: Cow<'static, str>, rel: Cow<'static, str>, field: &'static str) -> Self {
        self.links.push(Link { uri, rel, field });
        self
    }

    /// What cannot be in any registry. `version` is the one that all this is said about.
    pub(crate) fn check(&self, version: Version) -> Result<(), ConfigError> {
        let wrong =
            |field, reason: &str| Err(ConfigError::new(field, format!("version {version}: {reason}")));
        if self.sunset.is_some_and(|sunset| !sunset.is_http_date()) {
            return wrong("sunset", "an HTTP-date lies between the years 1970 and 9999");
        }
        // RFC 9651 §3.3.7 gives Dates the magnitude of Integers: 15 digits.
        if self.deprecated.is_some_and(|at| at.unix().unsigned_abs() >= 1_000_000_000_000_000) {
            return wrong("deprecated", "the moment has more than 15 digits");
        }
        // RFC 9745 §4.
        if let (Some(deprecated), Some(sunset)) = (self.deprecated, self.sunset)
            && sunset < deprecated
        {
            return wrong("sunset", "the sunset is before the deprecation");
        }
        if self.after_sunset == AfterSunset::Gone && self.sunset.is_none() {
            return wrong("gone_after_sunset", "there is no sunset");
        }
        let location = self.location.iter().map(|uri| (uri, "location"));
        for (uri, field) in self.links.iter().map(|link| (&link.uri, link.field)).chain(location) {
            if !is_reference(uri) {
                return wrong(field, &format!("`{}` is no URI reference", uri.escape_default()));
            }
        }
        let is_rel = |rel: &str| {
            !rel.is_empty() && rel.bytes().all(|o| o.is_ascii_graphic() && !matches!(o, b'"' | b'\\'))
        };
        if self.links.iter().any(|link| !is_rel(&link.rel)) {
            return wrong("link", "a relation is a word of graphic ASCII characters");
        }
        Ok(())
    }
}

/// Whether that can be a URI reference (RFC 3986 §2): of its characters, and every percent sign begins an escape.
fn is_reference(uri: &str) -> bool {
    let is_escape =
        |rest: &[u8]| matches!(rest, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    let octets = uri.as_bytes();
    !octets.is_empty()
        && octets.iter().enumerate().all(|(at, octet)| match octet {
            b'%' => is_escape(&octets[at + 1..]),
            _ => octet.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(octet),
        })
}

/// A structured-field Date (RFC 9651 §3.3.7), as RFC 9745 §2 asks.
pub(crate) fn deprecation_value(at: Moment) -> HeaderValue {
    text_value(&format!("@{}", at.unix()))
}

pub(crate) fn sunset_value(at: Moment) -> HeaderValue {
    text_value(&at.http_date())
}

/// One line of `Link`.
pub(crate) fn links_value<'a>(links: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<HeaderValue> {
    let lines: Vec<String> = links.into_iter().map(|(uri, rel)| format!("<{uri}>; rel=\"{rel}\"")).collect();
    (!lines.is_empty()).then(|| text_value(&lines.join(", ")))
}

/// A list of versions.
pub(crate) fn list_value<'a>(versions: impl IntoIterator<Item = &'a Version>) -> Option<HeaderValue> {
    let list: Vec<String> = versions.into_iter().map(Version::to_string).collect();
    (!list.is_empty()).then(|| text_value(&list.join(", ")))
}

/// The texts made here are ASCII, checked before; an empty value stands in for what cannot happen.
pub(crate) fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

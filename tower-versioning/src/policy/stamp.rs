//! A version written into a request. What is there already is never overwritten.

use std::borrow::Cow;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Uri, request::Parts};

use super::extract;
use super::media::{has_parameter, weight_at};
use super::path::{self, PathTemplate};
use super::version::Version;

/// Where outgoing requests carry their version.
#[derive(Debug, Clone)]
#[must_use]
pub struct Stamp(Place);

#[derive(Debug, Clone)]
enum Place {
    Header(HeaderName),
    Query(Box<str>),
    Path(PathTemplate, Box<str>),
    MediaType(Box<str>),
}

impl Stamp {
    /// A header field, such as `api-version`.
    pub fn header(name: HeaderName) -> Self {
        Self(Place::Header(name))
    }

    /// A parameter of the query, such as `api-version`; a name that a query cannot hold is never written.
    pub fn query(name: impl Into<Box<str>>) -> Self {
        Self(Place::Query(name.into()))
    }

    /// A path segment `v2` right after `prefix`, for paths below it.
    pub fn path(prefix: &str) -> Self {
        Self(Place::Path(PathTemplate::below(prefix), path::prefix(prefix)))
    }

    /// A parameter of the media types in `Accept` and `Content-Type`, such as `v`. All media types of a field get it, or
    /// none when one of them has it. Without `Accept`, `*/*` gets it.
    pub fn media_type(parameter: impl Into<Box<str>>) -> Self {
        Self(Place::MediaType(parameter.into()))
    }

    /// The version that the request carries in this place afterwards: the one given, or its own, as far as that can be
    /// read.
    pub(crate) fn write(&self, parts: &mut Parts, version: Version) -> Option<Version> {
        match &self.0 {
            Place::Header(name) => in_header(&mut parts.headers, name, version),
            Place::Query(name) => in_query(&mut parts.uri, name, version),
            Place::Path(template, prefix) => in_path(&mut parts.uri, template, prefix, version),
            Place::MediaType(parameter) => in_media_types(&mut parts.headers, parameter, version),
        }
    }
}

fn in_header(headers: &mut HeaderMap, name: &HeaderName, version: Version) -> Option<Version> {
    let mut lines = headers.get_all(name).iter();
    if let Some(own) = lines.next() {
        return lines.next().is_none().then(|| Version::from_octets(own.as_bytes()).ok())?;
    }
    let value = HeaderValue::from_str(&version.to_string()).ok()?;
    // Fails for a map that is full, and then the request goes as it is.
    headers.try_insert(name, value).ok().map(|_| version)
}

fn in_query(uri: &mut Uri, name: &str, version: Version) -> Option<Version> {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    let is_own = |pair: &str| {
        pair.split('=').next().is_some_and(|own| extract::is_name(own.as_bytes(), name.as_bytes()))
    };
    if let Some(own) = pairs.find(|pair| is_own(pair)) {
        return own.split_once('=').and_then(|(_, value)| Version::parse(value).ok());
    }
    let separator = match uri.query() {
        None => "?",
        Some("") => "",
        Some(_) => "&",
    };
    let before = origin_form(uri);
    replace(uri, &format!("{before}{separator}{name}={version}")).map(|()| version)
}

fn in_path(uri: &mut Uri, template: &PathTemplate, prefix: &str, version: Version) -> Option<Version> {
    if let Some((_, own)) = template.find(uri.path()) {
        return Version::from_octets(own).ok();
    }
    let path = origin_form(uri);
    let rest = path.strip_prefix(prefix).filter(|rest| rest.starts_with('/'))?;
    let stamped = format!("{prefix}/{}{rest}", template.write(version));
    replace(uri, &stamped).map(|()| version)
}

/// Path and query; in `http://host?a` the slash is left out (RFC 9112 §3.2.1).
fn origin_form(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query().map_or("/", PathAndQuery::as_str) {
        query if query.starts_with('?') => format!("/{query}").into(),
        path => path.into(),
    }
}

/// `None` when there is no such target; it stays as it was.
fn replace(uri: &mut Uri, path_and_query: &str) -> Option<()> {
    // Neither `*` nor the target of CONNECT has room for a version (RFC 9112 §3.2).
    if !path_and_query.starts_with('/') {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    *uri = Uri::from_parts(parts).ok()?;
    Some(())
}

fn in_media_types(headers: &mut HeaderMap, parameter: &str, version: Version) -> Option<Version> {
    if !headers.contains_key(ACCEPT) {
        let _ = headers.try_insert(ACCEPT, HeaderValue::from_static("*/*"));
    }
    let mut own = false;
    for name in [ACCEPT, CONTENT_TYPE] {
        own |= !stamp_media_types(headers, &name, parameter, version);
    }
    (!own).then_some(version)
}

/// Adds the parameter to every media type of the field; to none when one of them has it already, when there is none, or
/// when the field cannot be read. Says whether the field, where there is one, carries the version now.
fn stamp_media_types(headers: &mut HeaderMap, name: &HeaderName, parameter: &str, version: Version) -> bool {
    let lines = headers.get_all(name);
    if lines.iter().next().is_none() {
        return true;
    }
    let Some(texts) = lines.iter().map(|line| line.to_str().ok()).collect::<Option<Vec<&str>>>() else {
        return false;
    };
    let all: Vec<&str> = texts.iter().flat_map(|text| members(text)).collect();
    if all.is_empty() || all.iter().any(|member| has_parameter(member, parameter)) {
        return false;
    }
    let stamped: Option<Vec<HeaderValue>> =
        texts.iter().map(|text| HeaderValue::from_str(&stamped(text, parameter, version)).ok()).collect();
    // A parameter that is no name.
    let Some(lines) = stamped else { return false };
    headers.remove(name);
    for line in lines {
        // There was room for it before.
        let _ = headers.try_append(name, line);
    }
    true
}

fn stamped(text: &str, parameter: &str, version: Version) -> String {
    let stamped = |member: &str| {
        // Parameters of a range stand before its weight (RFC 9110 §12.5.1).
        let (range, weight) = member.split_at(weight_at(member));
        format!("{range}; {parameter}={version}{weight}")
    };
    members(text).map(stamped).collect::<Vec<_>>().join(", ")
}

/// The members of a list, split at commas outside quoted strings; empty ones are none (RFC 9110 §5.6.1).
fn members(line: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let pieces = line.split(move |character| {
        let separates = character == ',' && !quoted;
        quoted ^= character == '"' && !escaped;
        escaped = quoted && character == '\\' && !escaped;
        separates
    });
    pieces.map(|piece| piece.trim_matches([' ', '\t'])).filter(|member| !member.is_empty())
}

//! A version written into a request. What is there already is never overwritten.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Uri, request::Parts};

use super::media::has_parameter;
use super::path::PathTemplate;
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

    /// A parameter of the query, such as `api-version`.
    pub fn query(name: impl Into<Box<str>>) -> Self {
        Self(Place::Query(name.into()))
    }

    /// A path segment `v2` right after `prefix`, for paths below it.
    pub fn path(prefix: &str) -> Self {
        Self(Place::Path(PathTemplate::below(prefix), prefix.trim_end_matches('/').into()))
    }

    /// A parameter of the media types in `Accept` and `Content-Type`, such as `v`.
    pub fn media_type(parameter: impl Into<Box<str>>) -> Self {
        Self(Place::MediaType(parameter.into()))
    }

    pub(crate) fn write(&self, parts: &mut Parts, version: Version) {
        match &self.0 {
            Place::Header(name) => {
                if !parts.headers.contains_key(name)
                    && let Ok(value) = HeaderValue::from_str(&version.to_string())
                {
                    // Fails for a map that is full, and then the request goes as it is.
                    let _ = parts.headers.try_insert(name, value);
                }
            }
            Place::Query(name) => {
                let query = parts.uri.query().unwrap_or_default();
                let present = query.split('&').any(|pair| pair.split('=').next() == Some(name));
                if !present {
                    let separator = match parts.uri.query() {
                        None => "?",
                        Some("") => "",
                        Some(_) => "&",
                    };
                    let before = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
                    let stamped = format!("{before}{separator}{name}={version}");
                    replace(&mut parts.uri, &stamped);
                }
            }
            Place::Path(template, prefix) => {
                let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
                let rest = path.strip_prefix(prefix.as_ref()).filter(|rest| rest.starts_with('/'));
                if let Some(rest) = rest
                    && template.find(parts.uri.path()).is_none()
                {
                    let stamped = format!("{prefix}/{}{rest}", template.write(version));
                    replace(&mut parts.uri, &stamped);
                }
            }
            Place::MediaType(parameter) => {
                if !parts.headers.contains_key(ACCEPT) {
                    let _ = parts.headers.try_insert(ACCEPT, HeaderValue::from_static("*/*"));
                }
                for name in [ACCEPT, CONTENT_TYPE] {
                    stamp_media_types(&mut parts.headers, &name, parameter, version);
                }
            }
        }
    }
}

fn replace(uri: &mut Uri, path_and_query: &str) {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path_and_query.parse().ok();
    if parts.path_and_query.is_some()
        && let Ok(stamped) = Uri::from_parts(parts)
    {
        *uri = stamped;
    }
}

/// Adds the parameter to a field that has one line and one media type without it; a list of ranges says which the
/// client wants, and is left to it.
fn stamp_media_types(headers: &mut HeaderMap, name: &HeaderName, parameter: &str, version: Version) {
    if headers.get_all(name).iter().count() != 1 {
        return;
    }
    let Some(value) = headers.get_mut(name) else { return };
    let Ok(text) = value.to_str() else { return };
    if text.contains(',') || has_parameter(text, parameter) {
        return;
    }
    if let Ok(stamped) = HeaderValue::from_str(&format!("{text}; {parameter}={version}")) {
        *value = stamped;
    }
}

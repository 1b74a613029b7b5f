//! A version in a segment of the path, and the path without it.

use http::Uri;
use http::uri::PathAndQuery;

use super::template::Template;
use super::version::Version;

/// Where in the path the version stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathTemplate {
    /// The segments before it, each with its slash: empty or `/api`.
    parent: Box<str>,
    segment: Template,
    pub(crate) anywhere: bool,
    pub(crate) strip: bool,
}

/// A segment that carries a version: from its slash to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Segment {
    /// No segment: a segment has a slash at least.
    pub(crate) const NONE: Self = Self { start: 0, end: 0 };

    pub(crate) fn is_none(self) -> bool {
        self.end == 0
    }
}

impl PathTemplate {
    /// From `/v{version}` or `/api/v{version}`. The segment with the version is the last one.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let slash = text.rfind('/')?;
        let (parent, segment) = text.split_at(slash);
        let proper = (parent.is_empty() || parent.starts_with('/'))
            && !parent.contains('{')
            && !text.contains(['?', '#']);
        let segment = Template::new(&segment[1..]).filter(|_| proper)?;
        Some(Self::of(parent.into(), segment, false))
    }

    /// A segment `v…` right below `parent`.
    pub(crate) fn below(parent: &str) -> Self {
        Self::of(prefix(parent), Template::prefix("v"), false)
    }

    fn of(parent: Box<str>, segment: Template, anywhere: bool) -> Self {
        Self { parent, segment, anywhere, strip: true }
    }

    /// The segment of another version in the place of one.
    pub(crate) fn write(&self, version: Version) -> String {
        self.segment.write(version)
    }

    /// From `v{version}`, for whichever segment of the path is the first to match.
    pub(crate) fn anywhere(text: &str) -> Option<Self> {
        let segment = Template::new(text).filter(|_| !text.contains(['/', '?', '#']))?;
        Some(Self::of(Box::default(), segment, true))
    }

    /// The same, where it is read at once.
    pub(crate) fn hurried(&self) -> Option<HurriedPath> {
        let letter = self.segment.letter().filter(|_| !self.anywhere)?;
        let letters = [letter.to_ascii_lowercase(), letter.to_ascii_uppercase()];
        Some(HurriedPath { parent: self.parent.clone(), letters })
    }

    /// The segment that carries a version, and the octets of the version.
    #[inline]
    pub(crate) fn find<'a>(&self, path: &'a str) -> Option<(Segment, &'a [u8])> {
        if self.anywhere { self.find_anywhere(path) } else { self.find_below(path.as_bytes()) }
    }

    #[inline(always)]
    pub(crate) fn find_below<'a>(&self, path: &'a [u8]) -> Option<(Segment, &'a [u8])> {
        let below = match &*self.parent {
            "" => path,
            parent => path.strip_prefix(parent.as_bytes())?,
        };
        let rest = below.strip_prefix(b"/")?;
        let length = rest.iter().position(|&octet| octet == b'/').unwrap_or(rest.len());
        let start = self.parent.len();
        let version = self.segment.capture(&rest[..length])?;
        Some((Segment { start, end: start + 1 + length }, version))
    }

    /// A segment elsewhere counts only when it is a version to the last octet: `/orders/v2x` names an order.
    fn find_anywhere<'a>(&self, path: &'a str) -> Option<(Segment, &'a [u8])> {
        let mut start = 0;
        for segment in path.as_bytes().strip_prefix(b"/")?.split(|&octet| octet == b'/') {
            let end = start + 1 + segment.len();
            if let Some(version) = self.segment.capture(segment)
                && Version::from_octets(version).is_ok()
            {
                return Some((Segment { start, end }, version));
            }
            start = end;
        }
        None
    }
}

/// The commonest of path templates: a letter and the version, below a fixed parent.
#[derive(Debug, Clone)]
pub(crate) struct HurriedPath {
    parent: Box<str>,
    /// In both cases.
    letters: [u8; 2],
}

impl HurriedPath {
    /// What follows the letter.
    #[inline(always)]
    fn after_letter<'a>(&self, uri: &'a Uri) -> Option<&'a [u8]> {
        let whole = uri.path_and_query()?.as_str().as_bytes();
        let below =
            if self.parent.is_empty() { whole } else { whole.strip_prefix(self.parent.as_bytes())? };
        match below {
            [b'/', letter, text @ ..] if self.letters.contains(letter) => Some(text),
            _ => None,
        }
    }

    /// What [`PathTemplate::find`] finds, where the version is one digit.
    #[inline(always)]
    pub(crate) fn find_digit(&self, uri: &Uri) -> Option<(u8, Segment)> {
        let ([digit @ b'0'..=b'9'] | [digit @ b'0'..=b'9', b'/' | b'?', ..]) = self.after_letter(uri)? else {
            return None;
        };
        let start = self.parent.len();
        Some((digit - b'0', Segment { start, end: start + 3 }))
    }

    /// What [`PathTemplate::find`] finds: the octets of the version, and the segment.
    pub(crate) fn find<'a>(&self, uri: &'a Uri) -> Option<(&'a [u8], Segment)> {
        let text = self.after_letter(uri)?;
        let length = text.iter().position(|octet| matches!(octet, b'/' | b'?')).unwrap_or(text.len());
        let start = self.parent.len();
        text.first()?.is_ascii_digit().then(|| (&text[..length], Segment { start, end: start + 2 + length }))
    }
}

/// The path without that segment, and the query, octet by octet. `None` when that is no path, which cannot happen for a
/// part of one.
#[inline(always)]
pub(crate) fn without(uri: &Uri, segment: Segment) -> Option<PathAndQuery> {
    let whole = uri.path_and_query()?.as_str().as_bytes();
    let rest = match (whole.get(..segment.start)?, whole.get(segment.end..)?) {
        ([], after @ [b'/', ..]) => after.to_vec(),
        ([], after) => [b"/", after].concat(),
        (before, after) => [before, after].concat(),
    };
    PathAndQuery::try_from(rest).ok()
}

/// Deeper paths have no links: a reference grows with each of their segments.
const DEEPEST: usize = 32;

/// A reference to the same path with another segment, from that path itself (RFC 3986 §4.2). Relative, because whoever
/// stands in front (a router that nests this one, a proxy) may have taken the start of the path away, and only the client
/// knows the whole.
pub(crate) fn sibling(path: &str, segment: Segment, name: &str) -> Option<String> {
    let (before, after) = (path.get(..segment.start)?, path.get(segment.end..)?);
    let up = after.matches('/').count();
    // What a target may not hold (RFC 8288 §3.1); dots, from which the client would count otherwise (RFC 3986 §5.2.4);
    // and `//host`, which some take for another host.
    let dots = |part: &str| matches!(part, "." | "..");
    if path.contains(['<', '>', '"']) || path.split('/').any(dots) || before.starts_with("//") || up > DEEPEST
    {
        return None;
    }
    let start = if up == 0 { "./".to_owned() } else { "../".repeat(up) };
    Some(format!("{start}{name}{after}"))
}

/// Gives a URI another path and query, and leaves scheme and authority as they are. The one it was, or `None` when the
/// new one is none, which cannot happen.
#[inline(always)]
pub(crate) fn replace(uri: &mut Uri, path_and_query: PathAndQuery) -> Option<Uri> {
    if uri.scheme().is_none() && uri.authority().is_none() {
        Some(std::mem::replace(uri, Uri::from(path_and_query)))
    } else {
        replace_path(uri, path_and_query)
    }
}

#[cold]
fn replace_path(uri: &mut Uri, path_and_query: PathAndQuery) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    Some(std::mem::replace(uri, Uri::from_parts(parts).ok()?))
}

/// A prefix of paths as it is compared: with a slash before it and none after it; empty for all paths.
pub(crate) fn prefix(text: &str) -> Box<str> {
    match text.trim_matches('/') {
        "" => Box::default(),
        inner => format!("/{inner}").into(),
    }
}

/// Whether the path, without that segment, is `prefix` or below it.
pub(crate) fn is_below(path: &str, segment: Option<Segment>, prefix: &str) -> bool {
    let (before, after) = match segment {
        Some(Segment { start, end }) => (&path[..start], &path[end..]),
        None => (path, ""),
    };
    let below = match prefix.strip_prefix(before) {
        Some(rest) => after.strip_prefix(rest),
        None => before.strip_prefix(prefix),
    };
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

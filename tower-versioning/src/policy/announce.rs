//! What an answer announces about a version: read strictly, because a warning that is wrong is worse than none.

use http::Uri;
use http::header::{GetAll, HeaderValue};

use super::moment::Moment;
use super::version::Version;

/// A field that may be absent or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read<T> {
    Absent,
    Malformed,
    Value(T),
}

impl<T> Read<T> {
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Malformed => None,
        }
    }

    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Malformed, Self::Value)
    }
}

/// The only line of a field; two lines are a list, and these fields are none (RFC 9651 §4.2).
fn only<'a>(lines: &GetAll<'a, HeaderValue>) -> Read<&'a str> {
    let mut lines = lines.iter();
    match (lines.next(), lines.next()) {
        (None, _) => Read::Absent,
        (Some(line), None) => Read::from(line.to_str().ok()),
        (Some(_), Some(_)) => Read::Malformed,
    }
}

/// `Deprecation` (RFC 9745 §2): a Date, with parameters that say nothing yet.
pub(crate) fn deprecation(lines: &GetAll<'_, HeaderValue>) -> Read<Moment> {
    match only(lines) {
        Read::Absent => Read::Absent,
        Read::Malformed => Read::Malformed,
        Read::Value(line) => Read::from(date_item(line)),
    }
}

/// `Sunset` (RFC 8594 §3): an HTTP-date.
pub(crate) fn sunset(lines: &GetAll<'_, HeaderValue>) -> Read<Moment> {
    match only(lines) {
        Read::Absent => Read::Absent,
        Read::Malformed => Read::Malformed,
        Read::Value(line) => Read::from(Moment::parse_http_date(line.trim_matches([' ', '\t']))),
    }
}

/// A structured-field item that is a Date (RFC 9651 §3.3.7, §4.2).
fn date_item(line: &str) -> Option<Moment> {
    let rest = line.trim_matches(' ').strip_prefix('@')?;
    let end = rest.bytes().position(|octet| !octet.is_ascii_digit() && octet != b'-').unwrap_or(rest.len());
    let (digits, parameters) = rest.split_at(end);
    let magnitude = digits.strip_prefix('-').unwrap_or(digits);
    if magnitude.is_empty() || magnitude.len() > 15 || !magnitude.bytes().all(|octet| octet.is_ascii_digit())
    {
        return None;
    }
    are_parameters(parameters.as_bytes()).then(|| digits.parse().ok().map(Moment::from_unix))?
}

/// `*( ";" *SP key [ "=" bare-item ] )` (RFC 9651 §3.1.2).
fn are_parameters(mut rest: &[u8]) -> bool {
    while let Some(after) = rest.strip_prefix(b";") {
        let after = &after[after.iter().take_while(|&&octet| octet == b' ').count()..];
        let is_key =
            |octet: &u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"_-.*".contains(octet);
        let key = after.iter().take_while(|octet| is_key(octet)).count();
        if key == 0 || !(after[0].is_ascii_lowercase() || after[0] == b'*') {
            return false;
        }
        rest = &after[key..];
        if let Some(value) = rest.strip_prefix(b"=") {
            let Some(length) = bare_item(value) else { return false };
            rest = &value[length..];
        }
    }
    rest.is_empty()
}

/// How long the bare item at the start of the text is.
fn bare_item(text: &[u8]) -> Option<usize> {
    let run =
        |from: usize, fits: fn(u8) -> bool| from + text[from..].iter().take_while(|&&o| fits(o)).count();
    let number = |octet: u8| octet.is_ascii_digit() || octet == b'.';
    match text.first()? {
        b'"' => {
            let mut escaped = false;
            let closing = text[1..].iter().position(|&octet| {
                let closes = octet == b'"' && !escaped;
                escaped = octet == b'\\' && !escaped;
                closes
            })?;
            Some(closing + 2)
        }
        b'?' => matches!(text.get(1)?, b'0' | b'1').then_some(2),
        b':' => text[1..].iter().position(|&octet| octet == b':').map(|closing| closing + 2),
        b'@' | b'-' => {
            Some(run(if text.get(1) == Some(&b'-') { 2 } else { 1 }, number)).filter(|length| *length > 1)
        }
        b'0'..=b'9' => Some(run(0, number)),
        b'a'..=b'z' | b'A'..=b'Z' | b'*' => {
            Some(run(1, |octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&octet)))
        }
        _ => None,
    }
}

/// A list of versions; empty and invalid members are passed over.
pub(crate) fn versions(lines: &GetAll<'_, HeaderValue>) -> Vec<Version> {
    let members = lines.iter().flat_map(|line| line.as_bytes().split(|&octet| octet == b','));
    members.filter_map(|member| Version::from_octets(member.trim_ascii()).ok()).collect()
}

/// A link of an answer (RFC 8288).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The target, resolved against the target of the request.
    pub target: String,
    /// The relations, in lower case.
    pub relations: Vec<String>,
}

/// The links of an answer, resolved; `None` when a line is malformed.
pub(crate) fn links(lines: &GetAll<'_, HeaderValue>, base: &Uri) -> Option<Vec<Link>> {
    let mut links = Vec::new();
    for line in lines {
        let mut rest = line.to_str().ok()?.trim_matches([' ', '\t', ',']);
        while !rest.is_empty() {
            let (link, after) = link(rest, base)?;
            links.push(link);
            rest = after.trim_start_matches([' ', '\t', ',']);
        }
    }
    Some(links)
}

/// One link and what follows it. Of several `rel` the first counts (RFC 8288 §3.3).
fn link<'a>(text: &'a str, base: &Uri) -> Option<(Link, &'a str)> {
    let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
    let mut relations: Option<Vec<String>> = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(parameter) = rest.strip_prefix(';') else { break };
        let parameter = parameter.trim_start_matches([' ', '\t']);
        let name = parameter.find(['=', ';', ',', ' ', '\t']).unwrap_or(parameter.len());
        let (name, after) = parameter.split_at(name);
        let after = after.trim_start_matches([' ', '\t']);
        let (value, after) = match after.strip_prefix('=') {
            None => (String::new(), after),
            Some(value) => value_of(value.trim_start_matches([' ', '\t']))?,
        };
        if name.eq_ignore_ascii_case("rel") && relations.is_none() {
            relations = Some(value.split_ascii_whitespace().map(str::to_ascii_lowercase).collect());
        }
        rest = after;
    }
    if !(rest.is_empty() || rest.starts_with(',')) {
        return None;
    }
    Some((Link { target: resolve(target, base), relations: relations.unwrap_or_default() }, rest))
}

/// A token or quoted string, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (index, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, &quoted[index + 1..])),
            _ => value.push(character),
        }
    }
    None
}

/// A reference resolved against the request's target (RFC 3986 §5.2).
fn resolve(reference: &str, base: &Uri) -> String {
    let scheme_end = reference.find([':', '/', '?', '#']).filter(|&end| reference.as_bytes()[end] == b':');
    if scheme_end.is_some_and(|end| end > 0) {
        return reference.to_owned();
    }
    let scheme = base.scheme_str().map_or_else(String::new, |scheme| format!("{scheme}:"));
    if reference.starts_with("//") {
        return format!("{scheme}{reference}");
    }
    let authority = base.authority().map_or_else(String::new, |authority| format!("{scheme}//{authority}"));
    let query = || base.query().map_or_else(String::new, |query| format!("?{query}"));
    let (path, after) = reference.split_at(reference.find(['?', '#']).unwrap_or(reference.len()));
    if path.is_empty() {
        let query = if after.starts_with('?') { String::new() } else { query() };
        return format!("{authority}{}{query}{after}", base.path());
    }
    let merged = if path.starts_with('/') {
        path.to_owned()
    } else {
        let folder = base.path().rfind('/').map_or("/", |slash| &base.path()[..=slash]);
        format!("{folder}{path}")
    };
    format!("{authority}{}{after}", without_dots(&merged))
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

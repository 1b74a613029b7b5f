//! What an answer announces about a version: read strictly, because a warning that is wrong is worse than none.

use http::Uri;
use http::header::{GetAll, HeaderValue};
use http::uri::Authority;

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
    let (digits, parameters) = rest.split_at(integer(rest.as_bytes())?);
    are_parameters(parameters.as_bytes()).then(|| digits.parse().ok().map(Moment::from_unix))?
}

/// `*( ";" *SP key [ "=" bare-item ] )` (RFC 9651 §3.1.2).
fn are_parameters(mut rest: &[u8]) -> bool {
    while let Some(after) = rest.strip_prefix(b";") {
        let after = &after[run(after, |octet| octet == b' ')..];
        let key = run(after, |o| o.is_ascii_lowercase() || o.is_ascii_digit() || b"_-.*".contains(&o));
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

/// How many octets at the start fit.
fn run(text: &[u8], fits: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|&&octet| fits(octet)).count()
}

/// How long the bare item at the start of the text is (RFC 9651 §3.3).
fn bare_item(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string(&text[1..]).map(|length| length + 1),
        b'%' => display_string(text[1..].strip_prefix(b"\"")?).map(|length| length + 2),
        b'?' => matches!(text.get(1)?, b'0' | b'1').then_some(2),
        b':' => {
            let inner = run(&text[1..], |octet| octet.is_ascii_alphanumeric() || b"+/=".contains(&octet));
            (text.get(inner + 1) == Some(&b':')).then_some(inner + 2)
        }
        b'@' => integer(&text[1..]).map(|length| length + 1),
        b'-' | b'0'..=b'9' => number(text),
        b'a'..=b'z' | b'A'..=b'Z' | b'*' => {
            Some(run(text, |octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&octet)))
        }
        _ => None,
    }
}

/// Up to the closing quote and with it; only a quote and a backslash may be escaped.
fn string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => matches!(text.get(at + 1)?, b'"' | b'\\').then_some(2)?,
            b' '..=b'~' => 1,
            _ => return None,
        };
    }
}

/// The same of a display string: percent signs begin two digits in lower case, and what they stand for is UTF-8 (RFC 9651
/// §4.2.10).
fn display_string(text: &[u8]) -> Option<usize> {
    let digit =
        |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f').then(|| char::from(octet).to_digit(16))?;
    let (mut at, mut shown) = (0, Vec::new());
    loop {
        let octet = *text.get(at)?;
        at += 1;
        match octet {
            b'"' => return std::str::from_utf8(&shown).is_ok().then_some(at),
            b'%' => {
                let (high, low) = (digit(*text.get(at)?)?, digit(*text.get(at + 1)?)?);
                shown.push(u8::try_from(high * 16 + low).ok()?);
                at += 2;
            }
            b' '..=b'~' => shown.push(octet),
            _ => return None,
        }
    }
}

/// At most 15 digits, perhaps with a sign.
fn integer(text: &[u8]) -> Option<usize> {
    let sign = usize::from(text.first() == Some(&b'-'));
    let digits = run(&text[sign..], |octet| octet.is_ascii_digit());
    (1..=15).contains(&digits).then_some(sign + digits)
}

/// An integer, or a decimal of at most twelve and three digits.
fn number(text: &[u8]) -> Option<usize> {
    let whole = integer(text)?;
    if text.get(whole) != Some(&b'.') {
        return Some(whole);
    }
    let digits = whole - usize::from(text[0] == b'-');
    let decimals = run(&text[whole + 1..], |octet| octet.is_ascii_digit());
    (digits <= 12 && (1..=3).contains(&decimals)).then_some(whole + 1 + decimals)
}

/// A list of versions; empty and invalid members are passed over.
pub(crate) fn versions<'a>(lines: &GetAll<'a, HeaderValue>) -> impl Iterator<Item = Version> + use<'a> {
    let members = lines.iter().flat_map(|line| line.as_bytes().split(|&octet| octet == b','));
    members.filter_map(|member| Version::from_octets(member.trim_ascii()).ok())
}

/// A link of an answer (RFC 8288).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The target, resolved against the target of the request.
    pub target: String,
    /// The relations, in lower case.
    pub relations: Vec<String>,
}

/// The links of an answer, resolved, and how many lines are malformed; those say nothing. A link without a relation is
/// none (RFC 8288 §3.3), and one with an anchor is about something else (§3.2).
pub(crate) fn links(lines: &GetAll<'_, HeaderValue>, base: &Uri) -> (Vec<Link>, usize) {
    let (mut links, mut malformed) = (Vec::new(), 0);
    for line in lines {
        // Quoted strings may hold octets beyond ASCII (RFC 9110 §5.6.4); what they say is not looked at.
        match links_of(&String::from_utf8_lossy(line.as_bytes()), base) {
            Some(of_line) => links.extend(of_line),
            None => malformed += 1,
        }
    }
    (links, malformed)
}

fn links_of(line: &str, base: &Uri) -> Option<Vec<Link>> {
    let mut links = Vec::new();
    let mut rest = line.trim_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (found, after) = link(rest, base)?;
        links.extend(found);
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    Some(links)
}

/// One link, if it counts, and what follows it. Of several `rel` the first counts (RFC 8288 §3.3).
fn link<'a>(text: &'a str, base: &Uri) -> Option<(Option<Link>, &'a str)> {
    let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
    if !target.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'<' | b'"')) {
        return None;
    }
    let (mut relations, mut anchored): (Option<Vec<String>>, bool) = (None, false);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(parameter) = rest.strip_prefix(';') else { break };
        let parameter = parameter.trim_start_matches([' ', '\t']);
        if parameter.is_empty() || parameter.starts_with([';', ',']) {
            // One that is empty (RFC 8288 appendix B.3).
            rest = parameter;
            continue;
        }
        let (name, after) = token(parameter)?;
        let after = after.trim_start_matches([' ', '\t']);
        let (value, after) = match after.strip_prefix('=') {
            None => (String::new(), after),
            Some(value) => value_of(value.trim_start_matches([' ', '\t']))?,
        };
        anchored |= name.eq_ignore_ascii_case("anchor");
        if name.eq_ignore_ascii_case("rel") && relations.is_none() {
            relations = Some(value.split_ascii_whitespace().map(str::to_ascii_lowercase).collect());
        }
        rest = after;
    }
    if !(rest.is_empty() || rest.starts_with(',')) {
        return None;
    }
    let relations = relations.filter(|relations| !relations.is_empty() && !anchored);
    Some((relations.map(|relations| Link { target: resolve(target, base), relations }), rest))
}

/// A token (RFC 9110 §5.6.2), and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let length = run(text.as_bytes(), |o| o.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&o));
    (length > 0).then(|| text.split_at(length))
}

/// A token or quoted string, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
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
    let scheme = run(reference.as_bytes(), |o| o.is_ascii_alphanumeric() || b"+-.".contains(&o));
    if reference.starts_with(|first: char| first.is_ascii_alphabetic())
        && reference[scheme..].starts_with(':')
    {
        return reference.to_owned();
    }
    let scheme = base.scheme_str().map_or_else(String::new, |scheme| format!("{scheme}:"));
    if reference.starts_with("//") {
        return format!("{scheme}{reference}");
    }
    // Without the secrets that may stand before the host: links are told, and RFC 3986 §7.5 has them not be shown.
    let host = |authority: &Authority| authority.as_str().rsplit('@').next().map(str::to_owned);
    let host = base.authority().and_then(host);
    let authority = host.map_or_else(String::new, |host| format!("{scheme}//{host}"));
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

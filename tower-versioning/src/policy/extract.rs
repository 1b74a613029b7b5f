//! What one source says about the version a request means.

use std::cell::Cell;

use http::Uri;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::template::Template;
use super::version::{ParseVersionError, Version};

/// Longest piece of a request kept for the answer to it, in octets.
const KEPT: usize = 512;

/// What a source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Absent,
    Version(Version),
    /// There is something, and it is no version.
    Malformed,
    /// Several versions.
    Ambiguous,
}

/// What stands where a version should, noted for the answer only when there is none.
pub(crate) type Note = Option<Box<str>>;

impl Found {
    #[cold]
    pub(crate) fn malformed(text: &[u8], note: &mut Note) -> Self {
        *note = Some(kept(text));
        Self::Malformed
    }

    #[cold]
    pub(crate) fn ambiguous(text: &[u8], note: &mut Note) -> Self {
        *note = Some(kept(text));
        Self::Ambiguous
    }

    #[inline]
    pub(crate) fn parse(text: &[u8], note: &mut Note) -> Self {
        match Version::from_octets(text) {
            Ok(version) => Self::Version(version),
            Err(ParseVersionError::Empty) => Self::Absent,
            Err(_) => Self::malformed(text, note),
        }
    }

    /// One more value from the same place: equal ones collapse, an empty one says nothing.
    fn and(self, text: &[u8], note: &mut Note) -> Self {
        if matches!(self, Self::Malformed | Self::Ambiguous) {
            return self;
        }
        match (self, Self::parse(text, note)) {
            (Self::Version(one), Self::Version(other)) if one == other => self,
            (Self::Version(_), Self::Version(_)) => Self::ambiguous(text, note),
            (found, Self::Absent) => found,
            (_, next) => next,
        }
    }
}

fn kept(text: &[u8]) -> Box<str> {
    String::from_utf8_lossy(&text[..text.len().min(KEPT)]).into()
}

/// A header field. Several lines, and the members of a list, are several values (RFC 9110 §5.3).
#[inline]
pub(crate) fn header(headers: &HeaderMap, name: &HeaderName, note: &mut Note) -> Found {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else { return Found::Absent };
    if let Ok(version) = Version::from_octets(line.as_bytes())
        && lines.next().is_none()
    {
        return Found::Version(version);
    }
    header_list(headers, name, note)
}

/// Up to so many fields are looked through one by one, which takes less time than to hash a name.
const FEW: usize = 16;

thread_local! {
    /// The place in which a field was found last: the next request of the same client has it there too. It saves a walk and
    /// changes no answer. Of the thread, because a place in the service would be lost with its clones, which servers make
    /// for each request, and one that threads share would be written by all of them.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// The line of a field, where no field has two. `is` says whether a name is `name`: where that is a constant, comparing
/// with it takes a third less.
#[inline(always)]
pub(crate) fn only_line<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    is: impl Fn(&HeaderName) -> bool,
) -> Option<&'a HeaderValue> {
    // As many lines as names.
    if headers.len() != headers.keys_len() {
        return None;
    }
    if headers.keys_len() > FEW {
        return headers.get(name);
    }
    // Names are walked faster than lines, and where each has one line their places are the same.
    let last = LAST.get();
    let at = if headers.keys().nth(last).is_some_and(&is) {
        last
    } else {
        let at = headers.keys().position(is)?;
        LAST.set(at);
        at
    };
    headers.values().nth(at)
}

/// `Accept` and `Content-Type`; `None` where any field has two lines.
#[inline(always)]
pub(crate) fn media_types(headers: &HeaderMap) -> Option<[Option<&HeaderValue>; 2]> {
    if headers.len() != headers.keys_len() {
        return None;
    }
    if headers.keys_len() > FEW {
        return Some([headers.get(ACCEPT), headers.get(CONTENT_TYPE)]);
    }
    let mut values = [None; 2];
    for (field, value) in headers {
        if *field == ACCEPT {
            values[0] = Some(value);
        } else if *field == CONTENT_TYPE {
            values[1] = Some(value);
        }
    }
    Some(values)
}

fn header_list(headers: &HeaderMap, name: &HeaderName, note: &mut Note) -> Found {
    let lines = headers.get_all(name).into_iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|&octet| octet == b','));
    members.fold(Found::Absent, |found, member| found.and(member.trim_ascii(), note))
}

/// A parameter of the query; an empty one says nothing.
pub(crate) fn query(query: &str, name: &str, note: &mut Note) -> Found {
    let mut found = Found::Absent;
    for pair in query.as_bytes().split(|&octet| octet == b'&') {
        let equals = pair.iter().position(|&octet| octet == b'=').unwrap_or(pair.len());
        if !is_name(&pair[..equals], name.as_bytes()) {
            continue;
        }
        let value = pair.get(equals + 1..).unwrap_or_default();
        found = if value.iter().any(|octet| matches!(octet, b'%' | b'+')) {
            found.and(&decoded(value), note)
        } else {
            found.and(value, note)
        };
    }
    found
}

/// Whether that is the name, perhaps encoded.
pub(crate) fn is_name(text: &[u8], name: &[u8]) -> bool {
    text == name || (text.contains(&b'%') && decoded(text) == name)
}

/// Percent-decoding (RFC 3986 §2.1), with the plus sign of forms; what is no escape stays as it is.
fn decoded(text: &[u8]) -> Vec<u8> {
    let hex = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [b'%', high, low, after @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                octets.extend(hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low));
                after
            }
            [b'+', after @ ..] => {
                octets.push(b' ');
                after
            }
            [octet, after @ ..] => {
                octets.push(*octet);
                after
            }
            [] => return octets,
        };
    }
}

/// The host of the target, or of the `Host` field when the target has none (RFC 9110 §7.2).
pub(crate) fn host(uri: &Uri, headers: &HeaderMap, template: &Template, note: &mut Note) -> Found {
    let host = if let Some(host) = uri.host() {
        host.as_bytes()
    } else {
        let mut lines = headers.get_all(http::header::HOST).iter();
        let Some(host) = lines.next() else { return Found::Absent };
        if lines.next().is_some() {
            return Found::ambiguous(host.as_bytes(), note);
        }
        let host = host.as_bytes();
        host.iter().rposition(|&octet| octet == b':').map_or(host, |colon| &host[..colon])
    };
    let host = host.strip_suffix(b".").unwrap_or(host);
    template.capture(host).map_or(Found::Absent, |text| Found::parse(text, note))
}

/// The package of a gRPC method: `/shop.orders.v1.Orders/Get` means version 1, `v1beta2` means `1-beta2`.
pub(crate) fn grpc_package(path: &str, note: &mut Note) -> Found {
    let Some((service, _)) = path.strip_prefix('/').and_then(|rest| rest.split_once('/')) else {
        return Found::Absent;
    };
    let Some((package, _)) = service.rsplit_once('.') else { return Found::Absent };
    let is_version = |part: &&str| matches!(part.as_bytes(), [b'v', digit, ..] if digit.is_ascii_digit());
    let Some(part) = package.rsplit('.').find(is_version) else { return Found::Absent };
    let text = &part[1..];
    match text.find(|character: char| !character.is_ascii_digit()) {
        None => Found::parse(text.as_bytes(), note),
        Some(channel) => {
            let (number, channel) = text.split_at(channel);
            match Version::from_octets(format!("{number}-{channel}").as_bytes()) {
                Ok(version) => Found::Version(version),
                Err(_) => Found::malformed(part.as_bytes(), note),
            }
        }
    }
}

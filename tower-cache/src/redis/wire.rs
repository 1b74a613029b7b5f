//! The form in which responses are stored: version, generations and time in front, then what the cache knows of the
//! response, then its content where that is small.
//!
//! Everything that comes back is checked: what another version wrote, and rubbish, is `None`, which is a miss.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::key::CacheKey;
use crate::policy::freshness::Freshness;
use crate::policy::range::Part;
use crate::policy::vary::Variant;
use crate::store::{Entry, Fields, Head, Kept, Pieces, Stamp, StoredBody};

/// What is written now, and all that is read. A change of the form changes it; processes of both versions then share a
/// server without understanding each other, and each replaces what it cannot read.
pub(super) const VERSION: u8 = 2;

/// Version, stamp (16 octets), when it was received (milliseconds since 1970, 8 octets), and in how many pieces (4) of
/// which name (8) its content lies elsewhere: at fixed places, for scripts to compare.
const FRONT: usize = 1 + 16 + 8 + 4 + 8;

/// Contents up to this size lie beside their fields: one answer of the server brings both.
pub(super) const INLINE: u64 = 16 << 10;

pub(super) struct Stored {
    pub(super) entry: Entry,
    pub(super) received: u64,
}

/// The two moments at which something is written or read.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: SystemTime,
    pub(super) monotonic: Instant,
}

impl Now {
    fn milliseconds(time: SystemTime) -> u64 {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What stays the same of a variant when its response changes: what the field of the record is called.
pub(super) fn variant(entry: &Entry) -> Vec<u8> {
    let mut out = Writer::default();
    out.bool(entry.head.part.is_some());
    entry.head.variant.each(|name, value| {
        out.bytes(name.as_bytes());
        out.optional(value);
    });
    out.0
}

pub(super) fn encode(entry: &Entry, stamp: Stamp, now: Now) -> Vec<u8> {
    let head = &*entry.head;
    let resident = now.monotonic.saturating_duration_since(head.stored_at);
    let received = now.wall.checked_sub(resident).unwrap_or(UNIX_EPOCH);
    let mut out = Writer::default();
    out.0.push(VERSION);
    out.0.extend_from_slice(&stamp.get().to_be_bytes());
    out.0.extend_from_slice(&Now::milliseconds(received).to_be_bytes());
    let kept = entry.body.kept();
    out.0.extend_from_slice(&kept.map_or(0, |kept| kept.pieces).to_be_bytes());
    out.0.extend_from_slice(&kept.map_or(0, |kept| kept.id).to_be_bytes());
    out.number(head.tags.len() as u64);
    for tag in &head.tags {
        out.bytes(tag.as_bytes());
    }
    out.bytes(head.key.as_bytes());
    out.number(head.key.uri().len() as u64);
    out.number(u64::from(head.status.as_u16()));
    out.bool(head.fields.has_upstream_status());
    out.bool(head.own_etag);
    out.freshness(&head.freshness);
    let mut names = 0;
    head.variant.each(|_, _| names += 1);
    out.number(names);
    head.variant.each(|name, value| {
        out.bytes(name.as_bytes());
        out.optional(value);
    });
    out.bool(head.part.is_some());
    if let Some(part) = &head.part {
        let (requested, first, total) = part.raw();
        out.bytes(requested.as_bytes());
        out.number(first);
        out.number(total);
    }
    out.fields(head.headers());
    out.bool(entry.body.trailers().is_some());
    if let Some(trailers) = entry.body.trailers() {
        out.fields(trailers);
    }
    out.number(entry.body.len());
    if kept.is_none() {
        for chunk in entry.body.chunks() {
            out.0.extend_from_slice(chunk);
        }
    }
    out.0
}

pub(super) fn decode(value: &Bytes, now: Now) -> Option<Stored> {
    let mut input = Reader { all: value, at: 0 };
    if input.take(1)? != [VERSION] {
        return None;
    }
    let stamp = Stamp::new(u128::from_be_bytes(input.take(16)?.try_into().ok()?));
    let received = u64::from_be_bytes(input.take(8)?.try_into().ok()?);
    let kept = front(value.get(FRONT - 12..)?);
    input.at = FRONT;
    let tags = input.tags()?;
    let key = input.bytes()?;
    let uri = usize::try_from(input.number()?).ok()?;
    let key = CacheKey::from_bytes(key, uri)?;
    let status = StatusCode::from_u16(u16::try_from(input.number()?).ok()?).ok()?;
    let upstream_status = input.bool()?;
    let own_etag = input.bool()?;
    let mut freshness = input.freshness()?;
    // Clocks of two machines differ a little: what comes from the future came just now.
    let resident = Now::milliseconds(now.wall).saturating_sub(received);
    freshness.initial_age = freshness.initial_age.saturating_add(Duration::from_millis(resident));
    let (variant, part) = (input.variant()?, input.part()?);
    let headers = input.fields()?;
    let trailers = if input.bool()? { Some(input.fields()?) } else { None };
    let len = input.number()?;
    let content = input.rest();
    let inline = kept.is_none() && content.len() as u64 == len;
    let elsewhere = kept.as_ref().is_some_and(|kept| content.is_empty() && u64::from(kept.pieces) <= len);
    if !inline && !elsewhere {
        return None;
    }
    let chunks = Box::from_iter(Some(content).filter(|content| !content.is_empty()));
    let head = Head {
        key,
        variant,
        status,
        fields: Fields::ready(headers, upstream_status),
        freshness,
        part,
        own_etag,
        tags,
        stored_at: now.monotonic,
    };
    let body = StoredBody::new(Pieces { chunks, len, trailers, kept });
    let entry = Entry::new(head.into(), body, stamp);
    Some(Stored { entry, received })
}

/// A moment, for the door.
fn some_time() -> Now {
    Now { wall: UNIX_EPOCH + Duration::from_secs(1_700_000_000), monotonic: crate::cache::now() }
}

/// For the door: what is understood is the same after it has been written and read again.
pub(crate) fn check(value: &[u8]) -> bool {
    let now = some_time();
    let Some(read) = decode(&Bytes::copy_from_slice(value), now) else { return false };
    let written = Bytes::from(encode(&read.entry, read.entry.stamp(), now));
    let again = decode(&written, now).map(|read| encode(&read.entry, read.entry.stamp(), now));
    assert_eq!(again.as_deref(), Some(&written[..]));
    true
}

/// For the door: a response as it is written.
pub(crate) fn sample(fields: &[(HeaderName, HeaderValue)], vary: &[u8], content: &[u8]) -> Vec<u8> {
    let now = some_time();
    let mut headers = HeaderMap::from_iter(fields.iter().cloned());
    let request = headers.clone();
    headers.extend(HeaderValue::from_bytes(vary).map(|vary| (http::header::VARY, vary)));
    let freshness = Freshness {
        initial_age: Duration::from_secs(1),
        lifetime: Duration::from_secs(60),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        stale_if_unreachable: Duration::ZERO,
        always_validate: false,
        never_stale: true,
    };
    let Some(key) = CacheKey::of_uri(&http::Uri::from_static("http://a.example/orders")) else {
        return Vec::new();
    };
    let head = Head {
        key,
        variant: Variant::of(&request, &headers).unwrap_or_default(),
        status: StatusCode::OK,
        freshness,
        part: None,
        own_etag: false,
        tags: Box::new(["a".into()]),
        stored_at: now.monotonic,
        fields: Fields::ready(headers, false),
    };
    let (len, chunks) = (content.len() as u64, Box::new([Bytes::copy_from_slice(content)]));
    let body = StoredBody::new(Pieces { len, chunks, trailers: None, kept: None });
    encode(&Entry::new(head.into(), body, Stamp::new(5)), Stamp::new(5), now)
}

/// Where a content lies, by the last 12 octets of the front.
pub(super) fn front(octets: &[u8]) -> Option<Kept> {
    let pieces = u32::from_be_bytes(octets.get(..4)?.try_into().ok()?);
    let id = u64::from_be_bytes(octets.get(4..12)?.try_into().ok()?);
    (pieces > 0 && pieces <= MAX_PIECES).then_some(Kept { id, pieces })
}

/// More than any entry has: rubbish must not send anybody to fetch for ever.
const MAX_PIECES: u32 = 1 << 16;

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn bool(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    /// Seven bits in each octet, the low ones first.
    fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        self.bool(bytes.is_some());
        if let Some(bytes) = bytes {
            self.bytes(bytes);
        }
    }

    fn duration(&mut self, duration: Duration) {
        self.number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    fn freshness(&mut self, freshness: &Freshness) {
        self.duration(freshness.initial_age);
        self.duration(freshness.lifetime);
        self.duration(freshness.stale_while_revalidate);
        self.duration(freshness.stale_if_error);
        self.duration(freshness.stale_if_unreachable);
        self.bool(freshness.always_validate);
        self.bool(freshness.never_stale);
    }

    fn fields(&mut self, fields: &HeaderMap) {
        self.number(fields.len() as u64);
        for (name, value) in fields {
            self.bytes(name.as_str().as_bytes());
            self.bytes(value.as_bytes());
        }
    }
}

struct Reader<'a> {
    all: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.all.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn bool(&mut self) -> Option<bool> {
        match self.take(1)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let octet = self.take(1)?[0];
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if octet & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// How many things follow: no more than there are octets left.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.all.len() - self.at).then_some(count)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count)
    }

    fn tags(&mut self) -> Option<Box<[Box<str>]>> {
        let mut tags: Vec<Box<str>> = Vec::new();
        for _ in 0..self.count()? {
            tags.push(std::str::from_utf8(self.bytes()?).ok()?.into());
        }
        Some(tags.into())
    }

    fn variant(&mut self) -> Option<Variant> {
        let mut variant = Vec::new();
        for _ in 0..self.count()? {
            let name = HeaderName::from_bytes(self.bytes()?).ok()?;
            let value = if self.bool()? { Some(Bytes::copy_from_slice(self.bytes()?)) } else { None };
            variant.push((name, value));
        }
        Some(Variant::from_raw(variant))
    }

    /// What it is part of, if it is; `None` where that cannot be read.
    fn part(&mut self) -> Option<Option<Part>> {
        if !self.bool()? {
            return Some(None);
        }
        let requested = HeaderValue::from_bytes(self.bytes()?).ok()?;
        Part::from_raw(requested, self.number()?, self.number()?).map(Some)
    }

    fn rest(&mut self) -> Bytes {
        let rest = self.all.slice(self.at..);
        self.at = self.all.len();
        rest
    }

    fn duration(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_millis)
    }

    fn freshness(&mut self) -> Option<Freshness> {
        Some(Freshness {
            initial_age: self.duration()?,
            lifetime: self.duration()?,
            stale_while_revalidate: self.duration()?,
            stale_if_error: self.duration()?,
            stale_if_unreachable: self.duration()?,
            always_validate: self.bool()?,
            never_stale: self.bool()?,
        })
    }

    fn fields(&mut self) -> Option<HeaderMap> {
        let count = self.count()?;
        let mut fields = HeaderMap::with_capacity(count.min(128));
        for _ in 0..count {
            let name = HeaderName::from_bytes(self.bytes()?).ok()?;
            let value = HeaderValue::from_bytes(self.bytes()?).ok()?;
            fields.try_append(name, value).ok()?;
        }
        Some(fields)
    }
}

/// A content cut into pieces of this size: none of them keeps the server from others for long.
const PIECE: usize = 256 << 10;

/// The pieces a content is stored in.
pub(super) fn pieces(chunks: &[Bytes]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut open = BytesMut::new();
    for chunk in chunks {
        let mut rest = chunk.clone();
        while open.len() + rest.len() >= PIECE {
            let taken = rest.split_to(PIECE - open.len());
            if open.is_empty() {
                pieces.push(taken);
            } else {
                open.extend_from_slice(&taken);
                pieces.push(std::mem::take(&mut open).freeze());
            }
        }
        open.extend_from_slice(&rest);
    }
    if !open.is_empty() {
        pieces.push(open.freeze());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, header};

    use super::*;
    use crate::key::Partition;

    fn now() -> Now {
        Now { wall: UNIX_EPOCH + Duration::from_secs(1_000_000), monotonic: Instant::now() }
    }

    /// A response with something of everything; `seed` decides how much.
    fn entry(mut seed: u64) -> Entry {
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut bytes = b"http://example.com/a".to_vec();
        let uri = bytes.len();
        if next(2) == 0 {
            Partition { bytes: &mut bytes }.add("tenant");
        }
        let request = Request::get("/").header("accept", "a, b").body(()).unwrap();
        let mut headers = HeaderMap::new();
        for n in 0..next(20) {
            headers.append(header::CACHE_CONTROL, HeaderValue::from(n));
        }
        headers.insert(header::VARY, HeaderValue::from_static("accept, cookie"));
        let content = Bytes::from(vec![b'x'; next(100) as usize]);
        let (kept, id) = (next(3) == 0 && !content.is_empty(), next(1 << 30));
        let kept = kept.then_some(Kept { id, pieces: 1 });
        let part = (next(2) == 0).then(|| Part::from_raw(HeaderValue::from_static("bytes=1-2"), 1, 300));
        let seconds = |n| Duration::from_secs(n);
        let head = Head {
            key: CacheKey::from_bytes(&bytes, uri).unwrap(),
            variant: Variant::of(request.headers(), &headers).unwrap(),
            status: StatusCode::from_u16(200 + next(300) as u16).unwrap(),
            freshness: Freshness {
                initial_age: seconds(next(100)),
                lifetime: seconds(next(u64::from(u32::MAX))),
                stale_while_revalidate: seconds(next(10)),
                stale_if_error: seconds(next(1000)),
                stale_if_unreachable: seconds(next(100_000)),
                always_validate: next(2) == 0,
                never_stale: next(2) == 0,
            },
            part: part.flatten(),
            own_etag: next(2) == 0,
            tags: (0..next(3)).map(|n| n.to_string().into()).collect(),
            stored_at: now().monotonic,
            fields: Fields::ready(headers, next(2) == 0),
        };
        let trailers = (next(2) == 0).then(|| head.headers().clone());
        let body = Pieces { len: content.len() as u64, chunks: [content].into(), trailers, kept };
        Entry::new(head.into(), StoredBody::new(body), Stamp::new(u128::from(next(1 << 30)) << 70 | 5))
    }

    fn same(one: &Entry, other: &Entry) {
        let (a, b) = (&one.head, &other.head);
        assert_eq!((&a.key, &a.variant, a.status, a.headers()), (&b.key, &b.variant, b.status, b.headers()));
        assert_eq!(
            (a.freshness, &a.part, a.fields.has_upstream_status(), a.own_etag, &a.tags),
            (b.freshness, &b.part, b.fields.has_upstream_status(), b.own_etag, &b.tags)
        );
        assert_eq!(
            (one.stamp(), one.body.len(), one.body.trailers()),
            (other.stamp(), other.body.len(), other.body.trailers())
        );
        assert_eq!(one.body.kept(), other.body.kept());
        if one.body.kept().is_none() {
            assert_eq!(one.body.chunks().concat(), other.body.chunks().concat());
        }
    }

    fn runs() -> u64 {
        if std::env::var_os("TOWER_ASSURE").is_some() { 20_000 } else { 50 }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_longer_or_newer() {
        for seed in 0..runs() {
            let now = now();
            let mut entry = entry(seed);
            Arc::get_mut(&mut entry.head).unwrap().stored_at = now.monotonic;
            let written = Bytes::from(encode(&entry, entry.stamp(), now));
            let read = decode(&written, now).unwrap();
            same(&entry, &read.entry);
            assert_eq!(read.received, 1_000_000_000);
            assert_eq!(front(&written[FRONT - 12..]), entry.body.kept().cloned());
            for end in 0..written.len() {
                assert!(decode(&written.slice(..end), now).is_none(), "{end} of {}", written.len());
            }
            assert!(decode(&[&written[..], b"x"].concat().into(), now).is_none());
            assert!(decode(&[&[VERSION + 1], &written[1..]].concat().into(), now).is_none());
        }
    }

    #[test]
    fn rubbish_is_read_or_not_and_never_a_panic() {
        let mut read = 0;
        for seed in 0..runs() {
            let entry = entry(seed);
            let mut written = encode(&entry, entry.stamp(), now());
            for at in 0..written.len() {
                let good = written[at];
                for bad in [0, 0xff, good ^ 1, good.wrapping_add(seed as u8)] {
                    written[at] = bad;
                    read += usize::from(decode(&Bytes::copy_from_slice(&written), now()).is_some());
                }
                written[at] = good;
            }
        }
        assert!(read > 0, "some octets are values");
    }

    #[test]
    fn time_in_the_store_is_age() {
        let (now, entry) = (now(), entry(1));
        let written = Bytes::from(encode(&entry, entry.stamp(), now));
        let later = Now { wall: now.wall + Duration::from_secs(30), monotonic: now.monotonic };
        let age = |at| decode(&written, at).unwrap().entry.head.freshness.initial_age;
        assert_eq!(age(later), age(now) + Duration::from_secs(30));
        let earlier = Now { wall: now.wall - Duration::from_secs(30), monotonic: now.monotonic };
        assert_eq!(age(earlier), age(now), "a clock that is behind");
    }

    #[test]
    fn pieces_are_all_of_it() {
        let chunks: Vec<Bytes> =
            [PIECE * 2 + 5, 1, PIECE - 6, 3, 0, PIECE].iter().map(|len| vec![b'x'; *len].into()).collect();
        let pieces = pieces(&chunks);
        assert_eq!(pieces.concat(), chunks.concat());
        assert!(pieces[..pieces.len() - 1].iter().all(|piece| piece.len() == PIECE));
    }
}

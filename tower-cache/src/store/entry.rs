//! Stored responses.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::{Fields, Stamp, fields};
use crate::key::CacheKey;
use crate::policy::freshness::Freshness;
use crate::policy::range::Part;
use crate::policy::vary::Variant;

/// A complete response as it is stored. Cheap to clone: content and fields are shared.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(crate) head: Arc<Head>,
    pub(crate) body: StoredBody,
    pub(crate) stamp: Stamp,
}

/// All of a response but its content.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) key: CacheKey,
    pub(crate) variant: Variant,
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) freshness: Freshness,
    /// It is part of something: a 206.
    pub(crate) part: Option<Part>,
    /// Its `ETag` is this cache's own: good for clients, and unknown to the origin.
    pub(crate) own_etag: bool,
    /// By which it can be purged.
    pub(crate) tags: Box<[Box<str>]>,
    /// When it was received.
    pub(crate) stored_at: Instant,
}

/// Content and trailers.
#[derive(Debug, Clone)]
pub(crate) enum StoredBody {
    /// All of it is in one piece: nearly always.
    Whole(Bytes),
    Pieces(Arc<Pieces>),
}

/// A content in any number of pieces, and what belongs to it.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) chunks: Box<[Bytes]>,
    pub(crate) len: u64,
    pub(crate) trailers: Option<HeaderMap>,
    /// Where the store has it, if that is not in `chunks` alone.
    pub(crate) kept: Option<Kept>,
}

/// Where a store keeps a content that it writes and reads by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The store's own name for it.
    pub(crate) id: u64,
    /// In so many pieces.
    pub(crate) pieces: u32,
}

impl Entry {
    pub(crate) fn new(head: Arc<Head>, body: StoredBody, stamp: Stamp) -> Self {
        Self { head, body, stamp }
    }

    /// The same content with other fields.
    pub(crate) fn with_head(&self, head: Arc<Head>, stamp: Stamp) -> Self {
        Self { head, stamp, ..self.clone() }
    }

    /// What it is found by.
    #[must_use]
    pub fn key(&self) -> &CacheKey {
        &self.head.key
    }

    /// The stamp of the lookup before it was fetched.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// With another stamp.
    pub(crate) fn stamped(&self, stamp: Stamp) -> Self {
        Self { stamp, ..self.clone() }
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Its fields, without those of the connection.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    /// Its content.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        self.body.chunks()
    }

    /// The tags by which it can be purged.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.head.tags.iter().map(|tag| &**tag)
    }

    /// Whether its content is still with the store, and to be [loaded](super::Store::load).
    #[must_use]
    pub fn is_detached(&self) -> bool {
        let StoredBody::Pieces(pieces) = &self.body else { return false };
        pieces.kept.is_some() && pieces.chunks.is_empty() && pieces.len > 0
    }

    /// See [`Head::warm`].
    pub(super) fn warm(&self) {
        if let StoredBody::Whole(content) = &self.body {
            black_box(content.is_unique());
        }
    }

    /// Its trailers.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.body.trailers()
    }

    /// Whether it is part of something, and the request asks for what is in it.
    pub(crate) fn is_part_for(&self, request: &HeaderMap, now: fn() -> std::time::SystemTime) -> bool {
        let part = self.head.part.as_ref();
        part.and_then(|part| part.select(request, self.head.headers(), self.body.len(), now)).is_some()
    }

    /// Whether both answer the same requests, so that one takes the place of the other.
    #[must_use]
    pub fn same_variant(&self, other: &Self) -> bool {
        self.head.variant == other.head.variant
            && self.head.key == other.head.key
            && self.head.part.is_some() == other.head.part.is_some()
    }

    /// Octets it takes: content, fields, key, tags, what it varies by, and an estimate of what surrounds them.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let fields = self.head.fields.weight() + self.body.trailers().map_or(0, fields::weight);
        let chunks = self.body.chunks().iter().map(|chunk| chunk_weight(chunk.len())).sum::<usize>();
        // Each has a key of its own, though all of a record are equal.
        let tags = self.head.tags.iter().map(|tag| tag.len() + TAG_OVERHEAD).sum::<usize>();
        let part = self.head.part.as_ref().map_or(0, Part::weight);
        let names = self.head.key.as_bytes().len() + self.head.variant.weight() + tags + part;
        (chunks + fields + names + ENTRY_OVERHEAD) as u64
    }
}

/// The structures themselves with their reference counts and the allocator's rounding.
const ENTRY_OVERHEAD: usize = 512;
const CHUNK_OVERHEAD: usize = 64;
const TAG_OVERHEAD: usize = 32;

/// What a chunk takes, with what an allocator loses between blocks of different sizes.
fn chunk_weight(length: usize) -> usize {
    let size = size(length);
    size + size / 16 + CHUNK_OVERHEAD
}

/// Chunks have few different sizes, so that one fits where another has been: the next multiple of an eighth of the
/// power of two below.
fn size(length: usize) -> usize {
    let step = (length.max(64).ilog2() - 3).min(usize::BITS - 1);
    length.next_multiple_of(1 << step)
}

impl Head {
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.fields.map()
    }

    /// Reads what an answer is made of, at once: memory that has gone cold since the last time comes together then,
    /// instead of piece after piece.
    pub(super) fn warm(&self) {
        self.fields.warm();
        black_box((self.key.as_bytes().first(), self.status, self.stored_at, self.freshness));
    }
}

#[cfg(test)]
impl Head {
    /// One without fields, fresh for a minute.
    pub(crate) fn plain(key: CacheKey) -> Self {
        use std::time::Duration;
        Self {
            key,
            variant: Variant::default(),
            status: StatusCode::OK,
            fields: Fields::ready(HeaderMap::new(), false),
            freshness: Freshness {
                initial_age: Duration::ZERO,
                lifetime: Duration::from_secs(60),
                stale_while_revalidate: Duration::ZERO,
                stale_if_error: Duration::ZERO,
                stale_if_unreachable: Duration::ZERO,
                always_validate: false,
                never_stale: false,
            },
            part: None,
            own_etag: false,
            tags: Box::default(),
            stored_at: Instant::now(),
        }
    }
}

impl StoredBody {
    pub(crate) fn new(pieces: Pieces) -> Self {
        match pieces {
            Pieces { chunks, trailers: None, kept: None, .. } if chunks.len() < 2 => {
                Self::Whole(chunks.into_iter().next().unwrap_or_default())
            }
            pieces => Self::Pieces(Arc::new(pieces)),
        }
    }

    /// Copies the pieces into as few as possible: they may be small, and each may pin a read buffer many times its
    /// size.
    pub(crate) fn copied<'a>(
        pieces: impl Iterator<Item = &'a Bytes>,
        len: u64,
        trailers: Option<HeaderMap>,
    ) -> Self {
        let mut left = usize::try_from(len).unwrap_or(usize::MAX);
        let (mut chunks, mut chunk) = (Vec::new(), BytesMut::with_capacity(size(left.min(CHUNK))));
        for mut piece in pieces.map(Bytes::as_ref) {
            while !piece.is_empty() {
                if chunk.len() == CHUNK || chunk.capacity() == chunk.len() {
                    if !chunk.is_empty() {
                        chunks.push(chunk.freeze());
                    }
                    chunk = BytesMut::with_capacity(size(left.clamp(1, CHUNK)));
                }
                let taken = piece.len().min(chunk.capacity().min(CHUNK) - chunk.len());
                chunk.extend_from_slice(&piece[..taken]);
                piece = &piece[taken..];
                left = left.saturating_sub(taken);
            }
        }
        if chunks.is_empty() && trailers.is_none() {
            return Self::Whole(chunk.freeze());
        }
        if !chunk.is_empty() {
            chunks.push(chunk.freeze());
        }
        Self::new(Pieces { chunks: chunks.into(), len, trailers, kept: None })
    }

    pub(crate) fn chunks(&self) -> &[Bytes] {
        match self {
            Self::Whole(content) if content.is_empty() => &[],
            Self::Whole(content) => std::slice::from_ref(content),
            Self::Pieces(pieces) => &pieces.chunks,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Whole(content) => content.len() as u64,
            Self::Pieces(pieces) => pieces.len,
        }
    }

    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        match self {
            Self::Whole(_) => None,
            Self::Pieces(pieces) => pieces.trailers.as_ref(),
        }
    }

    /// The same content, somewhere else.
    #[cfg(feature = "redis")]
    pub(crate) fn with(&self, chunks: Box<[Bytes]>, kept: Option<Kept>) -> Self {
        Self::new(Pieces { chunks, len: self.len(), trailers: self.trailers().cloned(), kept })
    }

    /// Where the store has it, if that is not in chunks alone.
    #[cfg(feature = "redis")]
    pub(crate) fn kept(&self) -> Option<&Kept> {
        match self {
            Self::Whole(_) => None,
            Self::Pieces(pieces) => pieces.kept.as_ref(),
        }
    }
}

/// Large enough that a connection's write is not split much, small enough for any allocator: what is larger is freed
/// and taken in equal pieces.
const CHUNK: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_and_none_is_lost() {
        let pieces: Vec<Bytes> = (0..5000).map(|n: u32| Bytes::from(n.to_string().repeat(20))).collect();
        let whole = pieces.concat();
        let body = StoredBody::copied(pieces.iter(), whole.len() as u64, None);
        assert_eq!(body.chunks().concat(), whole);
        assert_eq!(body.chunks().len(), whole.len().div_ceil(CHUNK));
        for length in (0..5000).chain([CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]) {
            assert!((length..=length + length / 8 + 8).contains(&size(length)), "{length}");
            let body = StoredBody::copied([Bytes::from(vec![b'x'; length])].iter(), length as u64, None);
            assert_eq!(body.chunks().concat().len(), length);
        }
        assert!(StoredBody::copied([].iter(), 0, None).chunks().is_empty());
    }
}

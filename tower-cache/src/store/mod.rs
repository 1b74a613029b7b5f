//! Where responses are kept.
//!
//! [`MemoryStore`] is the one to begin with. A [`Store`] of one's own may be slow, dead or full of rubbish: the cache
//! waits for it no longer than [`store_timeout`](crate::CacheBuilder::store_timeout) per request, goes to the origin
//! instead, and leaves a store that keeps failing alone for a while. So an implementation reports errors as they are
//! and needs no timeouts of its own.

mod entry;
mod fields;
mod generations;
mod lease;
mod memory;
mod shelves;
mod table;
mod window;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub use entry::Entry;
#[cfg(feature = "redis")]
pub(crate) use entry::Kept;
pub(crate) use entry::{Head, Pieces, StoredBody};
pub(crate) use fields::{Fields, gather};
#[cfg(loom)]
pub(crate) use generations::Generations;
pub use lease::{Held, Lease};
pub use memory::{MemoryStore, MemoryStoreBuilder};
pub(crate) use shelves::Record;

use crate::error::BoxError;
use crate::key::CacheKey;

/// Keeps responses by [`CacheKey`], several variants each.
///
/// Methods with a default may be added to this trait. All of them are called on the path of a request and must not
/// block; what takes time belongs into the future.
pub trait Store: Send + Sync + 'static {
    /// Everything stored under `key`, and the stamp of this moment.
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup>;

    /// Keeps `entry` under [`Entry::key`], in place of the variant that answers the same requests. `stamp` is that of
    /// the lookup before the response was asked for: when the key has been purged since, nothing is stored, so that a
    /// fill that began before a purge never lands after it.
    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()>;

    /// Like [`commit`](Self::commit), for an entry whose content is stored already and whose fields have changed (by
    /// a 304). The default commits the whole entry.
    fn touch(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        self.commit(entry, stamp)
    }

    /// Makes stored responses unusable, or stale, from now on, and those that are being fetched now unstorable.
    fn purge(&self, purge: &Purge) -> StoreFuture<()>;

    /// Fetches the content of an entry that [`lookup`](Self::lookup) returned [without it](Entry::is_detached). A
    /// missing content is `None`, and the entry is passed over. The default has nothing to fetch.
    fn load(&self, entry: Arc<Entry>) -> StoreFuture<Option<Arc<Entry>>> {
        StoreFuture::ready(Ok(Some(entry).filter(|entry| !entry.is_detached())))
    }

    /// Asks for the right to fetch `key` from the origin, before that is done for something that others may use too:
    /// a store that several processes share gives it to one of them, and lets the others [wait](Lease::waiting) until
    /// there is something to look up, or they have waited long enough. This answer itself comes out of the request's
    /// [`store_timeout`](crate::CacheBuilder::store_timeout). An optimisation alone: who is let go asks the origin, with a
    /// lease or without. `stamp` is that of the lookup before. The default lets everybody go.
    fn lease(&self, key: &CacheKey, stamp: Stamp) -> StoreFuture<Lease> {
        let _ = (key, stamp);
        StoreFuture::ready(Ok(Lease::none()))
    }

    /// What the store knows of itself without waiting.
    fn statistics(&self) -> StoreStatistics {
        StoreStatistics::default()
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup> {
        (**self).lookup(key)
    }

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        (**self).commit(entry, stamp)
    }

    fn touch(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        (**self).touch(entry, stamp)
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        (**self).purge(purge)
    }

    fn load(&self, entry: Arc<Entry>) -> StoreFuture<Option<Arc<Entry>>> {
        (**self).load(entry)
    }

    fn lease(&self, key: &CacheKey, stamp: Stamp) -> StoreFuture<Lease> {
        (**self).lease(key, stamp)
    }

    fn statistics(&self) -> StoreStatistics {
        (**self).statistics()
    }
}

/// The answer of a store: there at once (nothing is allocated then), or later.
pub struct StoreFuture<T> {
    answer: Answer<T>,
}

enum Answer<T> {
    Ready(Option<Result<T, StoreError>>),
    Later(Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>),
}

impl<T> StoreFuture<T> {
    /// An answer that is there.
    #[must_use]
    pub fn ready(answer: Result<T, StoreError>) -> Self {
        Self { answer: Answer::Ready(Some(answer)) }
    }

    /// An answer to wait for.
    #[must_use]
    pub fn new(answer: impl Future<Output = Result<T, StoreError>> + Send + 'static) -> Self {
        Self { answer: Answer::Later(Box::pin(answer)) }
    }
}

// Nothing in it is ever pinned in place: a ready answer is moved out, a later one is behind a box.
impl<T> Unpin for StoreFuture<T> {}

impl<T> Future for StoreFuture<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.answer {
            Answer::Ready(answer) => match answer.take() {
                Some(answer) => Poll::Ready(answer),
                // Polled after it was ready, which no contract covers: there is nothing more to come.
                None => Poll::Pending,
            },
            Answer::Later(answer) => answer.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for StoreFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = matches!(self.answer, Answer::Ready(_));
        f.debug_struct("StoreFuture").field("ready", &ready).finish()
    }
}

/// A moment in a store's own counting. The cache hands it back with what was fetched after it, and compares those of
/// one lookup with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u128);

impl Stamp {
    /// A stamp with this number.
    #[must_use]
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }
}

/// What a lookup found.
#[derive(Debug, Clone)]
pub struct Lookup {
    pub(crate) stamp: Stamp,
    pub(crate) purged_before: Stamp,
    pub(crate) stale_before: Stamp,
    pub(crate) variants: Variants,
}

/// What is stored under one key, in the store's own form or in that of other stores.
#[derive(Debug, Clone)]
pub(crate) enum Variants {
    None,
    Record(Arc<Record>),
    List(Arc<[Arc<Entry>]>),
}

impl Variants {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let (record, list) = match self {
            Self::None => (None, &[][..]),
            Self::Record(record) => (Some(record.entries()), &[][..]),
            Self::List(list) => (None, &list[..]),
        };
        record.into_iter().flatten().chain(list.iter().map(|entry| &**entry))
    }
}

impl Lookup {
    /// Nothing is stored.
    #[must_use]
    pub const fn nothing(stamp: Stamp) -> Self {
        Self { stamp, purged_before: Stamp(0), stale_before: Stamp(0), variants: Variants::None }
    }

    /// These variants are stored, the newest first.
    #[must_use]
    pub fn variants(stamp: Stamp, variants: Arc<[Arc<Entry>]>) -> Self {
        Self { variants: Variants::List(variants), ..Self::nothing(stamp) }
    }

    /// Variants with an older [`Entry::stamp`] have been purged and are to be passed over.
    #[must_use]
    pub const fn purged_before(mut self, stamp: Stamp) -> Self {
        self.purged_before = stamp;
        self
    }

    /// Variants with an older [`Entry::stamp`] have been purged softly: they are stale.
    #[must_use]
    pub const fn stale_before(mut self, stamp: Stamp) -> Self {
        self.stale_before = stamp;
        self
    }
}

/// What to purge, and how.
#[derive(Debug, Clone)]
pub struct Purge {
    target: PurgeTarget,
    soft: bool,
}

/// Which stored responses a purge is about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PurgeTarget {
    /// All variants and partitions of the key's URI.
    Uri(CacheKey),
    /// Every response whose [`CacheKey::uri`] starts with this.
    Prefix(Arc<str>),
    /// Every response with this [tag](Entry::tags).
    Tag(Arc<str>),
    /// Every response.
    Everything,
}

impl Purge {
    /// A purge after which nothing of it is used again.
    #[must_use]
    pub const fn hard(target: PurgeTarget) -> Self {
        Self { target, soft: false }
    }

    /// A purge after which it is stale: validated before it is used, or used stale where that is allowed.
    #[must_use]
    pub const fn soft(target: PurgeTarget) -> Self {
        Self { target, soft: true }
    }

    /// Which responses.
    #[must_use]
    pub const fn target(&self) -> &PurgeTarget {
        &self.target
    }

    /// Whether they become stale instead of unusable.
    #[must_use]
    pub const fn is_soft(&self) -> bool {
        self.soft
    }
}

/// What a store knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStatistics {
    /// Octets in use: bodies, fields, keys and an estimate of what surrounds them.
    pub bytes: u64,
    /// Keys with at least one response.
    pub entries: u64,
    /// Keys that had to go because there was no room.
    pub evictions: u64,
}

/// Why a store could not do what it was asked.
#[derive(Debug, Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: Cow<'static, str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of failure; labels of `tower_cache_store_failures_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It took longer than [`store_timeout`](crate::CacheBuilder::store_timeout).
    Timeout,
    /// It cannot be reached, or refuses.
    Unavailable,
    /// What it holds cannot be read.
    Corrupt,
}

impl StoreErrorKind {
    /// `timeout`, `unavailable` or `corrupt`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
        }
    }
}

impl StoreError {
    /// The store cannot be reached, or refuses.
    #[must_use]
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: StoreErrorKind::Unavailable, message: message.into(), source: None }
    }

    /// What it holds cannot be read. The cache purges the URI in question in the background.
    #[must_use]
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: StoreErrorKind::Corrupt, message: message.into(), source: None }
    }

    /// It took too long.
    #[must_use]
    pub fn timeout() -> Self {
        Self { kind: StoreErrorKind::Timeout, message: "no answer in time".into(), source: None }
    }

    /// The error behind this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cache store: {}", self.message)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

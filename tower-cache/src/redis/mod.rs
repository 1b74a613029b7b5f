//! Responses in Redis or Valkey, for more than one process or machine.
//!
//! [`RedisStore`] talks to one server or to a cluster, by TLS where the URL says `rediss://` (feature `redis-tls`). It
//! connects when it is first needed: a process starts, and answers, without its server. What follows when the server
//! fails is the same as with every [`Store`]: requests wait no longer than
//! [`store_timeout`](crate::CacheBuilder::store_timeout), go to the origin, and the store is left alone for a while.
//!
//! Processes that use the same server and [namespace](RedisStoreBuilder::namespace) share responses, purges, and calls:
//! of several that miss the same response at once, one asks the origin and the others wait for what it stores. Give
//! processes with different rules of keys or different origins behind one host name namespaces of their own.
//!
//! Every key in the server expires. Set `maxmemory` and one of the `allkeys` policies there; whatever the server
//! evicts, loses or is given by others is a miss, never a wrong answer: a response is used only where the generation
//! it was stored under still is the current one of its URI, tags and of the whole.
//!
//! Ages are taken from the clocks of the machines, which should be synchronised.

mod layout;
mod lease;
mod link;
mod log;
mod scripts;
mod wire;

use std::cmp::Reverse;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::{join_all, join3, try_join_all};
use redis::cluster::ClusterClient;

use self::layout::{Layout, Names};
use self::link::{Dial, Link, Operation};
use self::log::{Count, Known, Purged};
use self::wire::{Now, Stored};
pub(crate) use self::wire::{check, sample};
use crate::error::ConfigError;
use crate::key::CacheKey;
use crate::policy::conditional;
use crate::store::{Entry, Head, Kept, Lease, Lookup, Purge, PurgeTarget, Stamp, Store, StoreError};
use crate::store::{StoreFuture, Variants};

/// Responses in Redis or Valkey. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    link: Arc<Link>,
    layout: Layout,
    known: Known,
    max_variants: usize,
    max_body: u64,
    retention: Duration,
    wait: Duration,
    step: Duration,
}

/// Makes a [`RedisStore`].
#[must_use]
pub struct RedisStoreBuilder {
    dial: Dial,
    namespace: String,
    max_variants: usize,
    max_body: u64,
    retention: Duration,
    wait: Duration,
    step: Duration,
}

impl RedisStore {
    /// Of one server: `redis://HOST:PORT/DB`, `rediss://` for TLS, with `USER:PASSWORD@` where it asks for that.
    ///
    /// # Errors
    ///
    /// When the URL is none, or asks for TLS without the feature `redis-tls`. Whether there is a server shows later.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Self::builder(url)?.build()
    }

    /// Of one server, with more to choose.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn builder(url: &str) -> Result<RedisStoreBuilder, ConfigError> {
        let client = redis::Client::open(url).map_err(|error| ConfigError::new("url", error.to_string()))?;
        Ok(RedisStoreBuilder::new(Dial::Server(client.into())))
    }

    /// Of a cluster, found through these of its nodes. One of them knows of purges that are not of one URI: a process to
    /// which it does not answer within 30 ms goes by what it heard up to 30 s ago.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when there is no URL.
    pub fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<RedisStoreBuilder, ConfigError> {
        let urls: Vec<&str> = urls.into_iter().collect();
        if urls.is_empty() {
            return Err(ConfigError::new("urls", "at least one node"));
        }
        let client = ClusterClient::builder(urls).retries(2).max_retry_wait(100);
        let client = client.build().map_err(|error| ConfigError::new("urls", error.to_string()))?;
        Ok(Self::of_cluster(client))
    }

    /// Of one server with a client of one's own: certificates, credentials, sockets.
    pub fn of_client(client: redis::Client) -> RedisStoreBuilder {
        RedisStoreBuilder::new(Dial::Server(client.into()))
    }

    /// Of a cluster with a client of one's own.
    pub fn of_cluster(client: ClusterClient) -> RedisStoreBuilder {
        RedisStoreBuilder::new(Dial::Cluster(client.into()))
    }
}

impl RedisStoreBuilder {
    fn new(dial: Dial) -> Self {
        let namespace = "tower-cache".into();
        let (retention, wait) = (Duration::from_secs(7 * DAY), Duration::from_secs(5));
        let step = Duration::from_millis(50);
        Self { dial, namespace, max_variants: 64, max_body: 4 << 20, retention, wait, step }
    }

    /// What the names of all keys begin with: 1 to 64 ASCII letters, digits, `.`, `_`, `-` and `:`. Default
    /// `tower-cache`. Processes that share it must have the same rules of keys and the same origins.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Variants (`Vary`) to hold of one key; beyond it the oldest goes. Default 64, as with a
    /// [`MemoryStore`](crate::MemoryStore).
    pub fn max_variants(mut self, variants: usize) -> Self {
        self.max_variants = variants;
        self
    }

    /// The largest body to store, in octets. Default 4 MiB: a hit loads all of it within
    /// [`store_timeout`](crate::CacheBuilder::store_timeout), or is a miss.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }

    /// How long anything is kept at most, fresh or not: from a second to a year. Default seven days: long enough for
    /// what can still be validated, and nothing is left for ever by a process that is no more. Responses that can
    /// neither be used nor validated any longer go before.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How long a request waits at most for another process that is fetching the same. Default 5 s, longer than most
    /// origins take; zero does without this: each process asks the origin. It is no wait for the store, and not part of
    /// [`store_timeout`](crate::CacheBuilder::store_timeout): a holder that dies is replaced after a second.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long each look at whether another process is done may take; a server that takes longer is not waited with
    /// any more. Default 50 ms, as for [`store_timeout`](crate::CacheBuilder::store_timeout).
    pub fn step_timeout(mut self, timeout: Duration) -> Self {
        self.step = timeout;
        self
    }

    /// The store. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When `namespace` is not as it says there, or `retention` is shorter than a second.
    pub fn build(self) -> Result<RedisStore, ConfigError> {
        let Self { dial, namespace, max_variants, max_body, retention, wait, step } = self;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        if !(1..=64).contains(&namespace.len()) || !namespace.bytes().all(plain) {
            return Err(ConfigError::new("namespace", "1 to 64 ASCII letters, digits, `.`, `_`, `-`, `:`"));
        }
        if retention < Duration::from_secs(1) {
            return Err(ConfigError::new("retention", "at least a second"));
        }
        let shared = Shared {
            link: Arc::new(Link::new(dial)),
            layout: Layout::new(&namespace),
            known: Known::default(),
            max_variants: max_variants.max(1),
            max_body,
            retention: retention.min(LONGEST),
            wait,
            step,
        };
        Ok(RedisStore { shared: Arc::new(shared) })
    }
}

const DAY: u64 = 24 * 60 * 60;

/// The server computes with times to live; a year is more than anybody keeps.
const LONGEST: Duration = Duration::from_secs(365 * DAY);

/// For generations that no response belongs to yet: as long as a fill may take.
const FILL: Duration = Duration::from_secs(10 * 60);

impl Store for RedisStore {
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup> {
        let (shared, key) = (Arc::clone(&self.shared), key.clone());
        StoreFuture::new(async move { shared.lookup(&key).await })
    }

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        let shared = Arc::clone(&self.shared);
        StoreFuture::new(async move { shared.commit(&entry, stamp, false).await })
    }

    fn touch(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        let shared = Arc::clone(&self.shared);
        StoreFuture::new(async move { shared.commit(&entry, stamp, true).await })
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        let (shared, purge) = (Arc::clone(&self.shared), purge.clone());
        StoreFuture::new(async move { shared.purge(&purge).await })
    }

    fn load(&self, entry: Arc<Entry>) -> StoreFuture<Option<Arc<Entry>>> {
        let shared = Arc::clone(&self.shared);
        StoreFuture::new(async move { shared.load(&entry).await })
    }

    fn lease(&self, key: &CacheKey, _: Stamp) -> StoreFuture<Lease> {
        let shared = &self.shared;
        if shared.wait.is_zero() {
            return StoreFuture::ready(Ok(Lease::none()));
        }
        let names = shared.layout.names(key);
        let acquire = lease::acquire(Arc::clone(&shared.link), names, shared.wait, shared.step);
        StoreFuture::new(acquire)
    }
}

/// The generation of a URI and the count of purges, as one number.
fn stamp(generation: u64, count: Count) -> Stamp {
    Stamp::new(u128::from(generation) << 64 | u128::from(count.number()))
}

/// The other way round. The casts take the halves.
fn parts(stamp: Stamp) -> (u64, Count) {
    ((stamp.get() >> 64) as u64, Count::of(stamp.get() as u64))
}

const fn hard(generation: u64) -> u64 {
    generation >> 32
}

impl Shared {
    async fn lookup(&self, key: &CacheKey) -> Result<Lookup, StoreError> {
        let names = self.layout.names(key);
        let operation = self.link.operation();
        let (mut ask, mut records) = (redis::cmd("GET"), redis::cmd("HVALS"));
        ask.arg(names.generation());
        records.arg(names.record());
        let (generation, values, current) = join3(
            operation.lenient::<Option<Vec<u8>>>(&ask),
            operation.lenient::<Vec<Bytes>>(&records),
            self.known.current(&operation, &self.layout),
        )
        .await;
        let (values, (count, log)) = (values?, current?);
        let Some(generation) = generation?.and_then(|octets| octets.try_into().ok()).map(u64::from_be_bytes)
        else {
            // Nothing of what may be there is usable, as nobody knows whether it has been purged.
            let generation = generation_of(&operation, &names).await?;
            operation.end();
            return Ok(Lookup::nothing(stamp(generation, count)));
        };
        let now = Now::read();
        let mut found: Vec<(Stored, bool)> = Vec::new();
        for stored in values.iter().filter_map(|value| wire::decode(value, now)) {
            let (own, at) = parts(stored.entry.stamp());
            let purged = log.purged(key.uri(), at);
            let usable = hard(own) == hard(generation) && at.epoch == count.epoch && purged != Purged::Hard;
            if usable && stored.entry.key() == key {
                found.push((stored, own != generation || purged == Purged::Soft));
            }
        }
        self.drop_purged_tags(&operation, &mut found).await?;
        operation.end();
        found.sort_by_key(|(stored, _)| Reverse(stored.received));
        let variants = found
            .into_iter()
            .map(|(stored, soft)| stored.entry.stamped(Stamp::new(FRESH - u128::from(soft))));
        let variants: Arc<[Arc<Entry>]> = variants.map(Arc::new).collect();
        let lookup = Lookup::nothing(stamp(generation, count)).stale_before(Stamp::new(FRESH));
        Ok(Lookup { variants: Variants::List(variants), ..lookup })
    }

    /// Tags are purged by generations of their own, which only what has them asks for.
    async fn drop_purged_tags(
        &self,
        operation: &Operation,
        found: &mut Vec<(Stored, bool)>,
    ) -> Result<(), StoreError> {
        let mut tags: Vec<Box<str>> =
            found.iter().flat_map(|(stored, _)| stored.entry.tags().map(Box::from)).collect();
        if tags.is_empty() {
            return Ok(());
        }
        tags.sort_unstable();
        tags.dedup();
        let generations = join_all(tags.iter().map(|tag| async {
            let mut ask = redis::cmd("GET");
            ask.arg(self.layout.tag(tag));
            operation.lenient::<Option<Vec<u8>>>(&ask).await
        }));
        let generations: Vec<_> = generations.await.into_iter().collect::<Result<_, _>>()?;
        found.retain_mut(|(stored, soft)| {
            let (_, at) = parts(stored.entry.stamp());
            stored.entry.tags().all(|tag| {
                let generation = tags.binary_search_by(|known| (**known).cmp(tag)).ok();
                let generation = generation.and_then(|index| generations[index].as_deref());
                let Some([epoch, hard, softly]) = generation.and_then(three) else { return false };
                *soft |= softly > at.count;
                epoch == at.epoch && hard <= at.count
            })
        });
        Ok(())
    }

    async fn load(&self, entry: &Entry) -> Result<Option<Arc<Entry>>, StoreError> {
        let Some(kept) = entry.body.kept() else { return Ok(None) };
        let names = self.layout.names(entry.key());
        let operation = self.link.operation();
        let pieces = (0..kept.pieces).map(|index| {
            let (name, operation) = (names.piece(kept, index), &operation);
            async move {
                let mut ask = redis::cmd("GET");
                ask.arg(name);
                operation.lenient::<Option<Bytes>>(&ask).await
            }
        });
        let pieces = try_join_all(pieces).await?;
        operation.end();
        let chunks: Option<Vec<Bytes>> = pieces.into_iter().collect();
        let len = |chunks: &Vec<Bytes>| chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        let Some(chunks) = chunks.filter(|chunks| len(chunks) == entry.body.len()) else { return Ok(None) };
        let body = entry.body.with(chunks.into(), Some(kept.clone()));
        Ok(Some(Arc::new(Entry::new(Arc::clone(&entry.head), body, entry.stamp))))
    }

    /// Writes a response; where only its fields are new, its content stays where it is.
    async fn commit(&self, entry: &Entry, at: Stamp, touch: bool) -> Result<(), StoreError> {
        if entry.body.len() > self.max_body {
            return Ok(());
        }
        let names = self.layout.names(entry.key());
        let ttl = milliseconds(retention(&entry.head).min(self.retention));
        let operation = self.link.operation();
        let (generation, count) = parts(at);
        self.keep_tags(&operation, entry, count, ttl).await?;
        let kept = entry.body.kept().cloned().filter(|_| touch);
        let kept = match kept {
            Some(kept) if self.extend(&operation, &names, &kept, ttl).await? => Some(kept),
            _ if entry.body.len() > wire::INLINE => {
                Some(self.write_pieces(&operation, &names, entry, ttl).await?)
            }
            _ => None,
        };
        let body = entry.body.with(entry.body.chunks().into(), kept);
        let entry = Entry::new(Arc::clone(&entry.head), body, at);
        let field = layout::hash(&wire::variant(&entry));
        let value = wire::encode(&entry, at, Now::read());
        let mut call = scripts::COMMIT.key(names.generation());
        call.key(names.record()).arg(&generation.to_be_bytes()[..]).arg(&field[..16]).arg(value).arg(ttl);
        call.arg(self.max_variants).arg(&[wire::VERSION][..]);
        let gone: Vec<Vec<u8>> = operation.script(&call).await?;
        self.remove_pieces(&operation, &names, &gone).await?;
        operation.end();
        Ok(())
    }

    async fn write_pieces(
        &self,
        operation: &Operation,
        names: &Names,
        entry: &Entry,
        ttl: u64,
    ) -> Result<Kept, StoreError> {
        let pieces = wire::pieces(entry.body.chunks());
        // Bounded by `max_body`, which is less than that many pieces.
        let kept = Kept { id: random(), pieces: pieces.len() as u32 };
        // One after another: others have their turn at the server in between.
        for (index, piece) in (0..).zip(pieces) {
            let mut set = redis::cmd("SET");
            set.arg(names.piece(&kept, index)).arg(&*piece).arg("PX").arg(ttl);
            operation.command::<()>(&set).await?;
        }
        Ok(kept)
    }

    /// Lets pieces live as long as their new fields; whether they were all there.
    async fn extend(
        &self,
        operation: &Operation,
        names: &Names,
        kept: &Kept,
        ttl: u64,
    ) -> Result<bool, StoreError> {
        for index in 0..kept.pieces {
            let mut expire = redis::cmd("PEXPIRE");
            expire.arg(names.piece(kept, index)).arg(ttl);
            if operation.command::<u8>(&expire).await? != 1 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn remove_pieces(
        &self,
        operation: &Operation,
        names: &Names,
        fronts: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        for kept in fronts.iter().filter_map(|front| wire::front(front)) {
            let mut unlink = redis::cmd("UNLINK");
            for index in 0..kept.pieces {
                unlink.arg(names.piece(&kept, index));
            }
            operation.command::<()>(&unlink).await?;
        }
        Ok(())
    }

    async fn keep_tags(
        &self,
        operation: &Operation,
        entry: &Entry,
        count: Count,
        ttl: u64,
    ) -> Result<(), StoreError> {
        // Where the generations of a tag are lost, what was stored before may have been purged: they begin with this
        // response.
        let Count { epoch, count } = count;
        let begin = [epoch, count, count].map(u32::to_be_bytes).concat();
        let tags = entry.tags().map(|tag| async {
            let mut call = scripts::TAG.key(self.layout.tag(tag));
            call.arg(&begin[..]).arg(ttl);
            operation.script::<u8>(&call).await
        });
        try_join_all(tags).await.map(drop)
    }

    async fn purge(&self, purge: &Purge) -> Result<(), StoreError> {
        let operation = self.link.operation();
        let soft = purge.is_soft();
        match purge.target() {
            PurgeTarget::Uri(key) => {
                let names = self.layout.names(key);
                let (hard, softly) = (random() as u32, random() as u32);
                let mut call = scripts::PURGE.key(names.generation());
                call.key(names.record()).arg(&hard.to_be_bytes()[..]).arg(&softly.to_be_bytes()[..]);
                call.arg(u8::from(soft)).arg(milliseconds(self.retention + FILL));
                let gone: Vec<Vec<u8>> = operation.script(&call).await?;
                self.remove_pieces(&operation, &names, &gone).await?;
            }
            PurgeTarget::Prefix(prefix) => {
                let kind = if soft { 's' } else { 'h' };
                log::raise(&operation, &self.layout, &format!("{kind}{prefix}")).await?;
            }
            PurgeTarget::Everything => {
                log::raise(&operation, &self.layout, if soft { "s" } else { "h" }).await?;
            }
            PurgeTarget::Tag(tag) => {
                // What was fetched before this count is meant, and nothing that is fetched after it.
                let count = log::raise(&operation, &self.layout, "").await?;
                let mut call = scripts::PURGE_TAG.key(self.layout.tag(tag));
                call.arg(&count.number().to_be_bytes()[..]).arg(u8::from(soft));
                call.arg(milliseconds(self.retention + FILL));
                operation.script::<u8>(&call).await?;
            }
        }
        operation.end();
        Ok(())
    }
}

async fn generation_of(operation: &Operation, names: &Names) -> Result<u64, StoreError> {
    let mut call = scripts::GENERATION.key(names.generation());
    call.arg(&random().to_be_bytes()[..]).arg(milliseconds(FILL));
    let generation: Vec<u8> = operation.script(&call).await?;
    let generation = generation.try_into().map(u64::from_be_bytes);
    generation.map_err(|_| StoreError::corrupt("a generation that is none"))
}

/// Three numbers of four octets.
fn three(octets: &[u8]) -> Option<[u32; 3]> {
    let octets: &[u8; 12] = octets.try_into().ok()?;
    let (numbers, _) = octets.as_chunks::<4>();
    numbers.iter().map(|number| u32::from_be_bytes(*number)).collect::<Vec<_>>().try_into().ok()
}

/// The stamp of entries that no soft purge has made stale; those that one has are older.
const FRESH: u128 = 1;

/// How long a response is of use: fresh, stale where that is allowed, and where it can be validated a day more.
fn retention(head: &Head) -> Duration {
    let freshness = &head.freshness;
    let fresh = freshness.lifetime.saturating_sub(freshness.initial_age);
    let validated = if conditional::has_validator(head.headers()) { Duration::from_secs(DAY) } else { HOUR };
    let stale = freshness.stale_while_revalidate.max(freshness.stale_if_error);
    fresh.saturating_add(stale.max(freshness.stale_if_unreachable).max(validated))
}

/// Requests may allow stale responses.
const HOUR: Duration = Duration::from_secs(60 * 60);

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Now {
    fn read() -> Self {
        Self { wall: SystemTime::now(), monotonic: crate::cache::now() }
    }
}

/// A number that no other process has: the standard library's hashers begin with randomness of the system.
fn random() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("link", &self.shared.link)
            .field("layout", &self.shared.layout)
            .finish()
    }
}

/// Without the address, which may hold a password.
impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

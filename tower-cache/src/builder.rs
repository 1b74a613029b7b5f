//! How a cache is configured.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, request::Parts};

use crate::cache::{Cache, Config, Inner};
use crate::error::ConfigError;
use crate::key::{KeyRules, Partition};
use crate::policy::Mode;
use crate::policy::freshness::FreshnessRules;
use crate::policy::storable::StorageRules;
use crate::rejection::{Negotiated, RenderRejection};
use crate::spawn::{Spawn, TokioSpawn};
use crate::status::{self, Name};
use crate::store::{MemoryStore, Store};

/// Makes a [`Cache`]. What is not set keeps a default that one would run in production.
#[must_use]
pub struct CacheBuilder {
    mode: Mode,
    store: Option<Arc<dyn Store>>,
    name: Option<String>,
    keys: KeyRules,
    targeted: Option<Vec<HeaderName>>,
    heuristics: bool,
    default_ttl: Option<Duration>,
    override_ttl: Option<Duration>,
    negative_ttl: Option<Duration>,
    ttl_jitter: f64,
    refresh_ahead: f64,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
    stale_if_unreachable: Duration,
    set_cookie: bool,
    cookie: bool,
    max_body: u64,
    max_held: u64,
    store_timeout: Duration,
    collapse: bool,
    etags: bool,
    honour_requests: bool,
    wall_clock: fn() -> SystemTime,
    max_background: usize,
    background_timeout: Duration,
    render: Arc<dyn RenderRejection>,
    spawn: Arc<dyn Spawn>,
}

impl Default for CacheBuilder {
    fn default() -> Self {
        Self {
            mode: Mode::Shared,
            store: None,
            name: Some("tower-cache".into()),
            keys: KeyRules::default(),
            targeted: None,
            heuristics: true,
            default_ttl: None,
            override_ttl: None,
            negative_ttl: None,
            ttl_jitter: 0.0,
            refresh_ahead: 0.0,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_if_unreachable: Duration::from_secs(60 * 60),
            set_cookie: false,
            cookie: false,
            max_body: 8 << 20,
            max_held: 256 << 20,
            store_timeout: Duration::from_millis(50),
            collapse: true,
            etags: false,
            honour_requests: true,
            wall_clock: SystemTime::now,
            max_background: 1024,
            background_timeout: Duration::from_secs(60),
            render: Arc::new(Negotiated),
            spawn: Arc::new(TokioSpawn),
        }
    }
}

impl CacheBuilder {
    /// Where responses are kept. Default: a [`MemoryStore`] of 64 MiB.
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// One user's cache, as on the client side of a service: keeps `private` responses and those to authenticated
    /// requests, and knows no `s-maxage`. Default: shared (RFC 9111 §1).
    pub fn private(mut self) -> Self {
        self.mode = Mode::Private;
        self
    }

    /// The name of this cache in `Cache-Status` (RFC 9211), 1 to 64 printable ASCII characters. Default
    /// `tower-cache`; where several caches stand in a row each should have its own.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Responses get no `Cache-Status`. By default they do: whether something came from a cache is the first thing
    /// one wants to know of a surprising answer.
    pub fn without_cache_status(mut self) -> Self {
        self.name = None;
        self
    }

    /// Divides stored responses by what the URI does not say: a resolved API version, an identity, a tenant. May be
    /// called several times. Default: no division.
    ///
    /// A cache inside of a layer that rewrites requests sees the rewritten URI alone: what that layer decided, which
    /// it leaves in the request's extensions, belongs here. So does axum's `OriginalUri` in nested routers, unless the
    /// feature `axum` sees to it.
    pub fn partition(
        mut self,
        partition: impl Fn(&Parts, &mut Partition<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.keys.partitions.push(Box::new(partition));
        self
    }

    /// The path of the key is the one that the layer sees, also where axum's `OriginalUri` says that the request came
    /// with another. For layers that rewrite paths and leave in the extensions what they decided, which is a
    /// [`partition`](Self::partition) then: so the same version of a thing is one entry, asked for by path or by header.
    /// Default: the original path is part of the key where it differs, as that is what tells nested routers apart.
    #[cfg(feature = "axum")]
    pub fn without_original_path(mut self) -> Self {
        self.keys.without_original_path = true;
        self
    }

    /// Query parameters that are no part of the key, so that their values share stored responses; a name that ends in
    /// `*` stands for all that start with the rest: `ignore_query(["utm_*"])`. The origin still sees them. A
    /// parameter with `;` or `?` in it stays in the key: some origins divide there, and another could hide in it.
    /// Default: none; only the origin knows which of them it does not use.
    pub fn ignore_query(mut self, names: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        self.keys.ignored.extend(names.into_iter().map(Into::into));
        self
    }

    /// Whether the order of query parameters of different names means nothing. Names that not every origin takes for
    /// different ones, in code or with other signs than letters, digits, `_` and `-`, leave the order as it is.
    /// Default: no; it is part of the URI (RFC 9110 §4.2.3).
    pub fn sort_query(mut self, sort: bool) -> Self {
        self.keys.sorted = sort;
        self
    }

    /// How long answers (200, 203, 204, 300, 301, 308) are fresh that say nothing about it. Not for responses to
    /// requests with `Authorization` or `Cookie`. Default: none; what says nothing is not guessed about, except by
    /// [`heuristics`](Self::heuristics).
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = Some(ttl);
        self
    }

    /// How long answers (200, 203, 204, 300, 301, 308) are fresh whatever `max-age`, `s-maxage` and `Expires` say, as
    /// for handlers that cannot be changed; counted, as always, from when the origin made them (`Age`). Default: none;
    /// who made a response knows best how long it is good.
    ///
    /// It makes nothing storable that says it must not be: `no-store`, `private` in a shared cache, `Vary: *`, and the
    /// rules about `Authorization`, `Cookie` and `Set-Cookie` stay, and what answers a request with one of the first
    /// two keeps its own lifetime. `no-cache` still validates each time, and `must-revalidate` never allows stale use.
    /// The fields are passed on as they came.
    pub fn override_ttl(mut self, ttl: Duration) -> Self {
        self.override_ttl = Some(ttl);
        self
    }

    /// How long answers that there is nothing (404, 405, 410, 414, 501) are fresh that say nothing about it, so that
    /// those who keep asking for it do not reach the origin. Not for requests with `Authorization` or `Cookie`.
    ///
    /// Default: none. RFC 9110 §15.1 lets a cache keep these by [`heuristics`](Self::heuristics) alone, and those want
    /// a `Last-Modified`, which such answers seldom have; and what was created a moment ago should not be missing for
    /// long. With it a guess is never made for them. Other errors are kept only where they say so themselves.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = Some(ttl);
        self
    }

    /// Takes up to this share, by chance, away from what is left of each response's lifetime when it is stored: what
    /// was stored in one moment, as after a start or a purge, does not go stale in one moment. From 0 to 1. Default 0:
    /// a response lives as long as its origin says; 0.1 is enough to spread a herd.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.ttl_jitter = share;
        self
    }

    /// A hit in this last share of a response's lifetime also asks the origin in the background, once, so that what is
    /// asked for often is renewed before it ends and nobody waits for it. From 0 to 0.5. Requests meanwhile are hits;
    /// when the origin fails, what is stored stays for the rest of its life, and the next attempt comes after as long
    /// as that share, at least a second. Each process does so for itself.
    ///
    /// Default 0, which is off: the origin is asked up to that share more often, and a hit costs a task now and then.
    /// 0.1 suits responses that cost much and are asked for all the time.
    pub fn refresh_ahead(mut self, share: f64) -> Self {
        self.refresh_ahead = share;
        self
    }

    /// Whether responses that say nothing but when they were last modified are fresh for a tenth of the time since,
    /// at most a day (RFC 9111 §4.2.2). Not for requests with `Authorization` or `Cookie`. Default: yes.
    pub fn heuristics(mut self, heuristics: bool) -> Self {
        self.heuristics = heuristics;
        self
    }

    /// How long past its freshness a response that says nothing about it may be served while it is validated in the
    /// background (RFC 5861 §3). Default: zero, as whether old is good enough is the origin's to say; a response's own
    /// `stale-while-revalidate` is honoured.
    pub fn stale_while_revalidate(mut self, duration: Duration) -> Self {
        self.stale_while_revalidate = duration;
        self
    }

    /// How long past its freshness a response that says nothing about it may be served when the origin answers 500,
    /// 502, 503 or 504, or fails (RFC 5861 §4). Default: zero, as an error may be the answer that counts; a response's
    /// own `stale-if-error` is honoured.
    pub fn stale_if_error(mut self, duration: Duration) -> Self {
        self.stale_if_error = duration;
        self
    }

    /// How long past its freshness a response may be served when the inner service returns an error, as a client does
    /// that cannot reach its server (RFC 9111 §4.2.4); never against `must-revalidate`, `no-cache` and, in shared
    /// caches, `proxy-revalidate` and `s-maxage`. Default one hour: old is better than nothing, for a while.
    pub fn stale_if_unreachable(mut self, duration: Duration) -> Self {
        self.stale_if_unreachable = duration;
        self
    }

    /// The fields that take the place of `Cache-Control` for this cache (RFC 9213), the most specific first. Default
    /// `CDN-Cache-Control` in a shared cache, none in a private one; with an empty list `Cache-Control` alone counts.
    pub fn targeted(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.targeted = Some(fields.into_iter().collect());
        self
    }

    /// Whether a shared cache stores responses with `Set-Cookie` that are neither `public` nor have `s-maxage`.
    /// Default: no. RFC 9111 §7.3 would allow it; a session handed to the next user is too dear.
    pub fn store_set_cookie(mut self, store: bool) -> Self {
        self.set_cookie = store;
        self
    }

    /// Whether a shared cache stores responses to requests with `Cookie` that are neither `public` nor have
    /// `s-maxage`. Default: no, for the same reason as with `Authorization` (RFC 9111 §3.5), which no cookie needs to
    /// know.
    pub fn store_cookie_requests(mut self, store: bool) -> Self {
        self.cookie = store;
        self
    }

    /// The largest body to store, in octets; larger ones pass. Default 8 MiB: more than nearly all answers of an API, and
    /// little enough that one response does not push out all others.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }

    /// Octets of all responses together that are being fetched and kept meanwhile, to be stored; those that come when
    /// there are more pass without being stored. Default 256 MiB: many slow large responses at once must not take all
    /// memory.
    pub fn max_held(mut self, bytes: u64) -> Self {
        self.max_held = bytes;
        self
    }

    /// How long a request waits for the store, in all. Default 50 ms: a store that takes longer is slower than many
    /// an origin. A store that failed three times in a row is left alone for 100 ms, then twice as long each time up
    /// to 5 s, after which one request tries it.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.store_timeout = timeout;
        self
    }

    /// Whether requests for what another request is fetching wait for that and read along (RFC 9111 §4). Default: yes,
    /// so that a herd is one call.
    pub fn collapse(mut self, collapse: bool) -> Self {
        self.collapse = collapse;
        self
    }

    /// Whether stored 200 responses that have no `ETag` get a strong one, made of their content, type, coding and
    /// language while they are stored: clients that have them are then answered with 304, and may ask for ranges by
    /// `If-Range`. Nothing is held back for it: whoever the response passes to meanwhile gets it without; the tag is in
    /// the answers from the store. The origin never sees it.
    ///
    /// Default: no; it costs a SHA-256 of each body that is stored, and only pays where handlers validate nothing.
    #[cfg(feature = "etag")]
    pub fn etags(mut self, etags: bool) -> Self {
        self.etags = etags;
        self
    }

    /// Whether requests may ask for less or more than the cache would give (`no-cache`, `max-age`, `min-fresh`,
    /// `max-stale`, `only-if-cached`; RFC 9111 §5.2.1). Default: yes. A server whose clients may be hostile can switch
    /// it off, so that nobody reaches the origin at will; `no-store` is kept in any case.
    pub fn honour_request_directives(mut self, honour: bool) -> Self {
        self.honour_requests = honour;
        self
    }

    /// The wall clock, to which `Date` and `Expires` are compared (RFC 9111 §4.2); how long a response has been stored is
    /// measured by the runtime's monotonic clock. Default [`SystemTime::now`]; tests replace it.
    pub fn wall_clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.wall_clock = clock;
        self
    }

    /// How many background tasks may run at once, and for how long each. Beyond that they are dropped: what they
    /// would have stored is fetched again. Default 1,024 for 60 s: more than a busy server needs, and an origin that
    /// hangs cannot make them pile up.
    pub fn background(mut self, tasks: usize, each: Duration) -> Self {
        self.max_background = tasks;
        self.background_timeout = each;
        self
    }

    /// Where background work runs: fills that others wait for, validation of what is served stale, slow stores. Default
    /// [`TokioSpawn`]. A hit spawns nothing.
    pub fn spawn_with(mut self, spawn: impl Spawn) -> Self {
        self.spawn = Arc::new(spawn);
        self
    }

    /// How the cache's own refusals look. Default [`Negotiated`].
    pub fn render_with(mut self, render: impl RenderRejection) -> Self {
        self.render = Arc::new(render);
        self
    }

    /// The cache.
    ///
    /// # Errors
    ///
    /// When `name` is not 1 to 64 printable ASCII characters, `store_timeout` is zero, which no store can meet,
    /// `ttl_jitter` is not within 0 and 1, or `refresh_ahead` not within 0 and 0.5.
    pub fn build(self) -> Result<Cache, ConfigError> {
        if self.store_timeout.is_zero() {
            return Err(ConfigError::new("store_timeout", "must be longer than zero"));
        }
        if !(0.0..=1.0).contains(&self.ttl_jitter) {
            return Err(ConfigError::new("ttl_jitter", "must be within 0 and 1"));
        }
        if !(0.0..=0.5).contains(&self.refresh_ahead) {
            return Err(ConfigError::new("refresh_ahead", "must be within 0 and 0.5"));
        }
        let name = self.name.as_deref().map(status::name).transpose()?;
        Ok(self.with_name(name))
    }

    /// The cache, of what cannot be wrong.
    pub(crate) fn with_name(self, name: Option<Name>) -> Cache {
        let ended = |duration: Duration| duration.min(EVER);
        let freshness = FreshnessRules {
            mode: self.mode,
            targeted: self.targeted.unwrap_or_else(|| targeted_by_default(self.mode)),
            heuristics: self.heuristics,
            default_ttl: self.default_ttl.map(ended),
            override_ttl: self.override_ttl.map(ended),
            negative_ttl: self.negative_ttl.map(ended),
            stale_while_revalidate: ended(self.stale_while_revalidate),
            stale_if_error: ended(self.stale_if_error),
            stale_if_unreachable: ended(self.stale_if_unreachable),
        };
        let config = Config {
            name,
            storage: StorageRules { freshness, set_cookie: self.set_cookie, cookie: self.cookie },
            keys: self.keys,
            max_body: usize::try_from(self.max_body).unwrap_or(usize::MAX),
            max_held: usize::try_from(self.max_held).unwrap_or(usize::MAX),
            store_timeout: ended(self.store_timeout),
            ttl_jitter: self.ttl_jitter,
            refresh_ahead: self.refresh_ahead,
            collapse: self.collapse,
            etags: self.etags,
            honour_requests: self.honour_requests,
            wall_clock: self.wall_clock,
            max_background: self.max_background,
            background_timeout: ended(self.background_timeout),
            render: self.render,
            spawn: self.spawn,
        };
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::default()));
        Cache { inner: Arc::new(Inner::new(config, store)) }
    }
}

/// 2³¹ seconds, which stand for all that are more (RFC 9111 §1.2.2): longer than any process, and no sum overflows.
pub(crate) const EVER: Duration = Duration::from_secs(1 << 31);

fn targeted_by_default(mode: Mode) -> Vec<HeaderName> {
    match mode {
        Mode::Shared => vec![HeaderName::from_static("cdn-cache-control")],
        Mode::Private => Vec::new(),
    }
}

impl fmt::Debug for CacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("mode", &self.mode)
            .field("name", &self.name)
            .field("default_ttl", &self.default_ttl)
            .field("max_body", &self.max_body)
            .field("store_timeout", &self.store_timeout)
            .finish_non_exhaustive()
    }
}

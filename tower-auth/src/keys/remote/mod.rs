//! Keys fetched from the issuer over any service.

mod source;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Uri};
use http_body::Body;
use tower_service::Service;

use self::source::Remote;
use super::KeySource;
use super::set::MAX_KEYS;
use crate::error::ConfigError;
use crate::fetch::{self, Spawn};
use crate::policy::document;
use crate::policy::refresh::Schedule;

/// A JWK set behind a URL, fetched over any [`tower::Service`](Service) of requests: put your timeouts, retries and
/// breaker around that. Nothing is fetched before the first token arrives.
#[derive(Clone)]
pub struct RemoteJwks<S> {
    place: Place,
    service: S,
    schedule: Schedule,
    timeout: Duration,
    max_body: usize,
    pub(super) max_keys: usize,
    spawn: Spawn,
}

#[derive(Debug, Clone)]
enum Place {
    At(Uri),
    /// Named by the metadata of this issuer.
    Discovered(String),
}

impl<S> fmt::Debug for RemoteJwks<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJwks")
            .field("place", &self.place)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

impl<S> RemoteJwks<S> {
    /// Keys at this absolute URL.
    pub fn new(uri: Uri, service: S) -> Self {
        Self::with_defaults(Place::At(uri), service)
    }

    /// Keys where the metadata of this issuer says: OpenID Connect Discovery 1.0, or RFC 8414 where that is not found.
    /// Metadata that names another issuer, however similar, is not believed (RFC 8414 §3.3).
    pub fn discover(issuer: impl Into<String>, service: S) -> Self {
        Self::with_defaults(Place::Discovered(issuer.into()), service)
    }

    fn with_defaults(place: Place, service: S) -> Self {
        let schedule = Schedule {
            refresh_every: Duration::from_secs(300),
            stale_for: Duration::from_secs(3_600),
            burst: 2,
            refill: Duration::from_secs(30),
        };
        let timeout = Duration::from_secs(5);
        Self {
            place,
            service,
            schedule,
            timeout,
            max_body: 512 * 1024,
            max_keys: 1_000,
            spawn: fetch::tokio_spawn(),
        }
    }

    /// A key that the issuer has removed is refused after at most this; less where the issuer's `Cache-Control` says so,
    /// but at least 30 seconds. From about three quarters of it on, requests start the next fetch without waiting for
    /// it. 5 minutes by default: what revoking a key may take, at 12 requests an hour.
    #[must_use]
    pub fn refresh_every(mut self, period: Duration) -> Self {
        self.schedule.refresh_every = period;
        self
    }

    /// How much longer the last good set serves while fetches fail. 1 hour by default: longer than most outages, shorter
    /// than an attacker who cuts the line would like.
    #[must_use]
    pub fn stale_for(mut self, period: Duration) -> Self {
        self.schedule.stale_for = period;
        self
    }

    /// Longest fetch, discovery and bodies included. 5 seconds by default.
    #[must_use]
    pub fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Longest document in bytes. 512 KiB by default, a thousand RSA keys.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Most keys of the set that are looked at, in the order of the document; the rest is left out. 1,000 by default, far
    /// above what issuers publish; at most 10,000.
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// How many fetches tokens with unknown key ids may cause at once, and after what time one more. 2 and 30 seconds by
    /// default: a rotation needs one, and a flood of invented ids costs the issuer three a minute.
    #[must_use]
    pub fn unknown_kid_burst(mut self, burst: u32, every: Duration) -> Self {
        (self.schedule.burst, self.schedule.refill) = (burst, every);
        self
    }

    /// How fetches are started; they outlive the request that caused them and end by
    /// [`fetch_timeout`](Self::fetch_timeout). `tokio::spawn` by default.
    #[must_use]
    pub fn spawn_with(
        mut self,
        spawn: impl Fn(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> Self {
        self.spawn = Arc::new(spawn);
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let field =
            |name, bad, reason: &'static str| if bad { Err(ConfigError::new(name, reason)) } else { Ok(()) };
        match &self.place {
            Place::At(uri) => {
                field("uri", uri.scheme().is_none() || uri.host().is_none(), "not an absolute URL")?;
            }
            Place::Discovered(issuer) => {
                field(
                    "discover",
                    document::well_known(issuer).is_none(),
                    "not an absolute URL without query",
                )?;
            }
        }
        field("refresh_every", self.schedule.refresh_every.is_zero(), "zero")?;
        field("fetch_timeout", self.timeout.is_zero(), "zero")?;
        field("max_body", self.max_body == 0, "zero")?;
        field("max_keys", !(1..=MAX_KEYS).contains(&self.max_keys), "not between 1 and 10,000")?;
        field("unknown_kid_burst", self.schedule.burst == 0 || self.schedule.refill.is_zero(), "zero")
    }

    /// As a source of keys, for [`ChainedKeys`](super::ChainedKeys) and for
    /// [`danger_any_issuer`](crate::AuthenticatorBuilder::danger_any_issuer). [`Issuer::remote`](crate::Issuer::remote)
    /// does this by itself, and also compares the name with the one that is discovered.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn build<B, R>(self) -> Result<Arc<dyn KeySource>, ConfigError>
    where
        S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
        B: Default + Send + 'static,
        R: Body<Data: Send, Error: Send> + Send + 'static,
    {
        self.check()?;
        Ok(self.into_source())
    }

    pub(crate) fn into_source<B, R>(self) -> Arc<dyn KeySource>
    where
        S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
        B: Default + Send + 'static,
        R: Body<Data: Send, Error: Send> + Send + 'static,
    {
        let service = self.service.clone();
        Arc::new(Remote::<S, B, R>::new(self.with_service(()), service))
    }

    /// The issuer whose keys are discovered.
    pub(crate) fn discovers(&self) -> Option<&str> {
        match &self.place {
            Place::At(_) => None,
            Place::Discovered(issuer) => Some(issuer),
        }
    }

    fn with_service<T>(self, service: T) -> RemoteJwks<T> {
        let Self { place, schedule, timeout, max_body, max_keys, spawn, .. } = self;
        RemoteJwks { place, service, schedule, timeout, max_body, max_keys, spawn }
    }
}

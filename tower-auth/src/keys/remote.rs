//! Keys fetched from the issuer over any service.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::{Request, Response, StatusCode, Uri, header};
use http_body::Body;
use tokio::sync::watch;
use tower_service::Service;

use super::{Algorithm, KeySet, KeySource, KeysPending, Lookup};
use crate::error::ConfigError;
use crate::fetch::{self, Spawn};
use crate::metrics::{self, FetchOutcome};
use crate::policy::refresh::{Act, Refresh, Schedule};

/// A JWK set behind a URL, fetched over any [`tower::Service`](Service) of requests: put your timeouts, retries and
/// breaker around that. Nothing is fetched before the first token arrives.
#[derive(Clone)]
pub struct RemoteJwks<S> {
    uri: Uri,
    service: S,
    schedule: Schedule,
    timeout: Duration,
    max_body: usize,
    spawn: Spawn,
}

impl<S> fmt::Debug for RemoteJwks<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJwks")
            .field("uri", &self.uri)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

impl<S> RemoteJwks<S> {
    /// Keys at this absolute URL.
    pub fn new(uri: Uri, service: S) -> Self {
        let schedule = Schedule {
            refresh_every: Duration::from_secs(300),
            stale_for: Duration::from_secs(3_600),
            burst: 2,
            refill: Duration::from_secs(30),
        };
        let timeout = Duration::from_secs(5);
        Self { uri, service, schedule, timeout, max_body: 512 * 1024, spawn: fetch::tokio_spawn() }
    }

    /// A key that the issuer has removed is refused after at most this. From three quarters of it on, requests start
    /// the next fetch without waiting for it. 5 minutes by default: what revoking a key may take, at 12 requests an hour.
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

    /// Longest fetch, body included. 5 seconds by default.
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
        field("uri", self.uri.scheme().is_none() || self.uri.host().is_none(), "not an absolute URL")?;
        field("refresh_every", self.schedule.refresh_every.is_zero(), "zero")?;
        field("fetch_timeout", self.timeout.is_zero(), "zero")?;
        field("max_body", self.max_body == 0, "zero")?;
        field("unknown_kid_burst", self.schedule.burst == 0 || self.schedule.refill.is_zero(), "zero")
    }

    pub(crate) fn into_source<B, R>(self) -> Arc<dyn KeySource>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: Default + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Send,
    {
        let shared = Arc::new(Shared {
            snapshot: ArcSwapOption::empty(),
            state: Mutex::new(State { refresh: Refresh::new(self.schedule.clone()), running: None }),
        });
        let service = Mutex::new(self.service.clone());
        Arc::new(Remote {
            config: self.with_service(()),
            service,
            shared,
            request: PhantomData::<fn(B) -> R>,
        })
    }

    fn with_service<T>(self, service: T) -> RemoteJwks<T> {
        let Self { uri, schedule, timeout, max_body, spawn, .. } = self;
        RemoteJwks { uri, service, schedule, timeout, max_body, spawn }
    }
}

struct Remote<S, B, R> {
    config: RemoteJwks<()>,
    service: Mutex<S>,
    shared: Arc<Shared>,
    request: PhantomData<fn(B) -> R>,
}

struct Shared {
    snapshot: ArcSwapOption<Snapshot>,
    state: Mutex<State>,
}

struct Snapshot {
    keys: Arc<KeySet>,
    /// When the fetch began: the issuer may have changed its keys right after answering.
    asked_at: Instant,
}

struct State {
    refresh: Refresh,
    /// Closed when the fetch has ended in any way, also by a panic or a runtime going down.
    running: Option<watch::Receiver<()>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<S, B, R> KeySource for Remote<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Default + Send + 'static,
    R: Body + Send + 'static,
    R::Data: Send,
    R::Error: Send,
{
    fn lookup(&self, kid: Option<&str>, algorithm: Algorithm, waited: bool) -> Lookup {
        let now = now();
        let snapshot = self.shared.snapshot.load_full();
        let age = snapshot.as_ref().map(|snapshot| now.saturating_duration_since(snapshot.asked_at));
        let known = snapshot.as_ref().is_some_and(|snapshot| snapshot.keys.select(kid, algorithm).is_some());
        if let (Some(snapshot), Some(age), true) = (&snapshot, age, known) {
            if Refresh::is_young(&self.config.schedule, age) {
                return Lookup::Keys(Arc::clone(&snapshot.keys));
            }
        }
        let mut state = self.shared.state();
        let act = state.refresh.decide(now, age, kid.filter(|_| !known), waited);
        match (act, snapshot) {
            (Act::Unavailable(retry_after), _) => Lookup::Unavailable { retry_after },
            (Act::Use, Some(snapshot)) => Lookup::Keys(Arc::clone(&snapshot.keys)),
            (Act::UseAndFetch, Some(snapshot)) => {
                self.start(&mut state);
                Lookup::Keys(Arc::clone(&snapshot.keys))
            }
            (_, _) => {
                let mut running = self.start(&mut state);
                Lookup::Wait(KeysPending::new(async move {
                    // Ends with an error when the sender is dropped, which is how a fetch ends.
                    let _ = running.changed().await;
                }))
            }
        }
    }
}

impl<S, B, R> Remote<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Default + Send + 'static,
    R: Body + Send + 'static,
    R::Data: Send,
    R::Error: Send,
{
    /// Starts a fetch, or joins the one that runs.
    fn start(&self, state: &mut State) -> watch::Receiver<()> {
        if let Some(running) = state.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return running.clone();
        }
        let (ends, running) = watch::channel(());
        state.running = Some(running.clone());
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shared = Arc::clone(&self.shared);
        let (uri, timeout, max_body) = (self.config.uri.clone(), self.config.timeout, self.config.max_body);
        (self.config.spawn)(Box::pin(async move {
            let asked_at = now();
            let mut request = Request::new(B::default());
            *request.uri_mut() = uri;
            let accept = header::HeaderValue::from_static("application/jwk-set+json, application/json");
            request.headers_mut().insert(header::ACCEPT, accept);
            let answer = fetch::exchange(service, request, timeout, max_body).await;
            shared.finish(
                asked_at,
                answer.filter(|(status, _)| *status == StatusCode::OK).map(|(_, body)| body),
            );
            drop(ends);
        }));
        running
    }
}

impl Shared {
    fn finish(&self, asked_at: Instant, body: Option<bytes::Bytes>) {
        let keys = body.and_then(|body| KeySet::from_jwks(&body).ok()).map(KeySet::without_symmetric);
        // A document without a usable key is a mistake of the issuer; the last good set serves on, for its time.
        let keys = keys.filter(|keys| !keys.is_empty());
        let mut state = self.state();
        metrics::key_fetch(if keys.is_some() { FetchOutcome::Ok } else { FetchOutcome::Failed });
        match keys {
            Some(keys) => {
                self.snapshot.store(Some(Arc::new(Snapshot { keys: Arc::new(keys), asked_at })));
                state.refresh.succeeded();
            }
            None => state.refresh.failed(now()),
        }
    }
}

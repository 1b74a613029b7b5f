//! The set as it is held, and its fetches.

use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use tokio::sync::watch;
use tower_service::Service;

use super::{Place, RemoteJwks};
use crate::fetch;
use crate::keys::{Algorithm, KeyFault, KeySet, KeySource, KeysPending, Lookup};
use crate::metrics::Fetches;
use crate::policy::document;
use crate::policy::refresh::{Act, Calm, Glance, Held, Refresh};
use crate::verify::Backend;

pub(super) struct Remote<S, B, R>(Arc<Source<S, B, R>>);

struct Source<S, B, R> {
    config: RemoteJwks<()>,
    service: Mutex<S>,
    snapshot: ArcSwapOption<Snapshot>,
    state: Mutex<State>,
    /// What those who have a set need to know of `state`: they never wait for its lock.
    calm: ArcSwapOption<Calm>,
    fetching: AtomicBool,
    fetches: Fetches,
    /// In bytes; nothing as long as nobody has said what will use the keys.
    longest_modulus: AtomicUsize,
    types: PhantomData<fn(B) -> R>,
}

struct Snapshot {
    keys: Arc<KeySet>,
    /// When the fetch began: the issuer may have changed its keys right after answering.
    asked_at: Instant,
    life: Duration,
    ahead: Duration,
    /// With the place it is of: another one may use the same text for other keys (RFC 9110 §8.8.3).
    etag: Option<(Uri, HeaderValue)>,
}

impl Snapshot {
    fn held(&self, now: Instant) -> Held {
        let age = now.saturating_duration_since(self.asked_at);
        Held { age, ahead: self.ahead, life: self.life }
    }
}

struct State {
    refresh: Refresh,
    /// Closed when the fetch has ended in any way, also by a panic or a runtime going down.
    running: Option<watch::Receiver<()>>,
}

impl State {
    fn running(&self) -> Option<watch::Receiver<()>> {
        self.running.clone().filter(|running| running.has_changed().is_ok())
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<S, B, R> Remote<S, B, R> {
    pub(super) fn new(config: RemoteJwks<()>, service: S) -> Self {
        let state = State { refresh: Refresh::new(config.schedule.clone()), running: None };
        Self(Arc::new(Source {
            config,
            service: Mutex::new(service),
            snapshot: ArcSwapOption::empty(),
            state: Mutex::new(state),
            calm: ArcSwapOption::empty(),
            fetching: AtomicBool::new(false),
            fetches: Fetches::default(),
            longest_modulus: AtomicUsize::new(0),
            types: PhantomData,
        }))
    }
}

/// What the snapshot says to a lookup.
struct View {
    snapshot: Option<Arc<Snapshot>>,
    held: Option<Held>,
    known: bool,
}

impl<S, B, R> Source<S, B, R> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self, now: Instant, kid: Option<&str>, algorithm: Algorithm) -> View {
        let snapshot = self.snapshot.load_full();
        let held = snapshot.as_ref().map(|snapshot| snapshot.held(now));
        let known = snapshot.as_ref().is_some_and(|snapshot| snapshot.keys.select(kid, algorithm).is_some());
        View { snapshot, held, known }
    }

    fn finish(&self, asked_at: Instant, answer: Option<(Uri, Response<Bytes>)>) {
        let fresh = answer.and_then(|(place, answer)| self.read(asked_at, place, &answer));
        let mut state = self.state();
        self.fetches.ended(fresh.is_some());
        match fresh {
            Some(fresh) => {
                self.snapshot.store(Some(Arc::new(fresh)));
                state.refresh.succeeded();
            }
            None => state.refresh.failed(now()),
        }
        self.calm.store(state.refresh.calm().map(Arc::new));
    }

    fn glance(&self, now: Instant, held: Held) -> Glance {
        let (calm, fetching) = (self.calm.load(), self.fetching.load(Ordering::Acquire));
        held.glance(now, calm.as_deref(), self.config.schedule.stale_for, fetching)
    }

    /// A document without a usable key is a mistake of the issuer; the last good set serves on, for its time.
    fn read(&self, asked_at: Instant, place: Uri, answer: &Response<Bytes>) -> Option<Snapshot> {
        let before = self.snapshot.load_full();
        let headers = answer.headers();
        let (keys, etag) = match answer.status() {
            StatusCode::OK => {
                let keys = KeySet::read(answer.body(), self.config.max_keys).ok()?.without_symmetric();
                let keys = keys.up_to_modulus(self.longest_modulus.load(Ordering::Relaxed));
                let etag = headers.get(header::ETAG).cloned().map(|etag| (place, etag));
                (Some(Arc::new(keys)).filter(|keys| !keys.is_empty())?, etag)
            }
            StatusCode::NOT_MODIFIED => {
                let asked =
                    |before: &&Arc<Snapshot>| before.etag.as_ref().is_some_and(|(of, _)| *of == place);
                let before = before.as_ref().filter(asked)?;
                (Arc::clone(&before.keys), before.etag.clone())
            }
            _ => return None,
        };
        // The same keys stay the same set: what was verified with them needs no second look.
        let keys = match before {
            Some(before) if before.keys.is_same(&keys) => Arc::clone(&before.keys),
            _ => keys,
        };
        let life = document::life(headers, self.config.schedule.refresh_every);
        let chance = foldhash::fast::RandomState::default().hash_one(0_u8);
        Some(Snapshot { keys, asked_at, life, ahead: document::ahead(life, chance), etag })
    }
}

impl<S, B, R> KeySource for Remote<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Default + Send + 'static,
    R: Body<Data: Send, Error: Send> + Send + 'static,
{
    fn peek(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<KeySet>> {
        let View { snapshot, held, known } = self.0.view(now(), kid, algorithm);
        let young = known && held.is_some_and(|held| held.is_young());
        snapshot.filter(|_| young).map(|snapshot| Arc::clone(&snapshot.keys))
    }

    fn used_with(&self, backend: Backend) -> Result<(), KeyFault> {
        // Of several that share the source each looks at a key once more before it is used.
        self.0.longest_modulus.fetch_max(backend.longest_modulus(), Ordering::Relaxed);
        Ok(())
    }

    fn vouches_for(&self, generation: u64) -> bool {
        let snapshot = self.0.snapshot.load();
        snapshot.as_ref().is_some_and(|snapshot| {
            let now = now();
            snapshot.keys.generation() == generation && self.0.glance(now, snapshot.held(now)) == Glance::Use
        })
    }

    fn lookup(&self, kid: Option<&str>, algorithm: Algorithm, waited: bool) -> Lookup {
        let now = now();
        let View { snapshot, held, known } = self.0.view(now, kid, algorithm);
        if let (Some(snapshot), Some(held), true) = (&snapshot, held, known) {
            match self.0.glance(now, held) {
                Glance::Use => return Lookup::Keys(Arc::clone(&snapshot.keys)),
                Glance::UseAndStart => {
                    // Who holds the lock is about to start a fetch, or somebody else will.
                    let free = match self.0.state.try_lock() {
                        Ok(state) => Some(state),
                        Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
                        Err(TryLockError::WouldBlock) => None,
                    };
                    if let Some(mut state) = free
                        && state.refresh.decide(now, Some(held), None, waited) == Act::UseAndFetch
                    {
                        Source::start(&self.0, state);
                    }
                    return Lookup::Keys(Arc::clone(&snapshot.keys));
                }
                Glance::Ask => {}
            }
        }
        let unknown = kid.filter(|_| !known);
        let mut state = self.0.state();
        // A fetch that runs may bring the key, and joining it costs the issuer nothing.
        if let (Some(kid), Some(running), false) = (unknown, state.running(), waited)
            && !state.refresh.is_known_absent(now, kid)
        {
            drop(state);
            return self.join(running, kid, algorithm);
        }
        match (state.refresh.decide(now, held, unknown, waited), snapshot) {
            (Act::Unavailable(retry_after), _) => Lookup::Unavailable { retry_after },
            (Act::Use, Some(snapshot)) => Lookup::Keys(Arc::clone(&snapshot.keys)),
            (Act::UseAndFetch, Some(snapshot)) => {
                Source::start(&self.0, state);
                Lookup::Keys(Arc::clone(&snapshot.keys))
            }
            (_, _) => {
                let running = Source::start(&self.0, state);
                Lookup::Wait(KeysPending::new(ended(running)))
            }
        }
    }
}

/// With the fetch, so that its end is noticed however it ends: one that is dropped or panics has failed.
struct Ends<S, B, R> {
    source: Arc<Source<S, B, R>>,
    asked_at: Instant,
    answer: Option<(Uri, Response<Bytes>)>,
    _sender: watch::Sender<()>,
}

impl<S, B, R> Drop for Ends<S, B, R> {
    fn drop(&mut self) {
        self.source.finish(self.asked_at, self.answer.take());
        self.source.fetching.store(false, Ordering::Release);
    }
}

/// Ends with an error when the sender is dropped, which is how a fetch ends.
async fn ended(mut running: watch::Receiver<()>) {
    let _ = running.changed().await;
}

impl<S, B, R> Remote<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Default + Send + 'static,
    R: Body<Data: Send, Error: Send> + Send + 'static,
{
    /// Waits for a fetch that began before this request. The issuer may have published the key after answering that, so
    /// when it is still absent the bucket decides about one more.
    fn join(&self, running: watch::Receiver<()>, kid: &str, algorithm: Algorithm) -> Lookup {
        let (source, kid) = (Arc::clone(&self.0), kid.to_owned());
        Lookup::Wait(KeysPending::new(async move {
            ended(running).await;
            let second = {
                let now = now();
                let View { held, known, .. } = source.view(now, Some(&kid), algorithm);
                let mut state = source.state();
                let act = state.refresh.decide(now, held, Some(&kid), false);
                (!known && act == Act::FetchAndWait).then(|| Source::start(&source, state))
            };
            if let Some(second) = second {
                ended(second).await;
            }
        }))
    }
}

impl<S, B, R> Source<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Default + Send + 'static,
    R: Body<Data: Send, Error: Send> + Send + 'static,
{
    /// Starts a fetch, or joins the one that runs.
    fn start(this: &Arc<Self>, mut state: MutexGuard<'_, State>) -> watch::Receiver<()> {
        if let Some(running) = state.running() {
            return running;
        }
        let (ends, running) = watch::channel(());
        state.running = Some(running.clone());
        // Whoever spawns may run the task at once, and it wants the lock.
        drop(state);
        this.fetches.prepare("tower_auth_key_fetches_total");
        this.fetching.store(true, Ordering::Release);
        let ends = Ends { source: Arc::clone(this), asked_at: now(), answer: None, _sender: ends };
        (this.config.spawn)(Box::pin(async move {
            let mut ends = ends;
            let timeout = ends.source.config.timeout;
            ends.answer = tokio::time::timeout(timeout, ends.source.fetch()).await.ok().flatten();
            drop(ends);
        }));
        running
    }

    async fn fetch(&self) -> Option<(Uri, Response<Bytes>)> {
        let uri = match &self.config.place {
            Place::At(uri) => uri.clone(),
            Place::Discovered(issuer) => self.discover(issuer).await?,
        };
        let etag = self.snapshot.load().as_ref().and_then(|snapshot| snapshot.etag.clone());
        let etag = etag.filter(|(of, _)| *of == uri).map(|(_, etag)| etag);
        let answer = self.get(uri.clone(), "application/jwk-set+json, application/json", etag).await?;
        Some((uri, answer))
    }

    /// Asked before every fetch of keys, so that an issuer may move them.
    async fn discover(&self, issuer: &str) -> Option<Uri> {
        for uri in document::well_known(issuer)? {
            let answer = self.get(uri, "application/json", None).await?;
            if answer.status() == StatusCode::OK {
                return document::jwks_uri(answer.body(), issuer);
            }
        }
        None
    }

    async fn get(
        &self,
        uri: Uri,
        accept: &'static str,
        etag: Option<HeaderValue>,
    ) -> Option<Response<Bytes>> {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut request = Request::new(B::default());
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(etag) = etag {
            request.headers_mut().insert(header::IF_NONE_MATCH, etag);
        }
        fetch::exchange(service, request, self.config.timeout, self.config.max_body).await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};

    use tower::service_fn;

    use super::*;

    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    /// Somebody holds the lock all the time; who asked for it here would hang.
    #[allow(clippy::await_holding_lock, reason = "that it is held is what is tested")]
    #[tokio::test(start_paused = true)]
    async fn a_known_key_never_waits_for_the_lock() {
        fn answer(_: Request<String>) -> Ready<Result<Response<String>, Infallible>> {
            ready(Ok(Response::new(String::new())))
        }
        let jwks = RemoteJwks::new(Uri::from_static("https://issuer.example/keys"), ());
        let remote = Remote::<_, String, String>::new(jwks, service_fn(answer));
        let keys = Arc::new(KeySet::from_jwks(KEYS.as_bytes()).unwrap());
        let (life, ahead) = (Duration::from_secs(300), Duration::from_secs(225));
        let snapshot = Snapshot { keys: Arc::clone(&keys), asked_at: now(), life, ahead, etag: None };
        remote.0.snapshot.store(Some(Arc::new(snapshot)));
        let locked = remote.0.state.lock().unwrap();
        let ask = || {
            let Lookup::Keys(found) = remote.lookup(Some("a"), Algorithm::EdDsa, false) else {
                panic!("no keys at once")
            };
            assert_eq!(found.generation(), keys.generation());
            remote.vouches_for(keys.generation())
        };
        assert!(ask(), "young");
        assert!(!remote.vouches_for(keys.generation() + 1));
        tokio::time::advance(Duration::from_secs(250)).await;
        assert!(!ask(), "time for a fetch, which nobody starts");
        remote.0.fetching.store(true, Ordering::Release);
        assert!(ask(), "a fetch runs");
        remote.0.fetching.store(false, Ordering::Release);
        tokio::time::advance(Duration::from_secs(100)).await;
        let (pause_until, failing_until) = (now() + Duration::from_secs(5), now() + Duration::from_secs(60));
        remote.0.calm.store(Some(Arc::new(Calm { pause_until, failing_until })));
        assert!(ask(), "too old, but the issuer does not answer");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!ask(), "time for the next attempt, for which nobody waits");
        drop(locked);
    }
}

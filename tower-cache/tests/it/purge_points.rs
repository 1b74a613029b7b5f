//! Purges against fills: each kind of purge at each step of each kind of fill, with a store that answers later, and with
//! its own steps before, between and after those of the fill. Whoever asks after a purge has returned must not see what
//! was made before it began.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::watch;
use tower::{Layer, ServiceExt};
use tower_cache::key::CacheKey;
use tower_cache::spawn::Task;
use tower_cache::store::{Entry, Lookup, Purge, Stamp, Store, StoreFuture};
use tower_cache::{Cache, CacheHandle, CacheLayer, MemoryStore};

use crate::support::{request, seconds, settle};

/// The steps of a task: it stops at each until that is open.
#[derive(Debug)]
struct Steps {
    reached: AtomicUsize,
    open: watch::Sender<usize>,
}

impl Steps {
    fn new(open: usize) -> Arc<Self> {
        Arc::new(Self { reached: AtomicUsize::new(0), open: watch::Sender::new(open) })
    }

    async fn open(&self, steps: usize) {
        self.open.send_replace(steps);
        settle().await;
    }
}

tokio::task_local! {
    /// Those of the task that runs; others stop nowhere.
    static OWN: Arc<Steps>;
}

async fn step() {
    let Ok(steps) = OWN.try_with(Arc::clone) else { return };
    let step = steps.reached.fetch_add(1, Ordering::SeqCst) + 1;
    steps.open.subscribe().wait_for(|open| *open >= step).await.unwrap();
}

/// Takes a step before and after everything that it does.
struct Stepping(MemoryStore);

fn stepping<T: Send + 'static>(work: impl FnOnce() -> StoreFuture<T> + Send + 'static) -> StoreFuture<T> {
    StoreFuture::new(async move {
        step().await;
        let done = work().await;
        step().await;
        done
    })
}

impl Store for Stepping {
    fn lookup(&self, key: &CacheKey) -> StoreFuture<Lookup> {
        let (store, key) = (self.0.clone(), key.clone());
        stepping(move || store.lookup(&key))
    }

    fn commit(&self, entry: Entry, stamp: Stamp) -> StoreFuture<()> {
        let store = self.0.clone();
        stepping(move || store.commit(entry, stamp))
    }

    fn purge(&self, purge: &Purge) -> StoreFuture<()> {
        let (store, purge) = (self.0.clone(), purge.clone());
        stepping(move || store.purge(&purge))
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, Infallible>;
type Origin = tower::util::BoxCloneSyncService<Request<Full<bytes::Bytes>>, Response<Body>, Infallible>;
type Service = tower_cache::CacheService<Origin>;

/// Answers with what is the version when it is asked, and takes its time to say so.
fn origin(version: Arc<AtomicUsize>) -> Origin {
    let answer = move |request: Request<Full<bytes::Bytes>>| {
        let version = version.load(Ordering::SeqCst).to_string();
        async move {
            step().await;
            let etag = format!("\"{version}\"");
            let same = request.headers().get("if-none-match").is_some_and(|known| *known == *etag);
            let status = if same { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
            let response = Response::builder().status(status).header("etag", etag).header("cache-tag", "all");
            let response = response
                .header("cache-control", "max-age=10, stale-while-revalidate=60")
                .header("content-location", request.uri().to_string());
            let silent = same || request.method() != Method::GET && request.method() != Method::POST;
            let body = futures_util::stream::unfold(version, move |mut left| async move {
                step().await;
                let piece =
                    if silent || left.is_empty() { None } else { Some(left.split_off(left.len() - 1)) };
                piece.map(|piece| (Ok::<_, Infallible>(http_body::Frame::data(piece.into())), left))
            });
            let body = http_body_util::StreamBody::new(body);
            Ok::<_, Infallible>(response.body(Body::new(body)).unwrap())
        }
    };
    Origin::new(tower::service_fn(answer))
}

/// What lands in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Miss,
    Confirmed,
    BehindStale,
    Ahead,
    Head,
    Post,
    Refresh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purged {
    Uri,
    Prefix,
    #[cfg(feature = "tags")]
    Tag,
    All,
    Delete,
    SoftUri,
    SoftPrefix,
    #[cfg(feature = "tags")]
    SoftTag,
    SoftAll,
}

impl Purged {
    const ALL: &[Self] = &[
        Self::Uri,
        Self::Prefix,
        #[cfg(feature = "tags")]
        Self::Tag,
        Self::All,
        Self::Delete,
        Self::SoftUri,
        Self::SoftPrefix,
        #[cfg(feature = "tags")]
        Self::SoftTag,
        Self::SoftAll,
    ];

    fn is_soft(self) -> bool {
        format!("{self:?}").starts_with("Soft")
    }

    async fn run(self, service: Service, handle: CacheHandle, prefix: String) {
        let uri = prefix.parse().unwrap();
        let prefix = &*prefix;
        let done = match self {
            Self::Uri => handle.purge(&uri).await,
            Self::Prefix => handle.purge_prefix(prefix).await,
            #[cfg(feature = "tags")]
            Self::Tag => handle.purge_tag("all").await,
            Self::All => handle.purge_all().await,
            Self::SoftUri => handle.soft_purge(&uri).await,
            Self::SoftPrefix => handle.soft_purge_prefix(prefix).await,
            #[cfg(feature = "tags")]
            Self::SoftTag => handle.soft_purge_tag("all").await,
            Self::SoftAll => handle.soft_purge_all().await,
            Self::Delete => {
                service.oneshot(request(Method::DELETE, prefix, &[])).await.unwrap();
                Ok(())
            }
        };
        done.unwrap();
    }
}

/// The outcome and the version that a GET has now.
async fn ask(service: &Service, uri: &str) -> (&'static str, String) {
    let response = service.clone().oneshot(request(Method::GET, uri, &[])).await.unwrap();
    let outcome = response.extensions().get::<tower_cache::CacheOutcome>().unwrap().as_str();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    (outcome, String::from_utf8(body.to_vec()).unwrap())
}

impl Fill {
    async fn run(self, service: Service, uri: String) {
        let method = match self {
            Self::Refresh => {
                service.refresh(request(Method::GET, &uri, &[])).await.unwrap();
                return;
            }
            Self::Head => Method::HEAD,
            Self::Post => Method::POST,
            _ => Method::GET,
        };
        let response = service.oneshot(request(method, &uri, &[])).await.unwrap();
        let _ = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    }
}

/// When the purge begins, works and returns: after so many steps of the fill.
#[derive(Debug, Clone, Copy)]
struct When([usize; 3]);

/// A cache for one kind of fill, with a URI for each time.
struct World {
    fill: Fill,
    version: Arc<AtomicUsize>,
    service: Service,
    handle: CacheHandle,
    runs: AtomicUsize,
}

impl World {
    fn new(fill: Fill) -> Self {
        let cache = Cache::builder()
            .store(Stepping(MemoryStore::new(1 << 20)))
            .store_timeout(Duration::from_secs(1 << 20))
            .background(99, Duration::from_secs(1 << 20))
            .refresh_ahead(if fill == Fill::Ahead { 0.5 } else { 0.0 })
            .spawn_with(|task: Task| {
                match OWN.try_with(Arc::clone) {
                    Ok(own) => tokio::spawn(OWN.scope(own, task)),
                    Err(_) => tokio::spawn(task),
                };
            })
            .build()
            .unwrap();
        let version = Arc::<AtomicUsize>::default();
        let service = CacheLayer::new(cache.clone()).layer(origin(Arc::clone(&version)));
        Self { fill, version, service, handle: cache.handle(), runs: AtomicUsize::new(0) }
    }
}

/// The number of steps that the fill took. With `meanwhile`, somebody asks as soon as the purge has returned.
async fn one(world: &World, purge: Option<(Purged, When)>, meanwhile: bool) -> usize {
    let (fill, version) = (world.fill, &world.version);
    let uri = format!("http://example.com/{}/", world.runs.fetch_add(1, Ordering::SeqCst));
    version.store(11, Ordering::SeqCst);
    let age = match fill {
        Fill::Miss | Fill::Post => None,
        Fill::Ahead => Some(8),
        Fill::BehindStale => Some(20),
        Fill::Confirmed | Fill::Head | Fill::Refresh => Some(100),
    };
    if let Some(age) = age {
        assert_eq!(ask(&world.service, &uri).await.0, "miss");
        settle().await;
        seconds(age).await;
    }
    let When([begins, works, returns]) = purge.map_or(When([0; 3]), |(_, when)| when);
    let steps = Steps::new(if purge.is_some() { begins } else { usize::MAX });
    let filling = tokio::spawn(OWN.scope(Arc::clone(&steps), fill.run(world.service.clone(), uri.clone())));
    settle().await;
    let Some((purge, when)) = purge else {
        filling.await.unwrap();
        settle().await;
        return steps.reached.load(Ordering::SeqCst);
    };
    let case = format!("{fill:?} {purge:?} {when:?} {meanwhile}");
    version.store(22, Ordering::SeqCst);
    let own = Steps::new(0);
    let purging = tokio::spawn(
        OWN.scope(Arc::clone(&own), purge.run(world.service.clone(), world.handle.clone(), uri.clone())),
    );
    settle().await;
    steps.open(works).await;
    // A DELETE takes a step at the origin first, and another for its content.
    let before = if purge == Purged::Delete { 1 } else { 0 };
    own.open(before + 1).await;
    steps.open(returns).await;
    own.open(usize::MAX).await;
    assert!(purging.is_finished(), "{case}");
    purging.await.unwrap();
    let newest = |(outcome, version): (&str, String), when: &str| {
        let old_and_stale = purge.is_soft() && outcome == "stale";
        assert!(version == "22" || old_and_stale, "{case}: {when} {outcome} with {version}");
    };
    if meanwhile {
        newest(ask(&world.service, &uri).await, "meanwhile");
    }
    steps.open(usize::MAX).await;
    filling.await.unwrap();
    settle().await;
    for when in ["afterwards", "then", "at last"] {
        newest(ask(&world.service, &uri).await, when);
        settle().await;
    }
    assert_eq!(ask(&world.service, &uri).await, ("hit", "22".into()), "{case}");
    steps.reached.load(Ordering::SeqCst)
}

/// With the variable `TOWER_ASSURE` all combinations of steps; otherwise those where the purge is done at one of them, or
/// spans all.
async fn all(fill: Fill) {
    let all = std::env::var_os("TOWER_ASSURE").is_some();
    let world = World::new(fill);
    let steps = one(&world, None, false).await;
    assert!((5..20).contains(&steps), "{fill:?} {steps}");
    for purge in Purged::ALL {
        for begins in 0..=steps {
            for works in begins..=steps {
                for returns in works..=steps {
                    let at_once = begins == returns;
                    let few = at_once || begins == 0 && returns == steps && works % 4 == 1;
                    for meanwhile in [false, true] {
                        if all || few && meanwhile == (begins % 2 == 0) {
                            one(&world, Some((*purge, When([begins, works, returns]))), meanwhile).await;
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_miss() {
    all(Fill::Miss).await;
}

#[tokio::test(start_paused = true)]
async fn a_confirmation() {
    all(Fill::Confirmed).await;
}

#[tokio::test(start_paused = true)]
async fn a_validation_behind_a_stale_answer() {
    all(Fill::BehindStale).await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_ahead_of_the_end() {
    all(Fill::Ahead).await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_updates() {
    all(Fill::Head).await;
}

#[tokio::test(start_paused = true)]
async fn a_post_that_answers_gets() {
    all(Fill::Post).await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_without_a_request() {
    all(Fill::Refresh).await;
}

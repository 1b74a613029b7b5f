//! Whoever leaves, after whichever step: nobody waits for ever, nobody takes part of a body for all of it, and the
//! origin is asked at most twice.
//!
//! Each test goes through all steps: the one who leaves is dropped after its n-th poll, for n from 0 to the number of
//! polls it needs, each poll being at most one await point or one chunk. Time stands still meanwhile: whatever needed
//! a timer to go on would count as hung. With `TOWER_ASSURE` origin and store are pending in more ways.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tower::Layer;
use tower_cache::{Cache, CacheLayer, CacheService, MemoryStore};

use crate::cancel_world::{Ending, Hand, Lazy, Seen, Stepping, client, whole};
use crate::support::seconds;

/// More rounds than any of this needs.
const ROUNDS: usize = 300;

/// What is stored before the leader comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Nothing,
    /// Something stale that the origin confirms (304).
    Confirmed,
    /// Something stale that the origin replaces (200).
    Replaced,
    /// Something stale that answers while it is validated in the background.
    Background,
}

#[derive(Debug, Clone, Copy)]
struct Scene {
    start: Start,
    ending: Ending,
    /// How often the origin's futures are pending, and the store's.
    origin: usize,
    store: usize,
}

/// Who leaves after how many polls, and in which round the followers come.
#[derive(Debug, Clone, Copy)]
struct Cut {
    leader: usize,
    follower: usize,
    joined: usize,
}

const STAYS: usize = usize::MAX;

struct Ran {
    leader: Hand,
    followers: [Hand; 2],
}

fn fields(start: Start) -> &'static [(&'static str, &'static str)] {
    match start {
        Start::Nothing => &[("cache-control", "max-age=60")],
        Start::Confirmed | Start::Replaced => &[("cache-control", "max-age=60"), ("etag", "\"a\"")],
        Start::Background => &[("cache-control", "max-age=60, stale-while-revalidate=60"), ("etag", "\"a\"")],
    }
}

/// A store takes longer to make than all the rest, so that all scenes share one.
static STORE: LazyLock<MemoryStore> = LazyLock::new(MemoryStore::default);
static SCENES: AtomicUsize = AtomicUsize::new(0);

async fn world(scene: Scene) -> (CacheService<Stepping>, Arc<AtomicUsize>, String) {
    let uri = format!("http://example.com/{}", SCENES.fetch_add(1, Ordering::Relaxed));
    let Scene { start, ending, origin, store } = scene;
    let calls = Arc::new(AtomicUsize::new(0));
    let not_modified = start == Start::Confirmed;
    let mut inner =
        Stepping { fields: fields(start), ending, pends: origin, not_modified, calls: Arc::clone(&calls) };
    let store = Lazy { inner: STORE.clone(), pends: store };
    let cache = CacheLayer::new(Cache::builder().store(store).build().unwrap());
    if start != Start::Nothing {
        inner.ending = Ending::Whole;
        let warm = client(cache.layer(inner.clone()), &uri).await;
        assert!(matches!(warm, Seen::Ended { .. }));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        seconds(90).await;
        inner.ending = ending;
        // The first call from now on is the one that goes wrong.
        calls.store(0, Ordering::Relaxed);
    }
    (cache.layer(inner), calls, uri)
}

/// Plays a scene; everybody is polled in turn, and so is what runs in the background.
async fn play(scene: Scene, cut: Cut) -> Ran {
    let (service, calls, uri) = world(scene).await;
    let began = tokio::time::Instant::now();
    let context = || format!("{scene:?} {cut:?}");
    let mut leader = Hand::new(&service, &uri);
    let mut followers: Option<[Hand; 2]> = None;
    for round in 0.. {
        assert!(round < ROUNDS, "hung: {}", context());
        leader.step(cut.leader);
        if round >= cut.joined {
            let followers =
                followers.get_or_insert_with(|| [Hand::new(&service, &uri), Hand::new(&service, &uri)]);
            followers[0].step(cut.follower);
            followers[1].step(STAYS);
            if leader.is_done() && followers.iter().all(Hand::is_done) {
                break;
            }
        }
        tokio::task::yield_now().await;
    }
    let Ran { leader, followers } = Ran { leader, followers: followers.unwrap() };
    let passed_on = [&leader, &followers[0], &followers[1]].map(|hand| judge(scene, hand, &context));
    let passed_on = passed_on.into_iter().filter(|passed_on| *passed_on).count();
    assert!(passed_on <= 1, "only the one who asked gets a response that belies itself: {}", context());
    // What is stored by then serves whoever comes later, and is whole too.
    for _ in 0..30 {
        tokio::task::yield_now().await;
    }
    let before = calls.load(Ordering::Relaxed);
    assert!(before <= 2, "{before} calls: {}", context());
    let mut late = Hand::new(&service, &uri);
    for _ in 0..ROUNDS {
        late.step(STAYS);
        if late.is_done() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(!judge(scene, &late, &context), "stored though too short: {}", context());
    assert!(late.seen.is_some(), "the one who comes later hangs: {}", context());
    let after = calls.load(Ordering::Relaxed);
    let goes_well = matches!(scene.ending, Ending::Whole | Ending::Announced | Ending::Trailers);
    assert!(after <= if goes_well { 2 } else { 3 }, "{after} calls: {}", context());
    assert_eq!(began.elapsed(), Duration::ZERO, "waited: {}", context());
    Ran { leader, followers }
}

/// Checks that it is all of one response, or an error; whether it is one shorter than announced, which the origin's
/// own caller gets as it is, for its length gives it away.
fn judge(scene: Scene, hand: &Hand, context: &dyn Fn() -> String) -> bool {
    let Some(Seen::Ended { body, length_holds, trailers, .. }) = &hand.seen else { return false };
    if scene.ending == Ending::Short && !length_holds {
        return true;
    }
    assert!(length_holds, "not as long as announced: {}", context());
    let call = (0..4).find(|call| *body == whole(*call));
    assert!(call.is_some(), "{body:?} is not all of a response: {}", context());
    if scene.start == Start::Nothing {
        assert_eq!(*trailers, scene.ending == Ending::Trailers, "trailers: {}", context());
    }
    false
}

fn scenes() -> Vec<Scene> {
    let mut scenes = Vec::new();
    let forms = crate::dice::rounds(2, 6);
    for start in [Start::Nothing, Start::Confirmed, Start::Replaced, Start::Background] {
        for ending in [
            Ending::Whole,
            Ending::Announced,
            Ending::Trailers,
            Ending::Broken,
            Ending::Short,
            Ending::Refused,
        ] {
            for (origin, store) in [(0, 0), (1, 2), (1, 0), (2, 0), (0, 1), (2, 3)].into_iter().take(forms) {
                scenes.push(Scene { start, ending, origin, store });
            }
        }
    }
    scenes
}

#[tokio::test(start_paused = true)]
async fn the_leader_leaves_after_each_step() {
    let mut cuts = 0;
    for scene in scenes() {
        for leader in 0.. {
            let mut finished = true;
            for joined in [0, 1, 2, 3, leader + 1, leader + 4] {
                let ran = play(scene, Cut { leader, follower: STAYS, joined }).await;
                finished &= ran.leader.polls < leader && ran.leader.seen.is_some();
                cuts += 1;
            }
            if finished {
                break;
            }
        }
    }
    assert!(cuts > 2_000, "{cuts}");
}

#[tokio::test(start_paused = true)]
async fn a_follower_leaves_after_each_step() {
    for scene in scenes() {
        for follower in 0.. {
            let mut finished = true;
            for joined in [0, 1, 3] {
                let ran = play(scene, Cut { leader: STAYS, follower, joined }).await;
                finished &= ran.followers[0].polls < follower && ran.followers[0].seen.is_some();
            }
            if finished {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn both_leave_after_each_step() {
    let scenes = scenes().into_iter().filter(|scene| scene.origin > 0);
    for scene in scenes.filter(|scene| scene.start != Start::Background) {
        for leader in 0..12 {
            for follower in 0..12 {
                play(scene, Cut { leader, follower, joined: 0 }).await;
            }
        }
    }
}

/// The background refresh belongs to nobody who could leave.
#[tokio::test(start_paused = true)]
async fn a_refresh_goes_on_without_the_one_who_caused_it() {
    for store in [0, 1, 2] {
        let scene = Scene { start: Start::Background, ending: Ending::Whole, origin: 2, store };
        let mut refreshed = 0;
        for polls in 0..20 {
            let (service, calls, uri) = world(scene).await;
            let mut leader = Hand::new(&service, &uri);
            for _ in 0..=polls {
                leader.step(polls);
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            if calls.load(Ordering::Relaxed) == 0 {
                continue;
            }
            refreshed += 1;
            let Seen::Ended { outcome, body, .. } = client(service.clone(), &uri).await else {
                panic!("broke off")
            };
            assert_eq!((outcome, body, calls.load(Ordering::Relaxed)), ("hit", whole(0), 1), "{polls} polls");
        }
        assert!(refreshed > 5, "{refreshed}");
    }
}

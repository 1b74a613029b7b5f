//! Readiness under random schedules: once given it stays, the inner service is called only when it said so, and nobody
//! waits for what has come already.

use std::collections::BTreeMap;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tower::{Layer, Service};
use tower_breaker::classify::ErrorIsFailure;
use tower_breaker::layer::{BreakerService, ResponseFuture};
use tower_breaker::{Breaker, BreakerLayer, CancelPolicy, Mode, Permit};

use crate::support::Seed;

const MS: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Upstream {
    ready: bool,
    fails: bool,
    waiting: Vec<Waker>,
}

/// A service that gives its readiness away once, and wants it used.
struct Inner {
    upstream: Arc<Mutex<Upstream>>,
    given: bool,
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        Self { upstream: Arc::clone(&self.upstream), given: false }
    }
}

impl Service<u8> for Inner {
    type Response = u8;
    type Error = u8;
    type Future = Ready<Result<u8, u8>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), u8>> {
        assert!(!self.given, "asked for a readiness that it has");
        let mut upstream = self.upstream.lock().unwrap();
        if !upstream.ready {
            upstream.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        self.given = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u8) -> Self::Future {
        assert!(std::mem::take(&mut self.given), "called without being ready");
        ready(if self.upstream.lock().unwrap().fails { Err(request) } else { Ok(request) })
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Guarded = BreakerService<Inner, ErrorIsFailure>;
type Call = ResponseFuture<Ready<Result<u8, u8>>, ErrorIsFailure>;

/// Somebody who uses a service, and has heard what it said last.
struct User {
    service: Guarded,
    woken: Arc<Woken>,
    said: Poll<()>,
}

impl User {
    fn new(service: Guarded) -> Self {
        // Nobody who was never told to wait is owed a wake.
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self { service, woken, said: Poll::Pending }
    }

    fn poll(&mut self) -> Poll<()> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let polled = self.service.poll_ready(&mut Context::from_waker(&waker));
        polled.map(|result| assert!(result.is_ok()))
    }

    fn ask(&mut self) {
        self.woken.0.store(false, Ordering::Relaxed);
        let said = self.poll();
        assert!(self.said.is_pending() || said.is_ready(), "took its readiness back");
        self.said = said;
    }

    /// Who waits and was not woken would be told to wait still.
    fn waits_for_something(&mut self) -> bool {
        let woken = |user: &Self| user.woken.0.load(Ordering::Relaxed);
        self.said.is_ready() || woken(self) || self.poll().is_pending() || woken(self)
    }
}

struct World {
    breaker: Breaker,
    upstream: Arc<Mutex<Upstream>>,
    users: Vec<User>,
    calls: Vec<Pin<Box<Call>>>,
    permits: Vec<Permit>,
}

impl World {
    fn new(seed: &mut Seed, mode: Mode) -> Self {
        let breaker = Breaker::builder("random")
            .consecutive_failures(2)
            .min_calls(4)
            .open_for(MS * (1 + seed.below(2_000) as u32))
            .probes(1 + seed.below(3) as u32)
            .probe_lease(MS * 300)
            .half_open_limit(MS * 900)
            .on_cancel(CancelPolicy::Ignore)
            .build()
            .unwrap();
        let upstream = Arc::<Mutex<Upstream>>::default();
        let layer = BreakerLayer::new(breaker.clone()).mode(mode);
        let service = || layer.layer(Inner { upstream: Arc::clone(&upstream), given: false });
        let release = seed.below(3) == 0;
        upstream.lock().unwrap().fails = true;
        let user = |_| User::new(if release { service().release_on_reject() } else { service() });
        let users = (0..3).map(user).collect();
        Self { breaker, upstream, users, calls: Vec::new(), permits: Vec::new() }
    }

    async fn step(&mut self, seed: &mut Seed) {
        let place = seed.below(3) as usize;
        match seed.below(18) {
            0..3 => self.users[place].ask(),
            3 | 4 if self.users[place].said.is_ready() => {
                let user = &mut self.users[place];
                user.said = Poll::Pending;
                user.woken.0.store(true, Ordering::Relaxed);
                self.calls.push(Box::pin(user.service.call(7)));
            }
            3..6 if !self.calls.is_empty() => {
                let place = seed.below(self.calls.len() as u64) as usize;
                let mut call = self.calls.swap_remove(place);
                if seed.below(4) > 0 {
                    let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                }
            }
            6 => {
                let mut upstream = self.upstream.lock().unwrap();
                upstream.ready = !upstream.ready;
                if upstream.ready {
                    std::mem::take(&mut upstream.waiting).into_iter().for_each(Waker::wake);
                }
            }
            7 => self.upstream.lock().unwrap().fails ^= true,
            8 => tokio::time::advance(MS * (1 + seed.below(700) as u32)).await,
            9 | 12 | 13 => self.permits.extend(self.breaker.try_acquire()),
            10 | 14..18 => match (self.permits.pop(), seed.below(6)) {
                (Some(permit), 0) => permit.success(),
                (Some(permit), 1..5) => permit.failure(),
                _ => {}
            },
            11 => match seed.below(12) {
                0 => self.breaker.force_open(),
                1 => self.breaker.force_close(),
                2 => self.breaker.disable(),
                3 => self.breaker.reset(),
                4 => self.users[place] = User::new(self.users[place].service.clone()),
                _ => {}
            },
            _ => {}
        }
        let state = self.breaker.state();
        for user in &mut self.users {
            assert!(user.waits_for_something(), "waits for what has come, {state}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_readiness_is_lost_taken_back_or_made_up() {
    let (mut seen, mut rejected) = (BTreeMap::<_, u64>::new(), 0);
    let schedules = if std::env::var_os("TOWER_ASSURE").is_some() { 50_000 } else { 150 };
    for number in 0..schedules {
        let mut seed = Seed(number);
        let mode = if number % 2 == 0 { Mode::Reject } else { Mode::Gate };
        let mut world = World::new(&mut seed, mode);
        for _ in 0..150 {
            world.step(&mut seed).await;
            *seen.entry(world.breaker.state().as_str()).or_default() += 1;
        }
        // Whatever has happened: well again, everybody gets through.
        world.permits.clear();
        world.breaker.force_close();
        {
            let mut upstream = world.upstream.lock().unwrap();
            (upstream.ready, upstream.fails) = (true, false);
        }
        for user in &mut world.users {
            for _ in 0..2 {
                user.ask();
                assert!(user.said.is_ready(), "{number}");
                user.said = Poll::Pending;
                let call = user.service.call(9);
                rejected += u64::from(call.await.is_err());
            }
        }
    }
    let often = |state| seen.get(state).is_some_and(|times| *times > schedules);
    assert!(["closed", "half_open", "open", "forced_open"].into_iter().all(often), "{seen:?}");
    // Only who was told before that it would be refused.
    assert!(rejected <= schedules * 3, "{rejected}");
}

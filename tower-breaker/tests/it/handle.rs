use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_breaker::{Breaker, BreakerBuilder, Event, OpenPeriod, RejectReason, State};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> BreakerBuilder {
    Breaker::builder("handle").min_calls(4).open_for(SECOND).probes(1)
}

fn fail(breaker: &Breaker, times: usize) {
    for _ in 0..times {
        breaker.try_acquire().unwrap().failure();
    }
}

fn recorded(breaker: &Breaker) -> Arc<Mutex<Vec<Event>>> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let _ = breaker.on_event(move |event| seen.lock().unwrap().push(event));
    events
}

fn transition(from: State, to: State) -> Event {
    Event::Transition { from, to }
}

#[tokio::test(start_paused = true)]
async fn a_ramp_admits_a_growing_share_after_the_probes() {
    let breaker = settings().ramp_up(SECOND * 100).build().unwrap();
    fail(&breaker, 4);
    tokio::time::advance(SECOND).await;
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
    let admitted = || {
        (0..100)
            .filter(|_| {
                breaker.try_acquire().is_ok_and(|permit| {
                    permit.success();
                    true
                })
            })
            .count()
    };
    assert_eq!(admitted(), 10);
    let rejected = (0..2).find_map(|_| breaker.try_acquire().err()).unwrap();
    assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::Ramping, Some(SECOND * 100)));
    tokio::time::advance(SECOND * 50).await;
    assert!((48..=52).contains(&admitted()));
    tokio::time::advance(SECOND * 50).await;
    assert_eq!(admitted(), 100);
    assert!(breaker.snapshot().calls > 0, "calls of the ramp are counted");
}

#[tokio::test(start_paused = true)]
async fn handlers_hear_each_transition_once_and_may_panic_and_use_the_breaker() {
    let breaker = settings().build().unwrap();
    let again = breaker.clone();
    breaker.on_event(|_| panic!("a handler that panics"));
    breaker.on_event(move |event| {
        if event == transition(State::Closed, State::Open) {
            again.disable();
        }
    });
    let events = recorded(&breaker);
    fail(&breaker, 4);
    assert_eq!(
        *events.lock().unwrap(),
        [transition(State::Closed, State::Open), transition(State::Open, State::Disabled)]
    );
    breaker.disable();
    assert_eq!(events.lock().unwrap().len(), 2, "no transition to itself");
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.snapshot().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn handlers_can_be_replaced_and_removed() {
    let breaker = settings().build().unwrap();
    let (first, second) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let count = |word: &Arc<AtomicU32>| {
        let word = Arc::clone(word);
        move |_| {
            word.fetch_add(1, Ordering::Relaxed);
        }
    };
    let subscription = breaker.on_event(count(&first));
    breaker.force_open();
    subscription.replace(count(&second));
    breaker.force_close();
    subscription.remove();
    breaker.force_open();
    assert_eq!((first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn metrics_only_tells_once_per_crossing() {
    let breaker = settings().build().unwrap();
    breaker.metrics_only();
    let events = recorded(&breaker);
    fail(&breaker, 6);
    assert_eq!(*events.lock().unwrap(), [Event::WouldOpen]);
    for _ in 0..7 {
        breaker.try_acquire().unwrap().success();
    }
    fail(&breaker, 1);
    assert_eq!(*events.lock().unwrap(), [Event::WouldOpen, Event::WouldOpen]);
    assert_eq!((breaker.state(), breaker.snapshot().calls), (State::MetricsOnly, 14));
}

/// The windows start anew with other settings, and so does what was told of them.
#[tokio::test(start_paused = true)]
async fn metrics_only_tells_of_a_crossing_under_other_settings_too() {
    let breaker = settings().build().unwrap();
    breaker.metrics_only();
    let events = recorded(&breaker);
    fail(&breaker, 4);
    breaker.reconfigure(&settings().min_calls(1)).unwrap();
    assert_eq!(*events.lock().unwrap(), [Event::WouldOpen]);
    fail(&breaker, 1);
    assert_eq!(*events.lock().unwrap(), [Event::WouldOpen, Event::WouldOpen]);
}

#[tokio::test(start_paused = true)]
async fn timed_transitions_need_no_call_and_yield_to_hands() {
    let breaker = settings().build().unwrap();
    let events = recorded(&breaker);
    let timer = tokio::spawn(breaker.timed_transitions());
    tokio::task::yield_now().await;
    fail(&breaker, 4);
    tokio::time::sleep(SECOND + SECOND / 100).await;
    assert_eq!(events.lock().unwrap().last(), Some(&transition(State::Open, State::HalfOpen)));
    breaker.force_open();
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(breaker.state(), State::ForcedOpen);
    drop(breaker);
    events.lock().unwrap().clear();
    timer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn settings_change_at_run_time() {
    let breaker = settings().build().unwrap();
    let late = breaker.try_acquire().unwrap();
    fail(&breaker, 3);
    breaker.reconfigure(&settings().min_calls(2).consecutive_failures(2)).unwrap();
    assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0));
    late.failure();
    assert_eq!(breaker.snapshot().calls, 0, "a result from before the change");
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Open);
    let error = breaker.reconfigure(&settings().min_calls(0)).unwrap_err();
    assert_eq!((error.field(), breaker.state()), ("min_calls", State::Open));
}

#[tokio::test(start_paused = true)]
async fn other_settings_bring_a_ring_of_their_own() {
    let breaker = settings().count_window(10).build().unwrap();
    fail(&breaker, 3);
    breaker.reconfigure(&settings().count_window(2)).unwrap();
    fail(&breaker, 1);
    assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 1));
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_hand_that_closes_lets_the_growth_begin_anew() {
    let hands: [fn(&Breaker); 2] = [Breaker::force_close, Breaker::reset];
    for close in hands {
        let period = OpenPeriod::exponential(SECOND, SECOND * 60).jitter(false);
        let breaker = settings().open_for(period).build().unwrap();
        fail(&breaker, 4);
        for seconds in [1, 2, 4] {
            assert_eq!(breaker.snapshot().retry_after, Some(SECOND * seconds));
            tokio::time::advance(SECOND * seconds).await;
            fail(&breaker, 1);
        }
        close(&breaker);
        fail(&breaker, 4);
        assert_eq!(breaker.snapshot().retry_after, Some(SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_starts_in_the_state_it_is_told() {
    for state in
        [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled, State::MetricsOnly]
    {
        let breaker = settings().initial_state(state).build().unwrap();
        assert_eq!(breaker.state(), state);
        let passes = !matches!(state, State::Open | State::ForcedOpen);
        assert_eq!(breaker.try_acquire().is_ok(), passes, "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_phase_without_a_verdict_leads_where_it_is_told() {
    for (to, settings) in
        [(State::Open, settings()), (State::Closed, settings().after_half_open_limit(State::Closed))]
    {
        let breaker = settings.half_open_limit(SECOND * 5).build().unwrap();
        fail(&breaker, 4);
        tokio::time::advance(SECOND).await;
        breaker.try_acquire().unwrap().ignore();
        assert_eq!(breaker.state(), State::HalfOpen);
        tokio::time::advance(SECOND * 5).await;
        assert_eq!(breaker.state(), to);
    }
    let refused = settings().after_half_open_limit(State::Disabled).build().unwrap_err();
    assert_eq!(refused.field(), "after_half_open_limit");
}

#[test]
fn two_threads_lose_no_outcome() {
    let calls = if std::env::var_os("TOWER_ASSURE").is_some() { 5_000_000 } else { 50_000_u64 };
    // Slots of a hundredth of a second, so that many rotate, and a window in which all of them are.
    for window in [SECOND / 10, SECOND * 3_600] {
        let breaker = settings().time_window(window).failure_rate(1.0).min_calls(u32::MAX).build().unwrap();
        let (generation, heard) = (breaker.snapshot().generation, recorded(&breaker));
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let breaker = &breaker;
                scope.spawn(move || {
                    for call in 0..calls {
                        let permit = breaker.try_acquire().unwrap();
                        if (call + thread) % 50 == 0 { permit.failure() } else { permit.success() }
                    }
                });
            }
        });
        let snapshot = breaker.snapshot();
        assert!(heard.lock().unwrap().is_empty() && snapshot.generation == generation);
        if window > SECOND {
            assert_eq!((snapshot.calls, snapshot.failures), (2 * calls, 2 * calls / 50));
        }
    }
}

#[cfg(feature = "metrics")]
#[test]
fn gathered_counters_are_exact() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let breaker =
            settings().time_window(SECOND / 10).failure_rate(1.0).min_calls(u32::MAX).build().unwrap();
        for call in 0..10_000 {
            let permit = breaker.try_acquire().unwrap();
            if call % 10 == 0 { permit.failure() } else { permit.success() }
        }
        breaker.force_open();
        for _ in 0..77 {
            breaker.try_acquire().unwrap_err();
        }
        // Nobody asks: the last handle takes the rest along.
    });
    let all = snapshotter.snapshot().into_vec();
    let sum = |name: &str, label: &str| -> u64 {
        let of = |key: &metrics::Key| key.name() == name && key.labels().any(|other| other.value() == label);
        let counters = all.iter().filter(|(key, ..)| of(key.key()));
        counters.map(|(.., value)| if let DebugValue::Counter(count) = value { *count } else { 0 }).sum()
    };
    let calls = |outcome| sum("tower_breaker_calls_total", outcome);
    assert_eq!([calls("success"), calls("failure"), calls("ignored")], [9_000, 1_000, 0]);
    assert_eq!(sum("tower_breaker_rejections_total", "handle"), 77);
}

//! The behaviours that users of circuit breakers have come to expect, numbered as in the table of the README: 1 to 48,
//! in own words after what Resilience4j and Polly promise. Ours are in `behaviours_ours`.

use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::{
    BoxError, Breaker, BreakerBuilder, BreakerLayer, Error, Event, HttpBreakerLayer, KeyedBreaker,
    OpenPeriod, Outcome, RejectReason, State,
};

use crate::support::{response, trip};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Looks at four calls or more; open for a second; two probes.
pub(crate) fn settings() -> BreakerBuilder {
    Breaker::builder("test").min_calls(4).open_for(SECOND).probes(2)
}

pub(crate) fn breaker() -> Breaker {
    settings().build().unwrap()
}

/// Tells `S`uccesses, `F`ailures and `I`gnored calls.
pub(crate) fn tell(breaker: &Breaker, outcomes: &str) {
    for outcome in outcomes.chars() {
        let permit = breaker.try_acquire().unwrap();
        match outcome {
            'S' => permit.success(),
            'F' => permit.failure(),
            _ => permit.ignore(),
        }
    }
}

pub(crate) async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

/// Open, and its period over.
pub(crate) async fn due(settings: BreakerBuilder) -> Breaker {
    let breaker = settings.build().unwrap();
    trip(&breaker);
    pass(SECOND).await;
    breaker
}

/// Everything that happens, from now on.
pub(crate) fn listen(breaker: &Breaker) -> Arc<Mutex<Vec<Event>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let _ = breaker.on_event(move |event| ear.lock().unwrap().push(event));
    heard
}

pub(crate) fn to(heard: &Mutex<Vec<Event>>) -> Vec<State> {
    let to = |event: &Event| if let Event::Transition { to, .. } = event { Some(*to) } else { None };
    heard.lock().unwrap().iter().filter_map(to).collect()
}

macro_rules! behaviours {
    ($($name:ident $body:block)*) => {
        $(#[tokio::test(start_paused = true)] async fn $name() $body)*
    };
}

pub(crate) use behaviours;

behaviours! {
    b01_starts_closed {
        assert_eq!(breaker().state(), State::Closed);
        assert!(breaker().try_acquire().is_ok());
    }
    b02_below_the_minimum_it_never_opens {
        let breaker = breaker();
        tell(&breaker, "FFF");
        assert_eq!(breaker.state(), State::Closed);
    }
    b03_a_rate_at_the_threshold_opens {
        let breaker = breaker();
        tell(&breaker, "SSFF");
        assert_eq!(breaker.state(), State::Open);
    }
    b04_a_rate_just_below_does_not {
        let breaker = settings().min_calls(100).build().unwrap();
        tell(&breaker, &("S".repeat(51) + &"F".repeat(49)));
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 100));
    }
    b05_the_rate_of_slow_calls_opens {
        let breaker = settings().slow_calls(SECOND, 0.5).build().unwrap();
        tell(&breaker, "SS");
        let slow = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
        pass(SECOND * 2).await;
        slow.into_iter().for_each(tower_breaker::Permit::success);
        assert_eq!(breaker.state(), State::Open);
    }
    b06_a_call_of_exactly_the_threshold_is_slow {
        let breaker = settings().slow_calls(SECOND, 0.5).build().unwrap();
        let (fast, slow) = (breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap());
        pass(SECOND - Duration::from_nanos(1)).await;
        fast.success();
        assert_eq!(breaker.snapshot().slow, 0);
        pass(Duration::from_nanos(1)).await;
        slow.success();
        assert_eq!(breaker.snapshot().slow, 1);
    }
    b07_the_minimum_is_at_most_the_count_window {
        let breaker = settings().count_window(3).min_calls(100).build().unwrap();
        tell(&breaker, "FF");
        assert_eq!(breaker.state(), State::Closed);
        tell(&breaker, "F");
        assert_eq!(breaker.state(), State::Open);
    }
    b08_samples_older_than_the_window_are_forgotten {
        let breaker = breaker();
        tell(&breaker, "FFF");
        pass(SECOND * 11).await;
        tell(&breaker, "F");
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 1));
    }
    b09_failures_in_several_slices_open_together {
        let breaker = breaker();
        for _ in 0..4 {
            assert_eq!(breaker.state(), State::Closed);
            tell(&breaker, "F");
            pass(SECOND * 2).await;
        }
        assert_eq!(breaker.snapshot().generation, 1);
    }
    b10_what_expires_this_moment_does_not_help_to_the_minimum {
        let breaker = breaker();
        tell(&breaker, "FFF");
        pass(SECOND * 10).await;
        tell(&breaker, "F");
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 1));
    }
    b11_what_is_just_inside_the_window_opens {
        let breaker = breaker();
        tell(&breaker, "FFF");
        // The edge of the window is exact to one of its ten slots.
        pass(SECOND * 9 - Duration::from_nanos(1)).await;
        tell(&breaker, "F");
        assert_eq!(breaker.state(), State::Open);
    }
    b12_a_long_silence_clears_the_window {
        let breaker = breaker();
        tell(&breaker, "FFF");
        for silence in [SECOND * 1000, SECOND * 1_000_000, SECOND * 100_000_000] {
            pass(silence).await;
            assert_eq!(breaker.snapshot().calls, 0);
        }
    }
    b13_the_ring_evicts_the_oldest {
        let breaker = settings().count_window(4).failure_rate(0.75).build().unwrap();
        tell(&breaker, "FFSSSS");
        assert_eq!((breaker.snapshot().calls, breaker.snapshot().failures), (4, 0));
    }
    b14_whether_a_success_opens_is_a_setting {
        for (opens, state) in [(true, State::Open), (false, State::Closed)] {
            let breaker = settings().open_on_success(opens).build().unwrap();
            tell(&breaker, "FFFS");
            assert_eq!(breaker.state(), state);
        }
    }
    b15_an_error_that_is_not_listed_is_no_failure {
        let breaker = breaker();
        let judge = |result: Result<&(), &u8>| match result {
            Err(5) => Outcome::Failure,
            _ => Outcome::Success,
        };
        for _ in 0..4 {
            let _ = breaker.call_with(judge, ready(Err::<(), u8>(4))).await;
        }
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 4));
        for _ in 0..4 {
            let _ = breaker.call_with(judge, ready(Err::<(), u8>(5))).await;
        }
        assert_eq!(breaker.state(), State::Open);
    }
    b16_an_ignored_error_counts_nothing {
        let breaker = breaker();
        tell(&breaker, "IIIIII");
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0));
    }
    b17_what_is_both_a_failure_and_ignored_is_ignored {
        let (outer, inner) = (breaker(), breaker());
        let service = service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(response(503, &[], &[]))));
        let service = HttpBreakerLayer::new(outer.clone()).layer(HttpBreakerLayer::new(inner.clone()).layer(service));
        let ask = || service.clone().oneshot(Request::new(()));
        ask().await.unwrap();
        assert_eq!(outer.snapshot().failures, 1);
        inner.force_open();
        // The same status, but it is a rejection.
        assert_eq!(ask().await.unwrap().status(), 503);
        assert_eq!(outer.snapshot().calls, 1);
    }
    b18_a_result_may_be_a_failure {
        let breaker = breaker();
        let judge = |result: Result<&u16, &()>| if *result.unwrap() < 500 { Outcome::Success } else { Outcome::Failure };
        for _ in 0..4 {
            assert_eq!(breaker.call_with(judge, ready(Ok::<u16, ()>(503))).await.unwrap(), 503);
        }
        assert_eq!(breaker.state(), State::Open);
    }
    b19_settings_out_of_range_are_refused {
        assert!(settings().failure_rate(1.0).build().is_ok());
        for rate in [0.0, -0.5, 1.0001, f64::NAN] {
            assert_eq!(settings().failure_rate(rate).build().unwrap_err().field(), "failure_rate");
            assert_eq!(settings().slow_calls(SECOND, rate).build().unwrap_err().field(), "slow_calls");
        }
        assert_eq!(settings().time_window(Duration::ZERO).build().unwrap_err().field(), "time_window");
        assert_eq!(settings().count_window(0).build().unwrap_err().field(), "count_window");
        assert_eq!(settings().min_calls(0).build().unwrap_err().field(), "min_calls");
        assert_eq!(settings().open_for(Duration::ZERO).build().unwrap_err().field(), "open_for");
        assert_eq!(settings().probes(0).build().unwrap_err().field(), "probes");
    }
    b20_the_longest_durations_do_not_overflow {
        let longest = settings()
            .time_window(Duration::MAX)
            .slow_calls(Duration::MAX, 1.0)
            .open_for(OpenPeriod::exponential(Duration::MAX, Duration::MAX))
            .probe_lease(Duration::MAX)
            .half_open_limit(Duration::MAX);
        let breaker = longest.build().unwrap();
        tell(&breaker, "SF");
        trip(&breaker);
        pass(SECOND * 1_000_000).await;
        assert!(breaker.snapshot().retry_after.unwrap() > SECOND);
        assert!(breaker.try_acquire().is_err());
    }
    b21_open_it_rejects_without_calling {
        let (breaker, calls) = (breaker(), AtomicUsize::new(0));
        let service = service_fn(|()| {
            calls.fetch_add(1, Ordering::Relaxed);
            ready(Ok::<_, BoxError>(()))
        });
        let service = BreakerLayer::new(breaker.clone()).layer(service);
        service.clone().oneshot(()).await.unwrap();
        trip(&breaker);
        assert!(matches!(service.oneshot(()).await, Err(Error::Rejected(_))));
        assert_eq!(calls.into_inner(), 1);
    }
    b22_a_rejection_names_the_breaker_and_the_wait {
        let breaker = breaker();
        trip(&breaker);
        pass(SECOND / 4).await;
        let rejected = breaker.try_acquire().unwrap_err();
        assert_eq!((rejected.breaker(), rejected.reason()), ("test", RejectReason::Open));
        assert_eq!(rejected.retry_after(), Some(SECOND * 3 / 4));
        assert_eq!(breaker.snapshot().retry_after, Some(SECOND * 3 / 4));
    }
    b23_no_call_passes_before_the_deadline {
        let breaker = breaker();
        trip(&breaker);
        pass(SECOND - Duration::from_nanos(1)).await;
        assert!(breaker.try_acquire().is_err());
    }
    b24_the_first_call_after_it_probes {
        let breaker = due(settings()).await;
        let probe = breaker.try_acquire().unwrap();
        assert_eq!(breaker.state(), State::HalfOpen);
        drop(probe);
    }
    b25_the_wait_may_grow_with_each_reopening {
        let breaker = settings().open_for(OpenPeriod::exponential(SECOND, SECOND * 4).jitter(false)).build().unwrap();
        trip(&breaker);
        for seconds in [1, 2, 4, 4] {
            assert_eq!(breaker.snapshot().retry_after, Some(SECOND * seconds));
            pass(SECOND * seconds).await;
            tell(&breaker, "F");
        }
    }
    b26_closing_resets_the_growth {
        let breaker = settings().open_for(OpenPeriod::exponential(SECOND, SECOND * 4).jitter(false)).build().unwrap();
        trip(&breaker);
        pass(SECOND).await;
        tell(&breaker, "F");
        pass(SECOND * 2).await;
        tell(&breaker, "SS");
        assert_eq!(breaker.state(), State::Closed);
        trip(&breaker);
        assert_eq!(breaker.snapshot().retry_after, Some(SECOND));
    }
    b27_a_late_result_neither_tells_again_nor_extends {
        let breaker = breaker();
        let late = breaker.try_acquire().unwrap();
        let heard = listen(&breaker);
        trip(&breaker);
        pass(SECOND / 2).await;
        late.failure();
        assert_eq!(to(&heard), [State::Open]);
        assert_eq!(breaker.snapshot().retry_after, Some(SECOND / 2));
    }
    b28_a_timer_may_move_it_and_gives_way_to_the_hand {
        let breaker = breaker();
        tokio::spawn(breaker.timed_transitions());
        let mut states = breaker.subscribe();
        trip(&breaker);
        states.mark_unchanged();
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(*states.borrow_and_update(), State::HalfOpen);
        breaker.force_close();
        trip(&breaker);
        tokio::task::yield_now().await;
        breaker.force_open();
        states.mark_unchanged();
        tokio::time::sleep(SECOND * 20).await;
        assert_eq!(breaker.state(), State::ForcedOpen);
        assert!(!states.has_changed().unwrap());
    }
    b29_exactly_so_many_probes_pass {
        let breaker = due(settings().probes(3)).await;
        let probes: Vec<_> = (0..3).map(|_| breaker.try_acquire().unwrap()).collect();
        assert_eq!(breaker.try_acquire().unwrap_err().reason(), RejectReason::ProbesTaken);
        drop(probes);
    }
    b30_successful_probes_close_and_clear {
        let breaker = due(settings()).await;
        tell(&breaker, "SS");
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0));
        tell(&breaker, "FFF");
        assert_eq!(breaker.state(), State::Closed);
    }
    b31_a_failing_share_of_probes_reopens {
        let breaker = due(settings().probes(4)).await;
        tell(&breaker, "SSF");
        assert_eq!(breaker.state(), State::HalfOpen);
        tell(&breaker, "F");
        assert_eq!(breaker.state(), State::Open);
    }
    b32_slow_probes_reopen {
        let breaker = due(settings().slow_calls(SECOND, 0.5)).await;
        let probe = breaker.try_acquire().unwrap();
        pass(SECOND).await;
        probe.success();
        assert_eq!(breaker.state(), State::Open);
    }
    b33_an_ignored_probe_gives_its_slot_back {
        let breaker = due(settings()).await;
        tell(&breaker, "IIIIIIIIII");
        assert_eq!(breaker.state(), State::HalfOpen);
        tell(&breaker, "SS");
        assert_eq!(breaker.state(), State::Closed);
    }
    b34_a_cancelled_probe_gives_its_slot_back {
        let breaker = due(settings()).await;
        for _ in 0..10 {
            drop(breaker.try_acquire().unwrap());
        }
        tell(&breaker, "SS");
        assert_eq!(breaker.state(), State::Closed);
    }
    b35_a_probe_phase_has_a_limit_and_a_state_after_it {
        for (after, state) in [(State::Open, State::Open), (State::Closed, State::Closed)] {
            let breaker = due(settings().half_open_limit(SECOND * 5).after_half_open_limit(after)).await;
            tell(&breaker, "I");
            pass(SECOND * 5 - Duration::from_nanos(1)).await;
            assert_eq!(breaker.state(), State::HalfOpen);
            pass(Duration::from_nanos(1)).await;
            assert_eq!(breaker.state(), state);
        }
    }
    b36_after_each_period_there_are_new_probes {
        let breaker = due(settings().probes(1).probe_lease(SECOND)).await;
        let mut hung = Vec::new();
        for _ in 0..50 {
            hung.push(breaker.try_acquire().unwrap());
            pass(SECOND).await;
            assert_eq!(breaker.state(), State::Open);
            pass(SECOND).await;
        }
        tell(&breaker, "S");
        assert_eq!(breaker.state(), State::Closed);
    }
    b37_of_many_at_the_deadline_one_probes {
        let breaker = due(settings().probes(1)).await;
        let runtime = tokio::runtime::Handle::current();
        let passed: Vec<_> = std::thread::scope(|scope| {
            let call = || {
                let _clock = runtime.enter();
                breaker.try_acquire().ok()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(call)).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((passed.len(), breaker.snapshot().generation), (1, 2));
    }
    b38_forced_open_outlives_the_timer {
        let breaker = breaker();
        trip(&breaker);
        breaker.force_open();
        pass(SECOND * 100_000).await;
        let rejected = breaker.try_acquire().unwrap_err();
        assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::ForcedOpen, None));
    }
    b39_disabled_it_lets_pass_and_tells_nothing {
        let breaker = breaker();
        breaker.disable();
        let heard = listen(&breaker);
        tell(&breaker, &"F".repeat(100));
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Disabled, 0));
        assert!(heard.lock().unwrap().is_empty());
    }
    b40_metrics_only_counts_and_tells_each_crossing_once {
        let breaker = settings().count_window(4).build().unwrap();
        breaker.metrics_only();
        let heard = listen(&breaker);
        tell(&breaker, "FFFFFF");
        assert_eq!((breaker.state(), breaker.snapshot().failures), (State::MetricsOnly, 4));
        assert_eq!(*heard.lock().unwrap(), [Event::WouldOpen]);
        tell(&breaker, "SSSSFFFF");
        assert_eq!(*heard.lock().unwrap(), [Event::WouldOpen; 2]);
    }
    b41_reset_clears {
        let breaker = breaker();
        tell(&breaker, "FFF");
        breaker.reset();
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0));
        trip(&breaker);
        breaker.reset();
        assert!(breaker.try_acquire().is_ok());
    }
    b42_transitions_that_make_no_sense_are_refused {
        assert!(settings().after_half_open_limit(State::Closed).build().is_ok());
        for state in [State::HalfOpen, State::ForcedOpen, State::Disabled, State::MetricsOnly] {
            let refused = settings().after_half_open_limit(state).build().unwrap_err();
            assert_eq!(refused.field(), "after_half_open_limit");
        }
    }
    b43_each_transition_is_told_once_and_none_to_itself {
        let breaker = breaker();
        let heard = listen(&breaker);
        breaker.force_close();
        breaker.force_open();
        breaker.force_open();
        breaker.force_close();
        trip(&breaker);
        pass(SECOND).await;
        tell(&breaker, "SS");
        assert_eq!(
            to(&heard),
            [State::ForcedOpen, State::Closed, State::Open, State::HalfOpen, State::Closed]
        );
    }
    b44_the_initial_state_is_a_setting {
        for state in [State::Closed, State::Open, State::ForcedOpen, State::Disabled, State::MetricsOnly] {
            assert_eq!(settings().initial_state(state).build().unwrap().state(), state);
        }
    }
    b45_the_same_key_is_the_same_breaker {
        let family: KeyedBreaker<&str> = KeyedBreaker::builder(settings()).build().unwrap();
        trip(&family.get("a"));
        assert_eq!((family.get("a").state(), family.get("b").state()), (State::Open, State::Closed));
    }
    b46_handlers_come_go_and_change {
        let (breaker, counts) = (breaker(), Arc::new([const { AtomicUsize::new(0) }; 2]));
        let count = |index: usize| {
            let counts = counts.clone();
            move |_| {
                counts[index].fetch_add(1, Ordering::Relaxed);
            }
        };
        let told = || [0, 1].map(|index| counts[index].load(Ordering::Relaxed));
        let first = breaker.on_event(count(0));
        breaker.force_open();
        assert_eq!(told(), [1, 0]);
        first.replace(count(1));
        breaker.force_close();
        assert_eq!(told(), [1, 1]);
        first.remove();
        breaker.force_open();
        assert_eq!(told(), [1, 1]);
    }
    b47_a_handler_that_panics_hurts_nobody {
        let breaker = breaker();
        let _ = breaker.on_event(|_| panic!("on purpose"));
        let heard = listen(&breaker);
        trip(&breaker);
        pass(SECOND).await;
        tell(&breaker, "SS");
        assert_eq!(to(&heard), [State::Open, State::HalfOpen, State::Closed]);
    }
    b48_pipelines_share_it {
        let breaker = breaker();
        let fails = service_fn(|()| ready(Err::<(), _>(BoxError::from("down"))));
        let works = service_fn(|_: u8| ready(Ok::<_, BoxError>(7)));
        let one = BreakerLayer::new(breaker.clone()).layer(fails);
        let other = BreakerLayer::new(breaker.clone()).layer(works);
        assert!(other.clone().oneshot(0).await.is_ok());
        for _ in 0..3 {
            one.clone().oneshot(()).await.unwrap_err();
        }
        assert!(other.oneshot(0).await.unwrap_err().rejection().is_some());
    }
}

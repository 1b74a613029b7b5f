//! Models of loom: every interleaving of the threads below, on the shipped code.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p tower-breaker --release --test loom`; with `LOOM_MAX_PREEMPTIONS=2` bounded.
#![cfg(loom)]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::Ordering;

use loom::sync::Arc;
use loom::thread;
use tower_breaker::model::{Model, SECOND, Ticket};
use tower_breaker::{Breaker, BreakerBuilder, State, Verdict};

/// Slots of five seconds, two of them.
fn settings() -> BreakerBuilder {
    Breaker::builder("model").time_window(SECOND * 10).min_calls(2).open_for(SECOND * 10).probes(1)
}

fn tickets<const N: usize>(model: &Model) -> [Ticket; N] {
    [(); N].map(|()| model.admit(0, 1).unwrap())
}

fn heard(word: &std::sync::atomic::AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// Runs the steps on threads of their own, the last one on this thread.
fn race<const N: usize>(model: &Arc<Model>, steps: [fn(&Model, Ticket); N]) {
    let tickets = tickets::<N>(model);
    let mut threads = Vec::new();
    for (index, step) in steps.into_iter().enumerate().skip(1) {
        let (model, ticket) = (Arc::clone(model), tickets[index]);
        threads.push(thread::spawn(move || step(&model, ticket)));
    }
    steps[0](model, tickets[0]);
    for thread in threads {
        thread.join().unwrap();
    }
}

fn succeed(shard: usize) -> fn(&Model, Ticket) {
    if shard == 0 {
        |model, ticket| model.record(0, ticket, Verdict::SUCCESS, 1)
    } else {
        |model, ticket| model.record(1, ticket, Verdict::SUCCESS, 1)
    }
}

#[test]
fn failures_of_three_threads_open_it_once() {
    loom::model(|| {
        let model = Arc::new(Model::new(&settings().min_calls(3)));
        let fail: fn(&Model, Ticket) = |model, ticket| model.record(1, ticket, Verdict::FAILURE, 1);
        race(&model, [fail, fail, fail]);
        assert_eq!((model.look(1).0, model.look(1).1), (State::Open, 1));
        assert_eq!(heard(&model.heard.opened), 1);
        assert_eq!(heard(&model.heard.failures), 3);
    });
}

#[test]
fn a_success_that_reaches_the_minimum_opens_it_whoever_comes_first() {
    loom::model(|| {
        let model = Arc::new(Model::new(&settings().min_calls(3).failure_rate(0.3)));
        let fail: fn(&Model, Ticket) = |model, ticket| model.record(1, ticket, Verdict::FAILURE, 1);
        race(&model, [succeed(0), succeed(0), fail]);
        assert_eq!(model.look(1).0, State::Open);
        assert_eq!(heard(&model.heard.opened), 1);
        assert_eq!((heard(&model.heard.successes), heard(&model.heard.failures)), (2, 1));
    });
}

#[test]
fn rotation_loses_nothing_and_counts_nothing_twice() {
    loom::model(|| {
        let model = Arc::new(Model::new(&settings().min_calls(100)));
        let [first] = tickets::<1>(&model);
        model.record(0, first, Verdict::SUCCESS, 1);
        // The same words two slots later, by two threads, while a third one reads.
        let later: fn(&Model, Ticket) = |model, ticket| model.record(0, ticket, Verdict::SUCCESS, 11);
        let read: fn(&Model, Ticket) = |model, _| {
            let (_, _, calls, _) = model.look(11);
            assert!(calls <= 2);
            assert!(heard(&model.heard.successes) <= 3);
        };
        race(&model, [read, later, later]);
        assert_eq!(model.look(11).2, 2);
        assert_eq!(heard(&model.heard.successes), 3);
    });
}

#[test]
fn results_from_before_a_transition_count_for_nothing_afterwards() {
    loom::model(|| {
        let model = Arc::new(Model::new(&settings()));
        let again: fn(&Model, Ticket) = |model, _| model.force(State::Closed, 1);
        race(&model, [again, succeed(0), succeed(1)]);
        let (state, generation, calls, _) = model.look(1);
        assert_eq!((state, generation, calls), (State::Closed, 1, 0));
        // In the metrics they are all the same.
        assert_eq!(heard(&model.heard.successes) + heard(&model.heard.others), 2);
        assert_eq!(heard(&model.heard.closed), 0, "no transition to itself is told");
    });
}

#[test]
fn one_of_three_threads_gets_the_probe_and_a_late_result_does_not_decide_it() {
    loom::model(|| {
        let model = Arc::new(Model::new(&settings().initial_state(State::Open)));
        let probe = || {
            let model = Arc::clone(&model);
            move || model.admit(1, 20).inspect(|ticket| assert!(ticket.is_probe()))
        };
        let (second, third) = (thread::spawn(probe()), thread::spawn(probe()));
        let won = [probe()(), second.join().unwrap(), third.join().unwrap()];
        assert_eq!(won.iter().flatten().count(), 1);
        assert_eq!(heard(&model.heard.half_opened), 1);
        model.look(20);
        assert_eq!(heard(&model.heard.rejections), 2);
    });
}

#[test]
fn a_probe_slot_comes_back_and_its_outcome_decides_once() {
    loom::model(|| {
        let model = Arc::new(Model::new(&settings().initial_state(State::Open)));
        let ticket = model.admit(0, 20).unwrap();
        // What a dropped permit tells, beside a call that waits for the slot and the end of the lease.
        let cancelled = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.record(0, ticket, Verdict::IGNORED, 21))
        };
        let waiting = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                if let Some(ticket) = model.admit(1, 21) {
                    model.record(1, ticket, Verdict::SUCCESS, 21);
                }
            })
        };
        let (state, ..) = model.look(22);
        assert!(matches!(state, State::HalfOpen | State::Closed));
        cancelled.join().unwrap();
        waiting.join().unwrap();
        match model.look(22).0 {
            State::Closed => assert_eq!(heard(&model.heard.closed), 1),
            // The slot is free.
            _ => assert!(model.admit(0, 22).is_some()),
        }
    });
}

#[test]
fn consecutive_failures_are_broken_by_a_success_of_another_thread_or_not_at_all() {
    loom::model(|| {
        let settings = Breaker::builder("model").consecutive_failures(2).open_for(SECOND * 10);
        let model = Arc::new(Model::new(&settings));
        let fail: fn(&Model, Ticket) = |model, ticket| model.record(1, ticket, Verdict::FAILURE, 1);
        race(&model, [succeed(0), fail, fail]);
        let (state, generation, ..) = model.look(1);
        assert_eq!(state == State::Open, generation == 1);
        assert_eq!(heard(&model.heard.opened), generation);
    });
}

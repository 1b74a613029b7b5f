//! Models of loom: every interleaving of the threads below, on the shipped code of the purge generations.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p tower-cache --release --test loom`; with `LOOM_MAX_PREEMPTIONS=2` bounded.
#![cfg(loom)]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use tower_cache::model::Model;

/// A name whose content changes and is purged afterwards, beside a fill that reads the content.
fn changed_and_purged(purge: fn(&Model), others: &'static [usize]) {
    loom::model(move || {
        let model = Arc::new(Model::new());
        let content = Arc::new(AtomicU64::new(1));
        let fill = thread::spawn({
            let (model, content) = (Arc::clone(&model), Arc::clone(&content));
            move || {
                let stamp = model.stamp();
                (stamp, content.load(Ordering::SeqCst))
            }
        });
        let more = thread::spawn({
            let model = Arc::clone(&model);
            move || others.iter().for_each(|name| model.purge(*name, false))
        });
        content.store(2, Ordering::SeqCst);
        purge(&model);
        // The purge has ended: what was asked for before it answers no more.
        let (stamp, read) = fill.join().unwrap();
        assert!(read == 2 || !model.answers(0, stamp));
        more.join().unwrap();
        assert!(read == 2 || !model.answers(0, stamp));
        assert!(model.answers(0, model.stamp()), "what begins now answers");
    });
}

#[test]
fn a_fill_that_began_before_a_purge_never_answers_after_it() {
    changed_and_purged(|model| model.purge(0, false), &[]);
    changed_and_purged(|model| model.purge_everything(false), &[]);
}

#[test]
fn nor_when_other_names_take_the_place_of_its_note() {
    changed_and_purged(|model| model.purge(0, false), &[1, 2, 3]);
}

#[test]
fn a_soft_purge_leaves_it_stale() {
    loom::model(|| {
        let model = Arc::new(Model::new());
        let content = Arc::new(AtomicU64::new(1));
        let fill = thread::spawn({
            let (model, content) = (Arc::clone(&model), Arc::clone(&content));
            move || {
                let stamp = model.stamp();
                (stamp, content.load(Ordering::SeqCst))
            }
        });
        content.store(2, Ordering::SeqCst);
        model.purge(0, true);
        let (stamp, read) = fill.join().unwrap();
        assert!(model.answers(0, stamp));
        assert!(read == 2 || !model.is_fresh(0, stamp));
    });
}

#[test]
fn two_purges_of_one_name_leave_the_later_and_a_reader_never_loses_one() {
    loom::model(|| {
        let model = Arc::new(Model::new());
        let before = model.stamp();
        let purges = [(); 2].map(|()| {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                model.purge(0, false);
                // Its own purge, at least.
                assert!(!model.answers(0, before));
                model.stamp()
            })
        });
        let stamps = purges.map(|purge| purge.join().unwrap());
        assert!(!model.answers(0, before));
        // Whoever began when both had been numbered is newer than both.
        assert!(model.answers(0, model.stamp()));
        assert!(stamps.iter().max().is_some_and(|stamp| model.answers(0, *stamp)));
    });
}

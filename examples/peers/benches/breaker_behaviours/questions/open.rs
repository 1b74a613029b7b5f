use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::asked::{Heard, Question, WAIT, WAITED, drive};
use crate::subjects::{Job, Told, Wanted, wanted};

pub const QUESTIONS: &[Question] = &[
    (21, "open it rejects without calling", |world| {
        let it = world.make(wanted())?;
        it.trip();
        let made = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&made);
        let rejected = drive((it.calls[0])(Job::new(async move {
            counts.fetch_add(1, Ordering::Relaxed);
            Ok(1)
        })));
        Ok(rejected.is_err() && made.load(Ordering::Relaxed) == 0)
    }),
    (22, "a rejection names the breaker and the wait", |world| {
        let it = world.make(wanted())?;
        it.trip();
        let rejection = drive((it.calls[0])(Job::new(async { Ok(1) }))).err();
        Ok(rejection.is_some_and(|rejection| {
            rejection.says.contains("peer")
                && rejection.wait.is_some_and(|wait| !wait.is_zero() && wait <= WAIT)
        }))
    }),
    (23, "no call passes before the deadline", |world| {
        let it = world.make(Wanted { wait: WAIT * 5, ..wanted() })?;
        it.trip();
        world.pass(WAIT * 2);
        Ok(!it.ok())
    }),
    (24, "the first call after it probes", |world| {
        let it = world.make(wanted())?;
        it.trip();
        let shut = !it.ok();
        world.pass(WAITED);
        Ok(shut && it.ok())
    }),
    (25, "the wait may grow with each reopening", |world| {
        let it = world.make(Wanted { grows: true, wait: WAIT * 2, ..wanted() })?;
        it.trip();
        world.pass(WAITED * 2);
        let probed = it.call(Err(1));
        it.tell("F");
        world.pass(WAITED * 2);
        let longer = !it.ok();
        world.pass(WAITED * 2);
        Ok(probed && longer && it.ok())
    }),
    (26, "closing resets the growth", |world| {
        let it = world.make(Wanted { grows: true, wait: WAIT * 2, ..wanted() })?;
        it.trip();
        world.pass(WAITED * 2);
        it.tell("F");
        world.pass(WAITED * 4);
        let closed = it.ok();
        it.trip();
        let shut = !it.ok();
        world.pass(WAITED * 2);
        Ok(closed && shut && it.ok())
    }),
    (27, "a late result neither tells again nor extends", |world| {
        let heard = Heard::default();
        let it = world.make(Wanted { ear: heard.of(), wait: WAIT * 2, ..wanted() })?;
        let Some(late) = it.hold() else { return Ok(false) };
        it.trip();
        world.pass(WAIT);
        late.end(Err(1));
        world.pass(WAITED);
        Ok(heard.count(Told::Opened) == 1 && it.ok())
    }),
    (28, "a timer may move it and gives way to the hand", |world| {
        let heard = Heard::default();
        let it = world.make(Wanted { timed: true, ear: heard.of(), ..wanted() })?;
        it.trip();
        world.pass(WAITED);
        let moved = heard.count(Told::HalfOpened) == 1;
        let force_open = it.force_open.as_ref().map_err(|lack| *lack)?;
        it.reset.as_ref().map_err(|lack| *lack)?();
        it.trip();
        force_open();
        world.pass(WAITED * 10);
        Ok(moved && heard.count(Told::HalfOpened) == 1 && !it.ok())
    }),
];

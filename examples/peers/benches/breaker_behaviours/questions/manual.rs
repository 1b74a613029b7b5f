use std::sync::Arc;

use crate::asked::{Heard, Question, WAITED, drive};
use crate::subjects::{Job, Mode, Told, Wanted, wanted};

pub const QUESTIONS: &[Question] = &[
    (38, "forced open outlives the timer", |world| {
        let it = world.make(wanted())?;
        it.force_open.as_ref().map_err(|lack| *lack)?();
        world.pass(WAITED);
        Ok(!it.ok())
    }),
    (39, "disabled it lets pass and tells nothing", |world| {
        let heard = Heard::default();
        let it = world.make(Wanted { mode: Mode::Disabled, ear: heard.of(), ..wanted() })?;
        Ok((0..20).all(|_| it.call(Err(1))) && heard.so_far().is_empty())
    }),
    (40, "metrics only counts and tells each crossing once", |world| {
        let heard = Heard::default();
        let it = world.make(Wanted { mode: Mode::MetricsOnly, ear: heard.of(), ..wanted() })?;
        let passed = (0..8).all(|_| it.call(Err(1)));
        let once = heard.so_far() == [Told::Crossed];
        it.tell(&"S".repeat(12));
        it.tell(&"F".repeat(12));
        Ok(passed && once && it.ok() && heard.so_far() == [Told::Crossed; 2])
    }),
    (41, "reset clears", |world| {
        let it = world.make(wanted())?;
        let reset = it.reset.as_ref().map_err(|lack| *lack)?;
        it.tell("FFF");
        reset();
        it.tell("FFF");
        let closed = it.ok();
        it.trip();
        let shut = !it.ok();
        reset();
        Ok(closed && shut && it.ok())
    }),
    (42, "transitions that make no sense are refused", |world| {
        Ok(!world.refuses(wanted())? && world.refuses(Wanted { nonsense: true, ..wanted() })?)
    }),
    (43, "each transition is told once and none to itself", |world| {
        let heard = Heard::default();
        let it = world.make(Wanted { ear: heard.of(), ..wanted() })?;
        heard.forget();
        it.trip();
        let once = heard.so_far() == [Told::Opened];
        world.pass(WAITED);
        it.tell("F");
        let reopened = heard.so_far() == [Told::Opened, Told::HalfOpened, Told::Opened];
        world.pass(WAITED);
        it.tell("SS");
        Ok(once && reopened && heard.so_far()[3..] == [Told::HalfOpened, Told::Closed])
    }),
    (44, "the initial state is a setting", |world| {
        let it = world.make(Wanted { starts_open: true, ..wanted() })?;
        let shut = !it.ok();
        world.pass(WAITED);
        Ok(shut && it.ok())
    }),
    (45, "the same key is the same breaker", |world| {
        let keyed = world.keyed(10)?;
        let well = (keyed.call)(1, Ok(1)) && (keyed.call)(2, Ok(1));
        for _ in 0..8 {
            (keyed.call)(1, Err(1));
        }
        Ok(well && !(keyed.call)(1, Ok(1)) && (keyed.call)(2, Ok(1)))
    }),
    (46, "handlers come, go and change", |world| {
        let it = world.make(wanted())?;
        let listen = it.listen.as_ref().map_err(|lack| *lack)?;
        let force_open = it.force_open.as_ref().map_err(|lack| *lack)?;
        let reset = it.reset.as_ref().map_err(|lack| *lack)?;
        let (first, second) = (Heard::default(), Heard::default());
        let counts = || [&first, &second].map(|heard| heard.so_far().len());
        let place = listen(first.of().unwrap());
        force_open();
        let came = counts() == [1, 0];
        (place.replace)(second.of().unwrap());
        reset();
        let changed = counts() == [1, 1];
        drop(place.replace);
        (place.remove)();
        force_open();
        Ok(came && changed && counts() == [1, 1])
    }),
    (47, "a handler that panics hurts nobody", |world| {
        let panics = Arc::new(|told| assert!(told == Told::Closed, "a handler"));
        let it = world.make(Wanted { ear: Some(panics), ..wanted() })?;
        it.trip();
        let shut = !it.ok();
        world.pass(WAITED);
        Ok(shut && it.ok())
    }),
    (48, "pipelines share it", |world| {
        let it = world.make(wanted())?;
        let other = || drive((it.calls[1])(Job::new(async { Ok(1) }))).is_ok();
        let well = other();
        it.trip();
        Ok(well && !other())
    }),
];

use std::time::Duration;

use crate::asked::{Question, SECOND, World};
use crate::subjects::{Wanted, Window, wanted};

const WINDOW: Duration = Duration::from_secs(2);

/// A window of time, which is looked at for the second time at the earliest: the mean of failsafe wants one to be over.
fn windowed(world: &World<'_>) -> Result<crate::subjects::Subject, crate::subjects::Lack> {
    let it = world.make(Wanted { window: Window::Time(WINDOW), wait: SECOND * 60, ..wanted() })?;
    world.pass(WINDOW);
    Ok(it)
}

pub const QUESTIONS: &[Question] = &[
    (1, "starts closed", |world| Ok(world.make(wanted())?.ok())),
    (2, "below the minimum it never opens", |world| {
        let it = world.make(wanted())?;
        it.tell("FFF");
        Ok(it.ok())
    }),
    (3, "a rate at the threshold opens", |world| {
        let it = world.make(Wanted { minimum: 8, ..wanted() })?;
        // The last one is for those that look at a ring only once it is full.
        it.tell("SSSSFFFFS");
        Ok(!it.ok())
    }),
    (4, "a rate just below does not", |world| {
        let it = world.make(Wanted { minimum: 100, ..wanted() })?;
        it.tell(&("S".repeat(51) + &"F".repeat(49)));
        Ok(it.ok())
    }),
    (5, "the rate of slow calls opens", |world| {
        let it = world.make(Wanted { slow: Some(Duration::from_millis(20)), ..wanted() })?;
        let (count, held) = it.at_once();
        world.pass(Duration::from_millis(40));
        held.into_iter().for_each(|held| held.end(Ok(1)));
        Ok(count == 5 && !it.ok())
    }),
    (6, "a call of exactly the threshold is slow", |world| {
        let slow = Duration::from_millis(20);
        let of = |nanos| -> Result<bool, _> {
            let it = world.make(Wanted { slow: Some(slow), ..wanted() })?;
            let held = it.at_once().1;
            world.exact()?;
            world.pass(slow - Duration::from_nanos(nanos));
            held.into_iter().for_each(|held| held.end(Ok(1)));
            Ok(!it.ok())
        };
        Ok(of(0)? && !of(1)?)
    }),
    (7, "the minimum is at most the count window", |world| {
        let it = world.make(Wanted { window: Window::Calls(3), minimum: 100, ..wanted() })?;
        it.tell("FF");
        let early = it.call(Err(1));
        Ok(early && !it.ok())
    }),
    (8, "samples older than the window are forgotten", |world| {
        let it = windowed(world)?;
        it.tell("FFF");
        world.pass(WINDOW + SECOND / 2);
        it.tell("F");
        Ok(it.ok())
    }),
    (9, "failures in several slices open together", |world| {
        let it = windowed(world)?;
        for _ in 0..4 {
            it.tell("F");
            world.pass(SECOND / 4);
        }
        Ok(!it.ok())
    }),
    (10, "what expires this moment does not help to the minimum", |world| {
        let it = windowed(world)?;
        world.exact()?;
        it.tell("FFF");
        world.pass(WINDOW);
        it.tell("F");
        Ok(it.ok())
    }),
    (11, "what is just inside the window opens", |world| {
        let it = windowed(world)?;
        it.tell("FFF");
        world.pass(WINDOW * 3 / 4);
        it.tell("F");
        Ok(!it.ok())
    }),
    (12, "a long silence clears the window", |world| {
        let it = windowed(world)?;
        it.tell("FFF");
        // As long as waiting for it can be borne: its clock, or the system's.
        world.pass(if world.exact().is_ok() { SECOND * 100_000_000 } else { WINDOW * 4 });
        it.tell("F");
        Ok(it.ok())
    }),
    (13, "the ring evicts the oldest", |world| {
        let it = world.make(Wanted { window: Window::Calls(10), ..wanted() })?;
        it.tell(&"S".repeat(100));
        it.tell(&"F".repeat(5));
        Ok(!it.ok())
    }),
    (14, "whether a success opens is a setting", |world| {
        let opens = |opens| -> Result<bool, _> {
            let it = world.make(Wanted { opens_on_success: Some(opens), ..wanted() })?;
            it.tell("FFFS");
            Ok(!it.ok())
        };
        Ok(opens(true)? && !opens(false)?)
    }),
    (15, "an error that is not listed is no failure", |world| {
        let it = world.make(Wanted { listed: true, ..wanted() })?;
        (0..8).for_each(|_| assert!(it.call(Err(2))));
        let unharmed = it.ok();
        it.trip();
        it.trip();
        Ok(unharmed && !it.ok())
    }),
    (16, "an ignored error counts nothing", |world| {
        let it = world.make(Wanted { ignores: true, ..wanted() })?;
        it.tell("FFF");
        it.tell("IIIIIIII");
        let closed = it.hold().is_some();
        it.tell("F");
        Ok(closed && !it.ok())
    }),
    (17, "what is both a failure and ignored is ignored", |world| {
        let web = world.web()?;
        let refused = |rejection| crate::subjects::Script {
            status: 503,
            fields: Vec::new(),
            pieces: Vec::new(),
            rejection,
        };
        let mut passed = true;
        for _ in 0..8 {
            passed &= (web.ask)(refused(true), 8)?;
        }
        let failed = (web.ask)(refused(false), 8)?;
        Ok(passed && failed && !(web.ask)(refused(false), 8)?)
    }),
    (18, "a result may be a failure", |world| {
        let it = world.make(Wanted { answers: true, ..wanted() })?;
        (0..4).for_each(|_| assert!(it.call(Ok(9))));
        Ok(!it.ok())
    }),
    (19, "settings out of range are refused", |world| {
        let refuses = |rate| world.refuses(Wanted { rate, window: Window::Time(WINDOW), ..wanted() });
        // Those that have no window of time have a rate.
        let refuses = |rate| refuses(rate).or_else(|_| world.refuses(Wanted { rate, ..wanted() }));
        Ok(!refuses(0.5)? && refuses(2.0)? && refuses(-0.5)? && refuses(f64::NAN)?)
    }),
    (20, "the longest durations do not overflow", |world| {
        let it = world.make(Wanted { wait: Duration::MAX, ..wanted() })?;
        it.trip();
        Ok(!it.ok() && !it.ok())
    }),
];

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::asked::{Answer, Question, SECOND, WAITED, World, advance, drive, runtime};
use crate::subjects::{Job, Piece, Script, Wanted, Window, wanted};

fn script(fields: &[(&'static str, &'static str)], pieces: &[Piece]) -> Script {
    Script { status: 200, fields: fields.to_vec(), pieces: pieces.to_vec(), rejection: false }
}

/// Whether answers of this kind open it; it opens at the first failure.
fn opens(world: &World<'_>, answer: &Script) -> Answer {
    let web = world.web()?;
    let well = script(&[], &[Piece::Data]);
    let closed = (web.ask)(well.clone(), 8)? && (web.ask)(answer.clone(), 8)?;
    for _ in 0..3 {
        (web.ask)(answer.clone(), 8)?;
    }
    Ok(closed && !(web.ask)(well, 8)?)
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

pub const QUESTIONS: &[Question] = &[
    (49, "a result from before a transition is ignored", |world| {
        let it = world.make(wanted())?;
        let late = it.at_once().1;
        it.trip();
        world.pass(WAITED);
        let Some(probe) = it.hold() else { return Ok(false) };
        late.into_iter().for_each(|late| late.end(Err(1)));
        probe.end(Ok(1));
        Ok(it.ok() && it.ok())
    }),
    (50, "a panic is a failure", |world| {
        let it = world.make(wanted())?;
        for _ in 0..4 {
            let call = (it.calls[0])(Job::new(async { panic!("a call") }));
            assert!(catch_unwind(AssertUnwindSafe(|| drive(call))).is_err());
        }
        Ok(!it.ok())
    }),
    (51, "a body that breaks off after 200 is a failure", |world| {
        opens(world, &script(&[], &[Piece::Data, Piece::Error]))
    }),
    (52, "a gRPC status counts wherever it stands", |world| {
        let head = opens(world, &script(&[GRPC, ("grpc-status", "14")], &[]))?;
        Ok(head && opens(world, &script(&[GRPC], &[Piece::Data, Piece::Trailers("grpc-status", "14")]))?)
    }),
    (53, "a truncated body is a failure", |world| {
        opens(world, &script(&[("content-length", "2")], &[Piece::Data]))
    }),
    (54, "a client that drops a healthy body says nothing", |world| {
        let web = world.web()?;
        let answer = script(&[], &[Piece::Data, Piece::Data]);
        (0..8).try_fold(true, |passed, _| Ok(passed & (web.ask)(answer.clone(), 1)?))
    }),
    (55, "a layer applied twice is one breaker", |world| {
        let it = world.make(Wanted { layered: true, ..wanted() })?;
        it.trip();
        Ok(drive((it.calls[1])(Job::new(async { Ok(1) }))).is_err())
    }),
    (56, "paused time drives it", |world| {
        let tokio = runtime(true);
        let _entered = tokio.enter();
        let it = world.make(Wanted { wait: SECOND * 30, ..wanted() })?;
        it.trip();
        let shut = !it.ok();
        advance(&tokio, SECOND * 60);
        Ok(shut && it.ok())
    }),
    (57, "ready never becomes pending", |world| {
        for gate in [false, true] {
            let mut it = world.readiness(gate)?;
            let ready = (it.ready)();
            (it.open)();
            if !(ready && (it.ready)()) || (it.call)() {
                return Ok(false);
            }
        }
        Ok(true)
    }),
    (58, "eviction never forgets an open circuit", |world| {
        let keyed = world.keyed(2)?;
        for _ in 0..8 {
            (keyed.call)(0, Err(1));
        }
        let others = (1..1000).all(|key| (keyed.call)(key, Ok(1)));
        Ok(others && !(keyed.call)(0, Ok(1)))
    }),
    (59, "a clock that steps back does no harm", |world| {
        let it = world.make(Wanted { window: Window::Time(SECOND * 10), ..wanted() })?;
        world.back()?;
        world.pass(SECOND * 3600);
        it.tell("FFF");
        // Another thread has no runtime: it reads the system's clock, an hour earlier.
        std::thread::scope(|scope| scope.spawn(|| it.tell("F")).join()).unwrap();
        world.pass(SECOND);
        it.tell("SS");
        let (count, _) = it.at_once();
        Ok(count == 5)
    }),
    (60, "a hung probe loses its slot and its say", |world| {
        let it = world.due(wanted())?;
        let Some(hung) = it.hold() else { return Ok(false) };
        world.pass(WAITED * 2);
        // By now it has failed or another one may pass: a late success of the first closes nothing.
        let again = (0..20).any(|_| {
            world.pass(Duration::from_millis(20));
            it.call(Err(1))
        });
        hung.end(Ok(1));
        Ok(again && !it.ok())
    }),
];

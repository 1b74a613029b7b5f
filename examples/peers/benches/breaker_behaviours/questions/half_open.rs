use std::time::Duration;

use crate::asked::{Question, WAITED};
use crate::subjects::{Wanted, wanted};

pub const QUESTIONS: &[Question] = &[
    (29, "exactly so many probes pass", |world| {
        let it = world.due(Wanted { probes: Some(2), ..wanted() })?;
        Ok(it.at_once().0 == 2)
    }),
    (30, "successful probes close and clear", |world| {
        let it = world.due(wanted())?;
        it.tell("SS");
        let (count, held) = it.at_once();
        held.into_iter().for_each(|held| held.end(Ok(1)));
        it.tell("F");
        Ok(count == 5 && it.ok())
    }),
    (31, "a failing share of probes reopens", |world| {
        let it = world.due(wanted())?;
        let probed = it.call(Err(1));
        it.tell("F");
        Ok(probed && !it.ok())
    }),
    (32, "slow probes reopen", |world| {
        let it = world.due(Wanted { slow: Some(Duration::from_millis(20)), ..wanted() })?;
        let Some(probe) = it.hold() else { return Ok(false) };
        world.pass(Duration::from_millis(40));
        probe.end(Ok(1));
        Ok(!it.ok())
    }),
    (33, "an ignored probe gives its slot back", |world| {
        let it = world.due(Wanted { ignores: true, ..wanted() })?;
        it.tell("III");
        // It has decided nothing: the next one does.
        let probed = it.call(Err(1));
        it.tell("F");
        Ok(probed && !it.ok())
    }),
    (34, "a cancelled probe gives its slot back", |world| {
        let it = world.due(wanted())?;
        drop(it.at_once());
        Ok(it.ok())
    }),
    (35, "a probe phase has a limit: probes that hang do not keep it half open", |world| {
        let it = world.due(wanted())?;
        let hung = it.at_once();
        let again = (0..40).any(|_| {
            world.pass(Duration::from_millis(20));
            it.ok()
        });
        drop(hung);
        Ok(again)
    }),
    (36, "after each period there are new probes", |world| {
        let it = world.make(wanted())?;
        it.trip();
        Ok((0..3).all(|_| {
            world.pass(WAITED);
            let probed = it.call(Err(1));
            it.tell("F");
            probed && !it.ok()
        }))
    }),
    (37, "of many at the deadline one probes", |world| Ok(world.due(wanted())?.at_once().0 == 1)),
];

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use recloser::{AsyncRecloser, Error, Recloser};

use super::{
    Call, Contestant, Keyed, Lack, Mode, Readiness, Rejection, Script, Subject, Wanted, Web, Window, read,
};
use crate::asked::{Time, drive};

pub const RECLOSER: Contestant =
    Contestant { name: "recloser 1.4", time: Time::System, make, web, keyed, readiness };

/// What there is no item for.
fn lacks(wanted: &Wanted) -> Result<(), Lack> {
    let lack = if wanted.slow.is_some() {
        "nothing times a call"
    } else if wanted.answers {
        "`ErrorPredicate` sees errors only"
    } else if wanted.ignores {
        "`ErrorPredicate::is_err` is a bool: what is no failure is a success"
    } else if wanted.ear.is_some() {
        "nothing can be registered: transitions are events of `tracing`"
    } else if matches!(wanted.window, Window::Time(_)) {
        "no time window: a ring of calls"
    } else if matches!(wanted.window, Window::Calls(calls) if calls < wanted.minimum) {
        "no minimum besides the ring"
    } else if wanted.opens_on_success.is_some() {
        "no setting: `on_success` always looks at the ring"
    } else if wanted.timed {
        "nothing runs by itself: `call_permitted` ends the wait"
    } else if wanted.mode != Mode::Normal {
        "no such mode"
    } else if wanted.starts_open || wanted.nonsense {
        "nothing can be done by hand"
    } else if wanted.layered {
        "no layer"
    } else {
        return Ok(());
    };
    Err(Lack::Absent(lack))
}

fn make(wanted: &Wanted) -> Result<Subject, Lack> {
    lacks(wanted)?;
    let ring = match wanted.window {
        Window::Calls(calls) => calls,
        _ => wanted.minimum,
    };
    let settings = Recloser::custom().error_rate(wanted.rate as f32).closed_len(ring);
    let settings = settings.half_open_len(wanted.probes.unwrap_or(1)).open_wait(wanted.wait);
    let settings = if wanted.grows {
        settings.open_wait_strategy(|failures: u32, wait: Duration| wait * 2_u32.pow(failures.min(8)))
    } else {
        settings
    };
    let breaker = Arc::new(AsyncRecloser::from(settings.build()));
    let failed = wanted.failed();
    let calls = [0, 1].map(|_| -> Call {
        let (breaker, failed) = (Arc::clone(&breaker), failed.clone());
        Box::new(move |job| {
            let failed = failed.clone();
            let call = breaker.call_with(move |error: &u64| failed(Err(error)), job);
            Box::pin(async move {
                match call.await {
                    Ok(answer) => Ok(Ok(answer)),
                    Err(Error::Inner(error)) => Ok(Err(error)),
                    Err(Error::Rejected) => {
                        Err(Rejection { says: format!("{:?}", Error::<u64>::Rejected), wait: None })
                    }
                }
            })
        })
    });
    let by_hand = Lack::Absent("nothing can be done by hand");
    let listen = Err(Lack::Absent("nothing can be registered: transitions are events of `tracing`"));
    Ok(Subject { calls, force_open: Err(by_hand), reset: Err(by_hand), listen })
}

fn web(wanted: &Wanted) -> Result<Web, Lack> {
    let breaker = AsyncRecloser::from(Recloser::custom().closed_len(wanted.minimum).build());
    let ask = move |script: Script, frames| {
        if script.rejection {
            return Err(Lack::Absent("nothing can be ignored, so nothing can be both"));
        }
        let call = breaker.call(async move { Ok::<_, Infallible>(script.response()) });
        let Ok(response) = drive(Box::pin(call)) else { return Ok(false) };
        drive(Box::pin(read(response.into_body(), frames)));
        Ok(true)
    };
    Ok(Web { ask: Box::new(ask) })
}

fn keyed(_: usize) -> Result<Keyed, Lack> {
    Err(Lack::Absent("no registry, no keys"))
}

fn readiness(_: bool) -> Result<Readiness, Lack> {
    Err(Lack::Absent("no tower service"))
}

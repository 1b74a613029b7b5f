use std::collections::HashSet;

use http::header::CACHE_CONTROL;
use http::{HeaderName, Method};
use serde_json::Value;

use super::super::client::Call;
use super::super::guide::{Guide, eventually, expect};

/// 7: `orders` asks `inventory` through the front door, so the id passes two gateways and both services.
pub(super) async fn one_id(guide: &mut Guide) -> Result<(), String> {
    let id = format!("tour-{}", guide.unique());
    let token = guide.token.clone();
    let name = HeaderName::from_static("x-request-id");
    // A parameter that nobody has used: no cache on the way answers.
    let number = guide.unique();
    let path = format!("/api/v2/orders/1/availability?utm_source={number}");
    let answer =
        guide.send(passing(guide.call(Method::GET, &path)?).bearer(&token).header(name, &id)).await?;
    expect(answer.status == 200, || format!("status {}: {}", answer.status, answer.text()))?;
    expect(answer.header("x-request-id") == id, || format!("echoed {:?}", answer.header("x-request-id")))?;
    for (role, path) in [("gateway", "/orders"), ("orders", "/availability"), ("gateway", "/stock/")] {
        let mut at = Vec::new();
        let what = format!("{role} has a line of {path}");
        // A line is written when an answer has ended, which its reader may know first.
        let written = eventually(guide, &what, async |guide: &mut Guide| {
            for instance in guide.instances(role) {
                let lines = guide.logs(&instance, &id).await?;
                if lines.iter().any(|line| answered(line).is_some_and(|route| route.contains(path))) {
                    at.push(instance);
                }
            }
            Ok(!at.is_empty())
        });
        written.await.map_err(|_| format!("no {role} has a log line of {path} with the id"))?;
        println!("  log lines with {id} for {path}: {}", at.join(", "));
    }
    joined(guide, &id).await?;
    guide.sampling(0.1).await?;
    let sampled = sampled(guide).await;
    guide.sampling(1.0).await?;
    sampled?;
    measured(guide).await
}

/// The lines of one id are a tree: each call that was made is part of a request that was answered, and each request but the
/// first was made by one of those calls.
async fn joined(guide: &mut Guide, id: &str) -> Result<(), String> {
    let mut last = Ok(0);
    let whole = eventually(guide, "all lines of a call join", async |guide: &mut Guide| {
        let mut lines = Vec::new();
        for role in ["gateway", "orders", "inventory"] {
            for instance in guide.instances(role) {
                lines.extend(
                    guide.logs(&instance, id).await?.into_iter().filter(|line| line["message"] == "call"),
                );
            }
        }
        last = tree(&lines);
        Ok(last.is_ok())
    });
    let whole = whole.await;
    println!("  {} calls between them, each a span that its callee names as its parent", last?);
    whole
}

/// How many calls were made; an error where a line has no place.
fn tree(lines: &[Value]) -> Result<usize, String> {
    let spans = |side: &str| -> HashSet<&str> {
        let of_side = lines.iter().filter(|line| line["side"] == side);
        of_side.filter_map(|line| line["span_id"].as_str()).collect()
    };
    let (answered, made) = (spans("server"), spans("client"));
    let mut roots = 0;
    for line in lines {
        let parents = if line["side"] == "server" { &made } else { &answered };
        match line["parent_span_id"].as_str() {
            None => roots += 1,
            Some(parent) => expect(parents.contains(parent), || format!("nobody's child: {line}"))?,
        }
    }
    let distinct = answered.len() + made.len() == lines.len() && answered.is_disjoint(&made);
    expect(distinct && roots == 1 && !made.is_empty(), || format!("{roots} roots of {} lines", lines.len()))?;
    Ok(made.len())
}

/// A call that the caches between the services do not answer.
fn passing(call: Call) -> Call {
    call.header(CACHE_CONTROL, "no-cache")
}

/// The route of a line about a call that was answered, not made.
fn answered(line: &Value) -> Option<&str> {
    (line["side"] == "server").then(|| line["route"].as_str())?
}

/// Which calls are kept follows from their ids: every service that saw a call wrote it down, or none did.
async fn sampled(guide: &mut Guide) -> Result<(), String> {
    const CALLS: u64 = 60;
    let ways: [Way<'_>; 2] = [
        (
            "/api/v2/orders/1/availability",
            &[("gateway", "/orders"), ("orders", "/availability"), ("gateway", "/stock/")],
        ),
        ("/api/v2/stock/bolt", &[("gateway", "/stock/"), ("inventory", "/stock/{article}")]),
    ];
    let token = guide.token.clone();
    println!("  {CALLS} calls named sampled-0, sampled-1, …");
    guide.quiet = true;
    let mut sent = Ok(());
    for number in 0..CALLS {
        let (path, _) = ways[number as usize % ways.len()];
        let path = format!("{path}?utm_source={}", guide.unique());
        let name = HeaderName::from_static("x-request-id");
        let call = passing(guide.call(Method::GET, &path)?).bearer(&token);
        let call = call.header(name, &format!("sampled-{number}"));
        let answer = guide.send(call).await;
        sent = answer.and_then(|answer| expect(answer.status == 200, || format!("status {}", answer.status)));
        if sent.is_err() {
            break;
        }
    }
    guide.quiet = false;
    sent?;
    let mut kept = Err("nothing was read".to_owned());
    // The last lines may be on their way.
    let whole = eventually(guide, "all lines of a call are written", async |guide: &mut Guide| {
        kept = kept_everywhere(guide, CALLS, &ways).await?;
        Ok(kept.is_ok())
    });
    let whole = whole.await;
    let kept = kept?;
    whole?;
    println!("  kept everywhere: {}; the others nowhere", kept.join(", "));
    let some = !kept.is_empty() && kept.len() < CALLS as usize / 2;
    expect(some, || format!("{} of {CALLS} calls are kept at a rate of 10 %", kept.len()))
}

/// What the services on the way call a kind of calls: roles and parts of routes.
type Way<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// The calls that have a line everywhere on their way, unless one has lines at some places alone.
async fn kept_everywhere(
    guide: &Guide,
    calls: u64,
    ways: &[Way<'_>],
) -> Result<Result<Vec<String>, String>, String> {
    let mut lines = Vec::new();
    for role in ["gateway", "orders", "inventory"] {
        for instance in guide.instances(role) {
            lines.extend(guide.logs(&instance, "sampled-").await?.into_iter().map(|line| (role, line)));
        }
    }
    let mut kept = Vec::new();
    for number in 0..calls {
        let id = format!("sampled-{number}");
        let (_, way) = ways[number as usize % ways.len()];
        let seen = way.iter().filter(|(role, part)| {
            lines.iter().any(|(at, line)| {
                at == role
                    && line["correlation_id"] == id
                    && line["kept"] == "rate"
                    && line["weight"].as_f64().is_some_and(|weight| (weight - 10.0).abs() < 1e-6)
                    && answered(line).is_some_and(|route| route.contains(part))
            })
        });
        match seen.count() {
            0 => {}
            all if all == way.len() => kept.push(id),
            some => return Ok(Err(format!("{id} has lines at {some} of {} places", way.len()))),
        }
    }
    Ok(Ok(kept))
}

/// Every component that speaks HTTP has its calls in its metrics, and none in flight that is not.
async fn measured(guide: &mut Guide) -> Result<(), String> {
    eventually(guide, "nothing is in flight", async |guide: &mut Guide| {
        let all = guide.counters("").await?;
        Ok(all.iter().all(|(_, counters)| counters.sum("http_server_active_requests", &[]) == 0.0))
    })
    .await?;
    for role in ["issuer", "gateway", "orders", "inventory"] {
        for (instance, counters) in guide.counters(role).await? {
            let calls = counters.count("http_server_request_duration_seconds_count", &[]);
            let made = counters.count("http_client_request_duration_seconds_count", &[]);
            println!("  {instance}: {calls} calls answered, {made} made");
            expect(calls > 0, || format!("{instance} has no http_server_request_duration_seconds"))?;
            let asks = matches!(role, "gateway" | "orders");
            expect(!asks || made > 0, || format!("{instance} has no http_client_request_duration_seconds"))?;
        }
    }
    Ok(())
}

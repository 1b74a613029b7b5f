use std::time::Duration;

use futures_util::future::{join, join_all};
use http::{HeaderName, Method};
use serde_json::json;

use super::super::client::Answer;
use super::super::guide::{Guide, eventually, expect};

/// The state gauge of a breaker that rejects.
const OPEN: u64 = 2;

/// What the gateways give one attempt, at most.
const ATTEMPT: Duration = Duration::from_millis(950);
/// Calls of one replica of `inventory` that a gateway lets through at once.
const CALLS: usize = 16;
/// How slow the slow service is: less than half of an attempt.
const DELAY: Duration = Duration::from_millis(450);

/// 6
pub(super) async fn failing_replicas(guide: &mut Guide) -> Result<(), String> {
    let path = "/api/v2/orders/2";
    let replicas = guide.instances("orders");
    let first = replicas.first().ok_or("there is no replica of orders")?.clone();
    expect(replicas.len() > 1, || "this step needs two replicas of orders".to_owned())?;

    println!("  {first} fails; the others serve");
    guide.fault(&first, &json!({ "status": 503 })).await?;
    eventually(guide, "the breaker of the failing replica opens", async |guide: &mut Guide| {
        let answer = guide.get_past_gateway_cache(path).await?;
        expect(answer.status == 200, || format!("the client sees {}", answer.status))?;
        is_open(guide, &first).await
    })
    .await?;

    println!("  all replicas fail");
    for replica in &replicas {
        guide.fault(replica, &json!({ "status": 503 })).await?;
    }
    eventually(guide, "all breakers are open", async |guide: &mut Guide| {
        let answer = guide.get_past_gateway_cache(path).await?;
        expect(answer.status == 503, || format!("the client sees {}", answer.status))?;
        Ok(answer.text().contains("tower_breaker") && !answer.header("retry-after").is_empty())
    })
    .await?;

    guide.tally.opened += replicas.len() as u64;
    println!("  all are well again");
    for replica in &replicas {
        guide.fault(replica, &json!({})).await?;
    }
    eventually(guide, "all breakers close", async |guide: &mut Guide| {
        let answer = guide.get_past_gateway_cache(path).await?;
        let mut open = false;
        for replica in &replicas {
            open |= is_open(guide, replica).await?;
        }
        Ok(answer.status == 200 && !open)
    })
    .await
}

/// Whether some gateway's breaker for the replica is not closed.
async fn is_open(guide: &Guide, replica: &str) -> Result<bool, String> {
    let gateways = guide.counters("gateway").await?;
    let state = |counters: &super::super::metrics::Counters| {
        counters.count("tower_breaker_state", &[("breaker", replica)])
    };
    Ok(gateways.iter().any(|(_, counters)| (1..=OPEN).contains(&state(counters))))
}

/// 6a: a replica hangs, then fails; calls that may be repeated are answered by the other one, a POST without key is not.
pub(super) async fn retries(guide: &mut Guide) -> Result<(), String> {
    let path = "/api/v2/orders/3";
    let replicas = guide.instances("orders");
    let first = replicas.first().ok_or("there is no replica of orders")?.clone();
    expect(replicas.len() > 1, || "this step needs two replicas of orders".to_owned())?;
    guide.fault(&first, &json!({ "hang": true })).await?;
    eventually(guide, "a call to the hanging replica is cut and repeated", async |guide: &mut Guide| {
        let answer = guide.get_past_gateway_cache(path).await?;
        expect(answer.status == 200, || format!("the client sees {}", answer.status))?;
        Ok(answer.took >= ATTEMPT)
    })
    .await?;
    guide.fault(&first, &json!({ "status": 502 })).await?;
    let order = json!({ "item": { "article": "bolt", "quantity": 1 }, "customer": "ada" });
    let post = async |guide: &mut Guide, key: Option<&str>| {
        let token = guide.token.clone();
        let call = guide.call(Method::POST, "/api/v2/orders")?.bearer(&token).json(&order);
        let call = match key {
            Some(key) => call.header(HeaderName::from_static("idempotency-key"), key),
            None => call,
        };
        guide.send(call).await
    };
    let mut statuses = Vec::new();
    // A breaker that is open passes the failing replica over for a while.
    let once = eventually(guide, "a POST without key is not repeated", async |guide: &mut Guide| {
        statuses.push(post(guide, None).await?.status.as_u16());
        Ok(statuses.last() == Some(&502))
    });
    once.await.map_err(|reason| format!("{reason}: {statuses:?}"))?;
    for _ in 0..3 {
        let answer = post(guide, Some("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"")).await?;
        expect(answer.status == 201, || format!("with a key, the client sees {}", answer.status))?;
    }
    guide.fault(&first, &json!({})).await?;
    eventually(guide, "its breakers are closed", async |guide: &mut Guide| {
        guide.get_past_gateway_cache(path).await?;
        Ok(!is_open(guide, &first).await?)
    })
    .await
}

/// 6b: all calls that a gateway has for the replicas of one service are under way: the next is answered at once, other
/// services are not concerned.
pub(super) async fn full_bulkhead(guide: &mut Guide) -> Result<(), String> {
    let replicas = guide.instances("inventory");
    eventually(guide, "the breakers of inventory are closed", async |guide: &mut Guide| {
        let answer = guide.get_past_gateway_cache("/api/v2/stock/bolt").await?;
        let mut open = answer.status != 200;
        for replica in &replicas {
            open |= is_open(guide, replica).await?;
        }
        Ok(!open)
    })
    .await?;
    for replica in &replicas {
        guide.fault(replica, &json!({ "delay_ms": DELAY.as_millis() as u64 })).await?;
    }
    // More than fit by a good deal: on a busy machine the last come when the first have been answered.
    let calls = CALLS * (replicas.len() * guide.instances("gateway").len() + 1);
    println!("  {calls} calls for inventory at once");
    let token = guide.token.clone();
    let mut waiting = Vec::new();
    for _ in 0..calls {
        let number = guide.unique();
        let path = format!("/api/v2/stock/bolt?utm_source={number}");
        waiting.push(guide.call(Method::GET, &path)?.bearer(&token));
    }
    let http = guide.http.clone();
    let flood = join_all(waiting.iter().map(|call| http.send(call)));
    let other = async {
        tokio::time::sleep(DELAY / 3).await;
        guide.get_past_gateway_cache("/api/v2/orders/1").await
    };
    let (answers, other) = join(flood, other).await;
    let mut seen = Vec::new();
    let mut unanswered = Ok(());
    for (call, answer) in waiting.iter().zip(answers) {
        match answer {
            Ok(answer) => {
                guide.tally(call, &answer);
                seen.push(answer);
            }
            Err(error) => unanswered = Err(error.to_string()),
        }
    }
    for replica in &replicas {
        guide.fault(replica, &json!({})).await?;
    }
    unanswered?;
    judge_bulkhead(&seen, &other?)
}

/// How long the refused took is compared with how long the others did: a busy machine delays them all. A call whose
/// attempt was cut took longer than the machine lets it, and says nothing.
fn judge_bulkhead(seen: &[Answer], other: &Answer) -> Result<(), String> {
    let (full, passed): (Vec<_>, Vec<_>) =
        seen.iter().partition(|answer| answer.text().contains("#bulkhead-full"));
    let (served, cut): (Vec<_>, Vec<_>) = passed.into_iter().partition(|answer| answer.status == 200);
    let (refused_in, served_in) = (median(&full), median(&served));
    println!(
        "  {} were answered 503, half of them within {refused_in:?}; {} were served, half of them within {served_in:?}; orders meanwhile after {:?}",
        full.len(),
        served.len(),
        other.took
    );
    if let Some(answer) = cut.iter().find(|answer| answer.took < ATTEMPT) {
        return Err(format!("a call that was let through: {} after {:?}", answer.status, answer.took));
    }
    if let Some(answer) = full.iter().find(|answer| answer.status != 503) {
        return Err(format!("a full bulkhead answers {}", answer.status));
    }
    expect(!full.is_empty(), || "the bulkhead was never full".to_owned())?;
    expect(refused_in < served_in, || "who was refused waited like the others".to_owned())?;
    let on_time = other.status == 200 && other.took < served_in;
    expect(on_time, || format!("meanwhile, orders: {} after {:?}", other.status, other.took))
}

fn median(answers: &[&Answer]) -> Duration {
    let mut took: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

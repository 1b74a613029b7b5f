use std::time::Duration;

use futures_util::future::{join, join_all};
use http::{HeaderName, Method};
use serde_json::json;

use super::super::guide::{Guide, eventually, expect};

/// The state gauge of a breaker that rejects.
const OPEN: u64 = 2;

/// What the gateways give one attempt, at most.
const ATTEMPT: Duration = Duration::from_millis(950);
/// Calls of one replica of `inventory` that a gateway lets through at once.
const CALLS: usize = 16;
/// How slow the slow service is.
const DELAY: Duration = Duration::from_millis(700);

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
    while statuses.len() < 8 && !statuses.contains(&502) {
        statuses.push(post(guide, None).await?.status.as_u16());
    }
    expect(statuses.last() == Some(&502), || format!("a POST without key was repeated: {statuses:?}"))?;
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
    let other = other?;
    expect(other.status == 200 && other.took < DELAY, || {
        format!("meanwhile, orders: {} after {:?}", other.status, other.took)
    })?;
    let (mut full, mut served) = (0, 0);
    for (call, answer) in waiting.iter().zip(answers) {
        let answer = answer.map_err(|error| error.to_string())?;
        guide.tally(call, &answer);
        if answer.text().contains("#bulkhead-full") {
            let reached = (answer.status == 503, answer.took < DELAY);
            expect(reached == (true, true), || format!("{} after {:?}", answer.status, answer.took))?;
            full += 1;
        } else {
            expect(answer.status == 200, || format!("a call that was let through: {}", answer.status))?;
            served += 1;
        }
    }
    for replica in &replicas {
        guide.fault(replica, &json!({})).await?;
    }
    println!(
        "  {full} were answered 503 at once, {served} were served, orders meanwhile after {:?}",
        other.took
    );
    expect(full > 0, || "the bulkhead was never full".to_owned())
}

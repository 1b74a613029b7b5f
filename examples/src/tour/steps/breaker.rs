use serde_json::json;

use super::super::guide::{Guide, eventually, expect};

/// The state gauge of a breaker that rejects.
const OPEN: u64 = 2;

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

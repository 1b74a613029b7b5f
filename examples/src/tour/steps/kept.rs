use std::time::{Duration, Instant};

use http::{HeaderName, Method};
use serde_json::json;

use super::super::client::Answer;
use super::super::guide::{Guide, eventually, expect};
use crate::service::inventory_client::REFRESH;

/// Reads while `inventory` is gone: each replica of `orders` has several.
const READS: usize = 12;
/// What a busy machine may add to a refresh period.
const SLACK: Duration = Duration::from_secs(2);
/// An order of washers, and those washers.
const ORDER: &str = "/api/v2/orders/3/availability";
const STOCK: &str = "/api/v2/stock/washer";

/// 9a: `orders` asks `inventory` ahead of its own callers: while `inventory` is gone nobody notices who does not insist,
/// and what changes there shows soon after.
pub(super) async fn gone_and_changed(guide: &mut Guide) -> Result<(), String> {
    let stock = put_stock(guide, None).await?;
    all_keep(guide, stock).await?;

    println!("  inventory is gone");
    for replica in guide.instances("inventory") {
        guide.fault(&replica, &json!({ "status": 503 })).await?;
    }
    let calls = guide.count("orders", "inventory_calls_total", &[]).await?;
    eventually(guide, "orders has asked in vain", async |guide: &mut Guide| {
        Ok(guide.count("orders", "inventory_calls_total", &[]).await? > calls)
    })
    .await?;
    for _ in 0..READS {
        let answer = availability(guide).await?;
        let kept = answer.json()["kept"] == true && answer.json()["stock"] == stock;
        expect(answer.status == 200 && kept, || format!("{} {}", answer.status, answer.text()))?;
    }
    let insists = guide.get_past_all_caches(ORDER).await?;
    expect(insists.status == 503 && !insists.header("retry-after").is_empty(), || {
        format!("who wants it as it is now sees {} {}", insists.status, insists.text())
    })?;
    for replica in guide.instances("inventory") {
        guide.fault(&replica, &json!({})).await?;
    }
    eventually(guide, "inventory is reached again", async |guide: &mut Guide| {
        Ok(guide.get_past_all_caches(ORDER).await?.status == 200)
    })
    .await?;

    let changed = put_stock(guide, Some(stock + 17)).await?;
    let begun = Instant::now();
    all_keep(guide, changed).await?;
    let (took, allowed) = (begun.elapsed(), REFRESH + SLACK);
    expect(took <= allowed, || format!("the change was seen after {took:?}, allowed are {allowed:?}"))
}

async fn availability(guide: &mut Guide) -> Result<Answer, String> {
    guide.get_past_gateway_cache(ORDER).await
}

/// Waits until every replica of `orders` keeps this number.
async fn all_keep(guide: &mut Guide, stock: u64) -> Result<(), String> {
    let replicas = guide.instances("orders");
    eventually(guide, &format!("all replicas of orders keep {stock}"), async |guide: &mut Guide| {
        let mut keeping = Vec::new();
        for _ in 0..2 * replicas.len() {
            let answer = availability(guide).await?;
            expect(answer.status == 200, || format!("{} {}", answer.status, answer.text()))?;
            let body = answer.json();
            if body["kept"] == true && body["stock"] == stock {
                keeping.push(answer.header("x-served-by").to_owned());
            }
        }
        Ok(replicas.iter().all(|replica| keeping.contains(replica)))
    })
    .await
}

/// Changes how many there are, if it is to be changed; how many there are then.
async fn put_stock(guide: &mut Guide, quantity: Option<u64>) -> Result<u64, String> {
    if let Some(quantity) = quantity {
        let token = guide.token.clone();
        let call = guide.call(Method::PUT, STOCK)?.bearer(&token).json(&json!({ "quantity": quantity }));
        let key = HeaderName::from_static("idempotency-key");
        let answer = guide.send(call.header(key, "\"f2a1\"")).await?;
        expect(answer.status == 200, || format!("{} {}", answer.status, answer.text()))?;
    }
    let answer = guide.get_past_all_caches(STOCK).await?;
    answer.json()["quantity"].as_u64().ok_or_else(|| format!("{} {}", answer.status, answer.text()))
}

use std::time::Duration;

use serde_json::json;

use super::super::guide::{Guide, eventually, expect};
use crate::service::STORE_TIMEOUT;

/// Requests per phase.
const ROUNDS: u64 = 8;
/// What a busy machine may add to half of the answers.
const SLACK: Duration = Duration::from_millis(100);

/// 4
pub(super) async fn second_read(guide: &mut Guide) -> Result<(), String> {
    let path = format!("/api/v2/orders/3?utm_source=read-{}", guide.unique());
    let first = guide.get(&path).await?;
    expect(first.status == 200, || format!("status {}", first.status))?;
    let mut seen = String::new();
    // The client may have all of an answer before the gateway has seen its end and keeps it.
    let hit = eventually(guide, "the gateway's cache answers", async |guide: &mut Guide| {
        let second = guide.get(&path).await?;
        expect(second.status == 200 && second.body == first.body, || "another answer".to_owned())?;
        seen = second.list("cache-status");
        let by_gateway = |member: &str| member.trim().starts_with("gateway-") && member.contains("; hit");
        if !seen.split(',').any(by_gateway) {
            return Ok(false);
        }
        let age = second.header("age");
        expect(age.parse::<u64>().is_ok(), || format!("Age {age:?}"))?;
        Ok(true)
    });
    hit.await.map_err(|reason| format!("{reason}: Cache-Status {seen:?}"))
}

/// 9: nothing but latency and the load of the database shows that the store is broken, and that only while it is.
pub(super) async fn failing_store(guide: &mut Guide) -> Result<(), String> {
    let path = "/api/v2/orders/2";
    let replicas = guide.instances("orders");
    for _ in 0..2 * replicas.len() {
        guide.get_past_gateway_cache(path).await?;
    }
    let (usual, queries) = phase(guide, path).await?;
    expect(queries == 0, || format!("{queries} database queries while the cache works"))?;
    for fault in ["fail", "hang"] {
        for replica in &replicas {
            guide.fault(replica, &json!({ "store": fault })).await?;
        }
        let (took, queries) = phase(guide, path).await?;
        println!(
            "  store {fault}: {queries} database queries for {ROUNDS} reads, half of them within {took:?} (usual {usual:?})"
        );
        expect(queries == ROUNDS, || {
            format!("{queries} database queries for {ROUNDS} reads while the store {fault}s")
        })?;
        let allowed = usual + STORE_TIMEOUT + SLACK;
        expect(took <= allowed, || format!("half of them took up to {took:?}, allowed are {allowed:?}"))?;
        for replica in &replicas {
            guide.fault(replica, &json!({})).await?;
        }
        eventually(guide, "the caches of all replicas fill again", async |guide: &mut Guide| {
            let (_, queries) = phase(guide, path).await?;
            Ok(queries == 0)
        })
        .await?;
    }
    Ok(())
}

/// Some reads that the gateways' caches cannot answer: how long half of them took at most, and what they cost the
/// database.
async fn phase(guide: &mut Guide, path: &str) -> Result<(Duration, u64), String> {
    const QUERIES: &str = "database_queries_total";
    let before = guide.count("orders", QUERIES, &[]).await?;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let answer = guide.get_past_gateway_cache(path).await?;
        expect(answer.status == 200, || format!("status {}", answer.status))?;
        took.push(answer.took);
    }
    took.sort_unstable();
    Ok((took[took.len() / 2], guide.count("orders", QUERIES, &[]).await? - before))
}

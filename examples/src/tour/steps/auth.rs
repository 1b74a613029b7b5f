use http::Method;
use serde_json::json;

use super::super::guide::{Guide, eventually, expect};
use super::super::metrics::Counters;

/// 1: refused, and told how to do better (RFC 6750 §3).
pub(super) async fn no_token(guide: &mut Guide) -> Result<(), String> {
    let answer = guide.send(guide.call(Method::GET, "/api/v2/orders")?).await?;
    expect(answer.status == 401, || format!("status {}", answer.status))?;
    let challenge = answer.header("www-authenticate");
    expect(challenge.starts_with("Bearer"), || format!("challenge {challenge:?}"))
}

/// 2
pub(super) async fn token(guide: &mut Guide) -> Result<(), String> {
    let answer = guide.get("/api/v2/orders").await?;
    expect(answer.status == 200, || format!("status {}: {}", answer.status, answer.text()))?;
    expect(answer.json().as_array().is_some_and(|orders| !orders.is_empty()), || {
        format!("body {}", answer.text())
    })
}

/// 3: known, but not allowed (RFC 6750 §3.1).
pub(super) async fn wrong_scope(guide: &mut Guide) -> Result<(), String> {
    let token = guide.fresh_token(Some("inventory:read")).await?;
    let answer = guide.send(guide.call(Method::GET, "/api/v2/orders")?.bearer(&token)).await?;
    expect(answer.status == 403, || format!("status {}", answer.status))?;
    let challenge = answer.header("www-authenticate");
    let asks = challenge.contains("error=\"insufficient_scope\"") && challenge.contains("orders:read");
    expect(asks, || format!("challenge {challenge:?}"))
}

/// 7a: `orders` asks the issuer once, whatever it calls, and an issuer that is gone is not noticed.
pub(super) async fn own_token(guide: &mut Guide) -> Result<(), String> {
    const CALLS: u64 = 100;
    let asked = async |guide: &Guide| -> Result<(u64, u64), String> {
        let requests = guide.count("orders", "tower_auth_token_requests_total", &[]).await?;
        Ok((requests, guide.count("issuer", "issuer_tokens_total", &[]).await?))
    };
    let ask = async |guide: &mut Guide, calls: u64| -> Result<(), String> {
        guide.quiet = true;
        for call in 1..=calls {
            let answer = guide.get_past_all_caches("/api/v2/orders/1/availability").await?;
            expect(answer.status == 200, || format!("call {call}: {} {}", answer.status, answer.text()))?;
        }
        guide.quiet = false;
        Ok(())
    };
    let replicas = guide.instances("orders").len() as u64;
    let (requests_before, issued_before) = asked(guide).await?;
    ask(guide, CALLS).await?;
    let (requests, issued) = asked(guide).await?;
    println!(
        "  {CALLS} calls of orders to inventory: {issued} token requests at the issuer's count, {requests} of {replicas} replicas since they began",
        issued = issued - issued_before,
    );
    expect((1..=replicas).contains(&requests), || {
        format!("{requests} token requests of {replicas} replicas")
    })?;
    let (by_orders, by_issuer) = (requests - requests_before, issued - issued_before);
    expect(by_orders == by_issuer, || {
        format!("orders asked {by_orders} times, the issuer counted {by_issuer}")
    })?;
    guide.fault("issuer", &json!({ "status": 503 })).await?;
    let during = ask(guide, CALLS).await;
    guide.fault("issuer", &json!({})).await?;
    during.map_err(|reason| format!("while the issuer was gone: {reason}"))?;
    println!("  {CALLS} more while the issuer answered 503: all of them 200");
    let after = asked(guide).await?;
    expect(after == (requests, issued), || format!("asked during the outage: {after:?}"))?;
    keys_are_fetched_again(guide).await
}

/// A gateway that did not reach the issuer waits a moment before it asks again; until then a new key would be unknown.
async fn keys_are_fetched_again(guide: &mut Guide) -> Result<(), String> {
    let fetches = async |guide: &Guide| -> Result<Vec<[u64; 2]>, String> {
        let of = |counters: &Counters| {
            ["ok", "failed"]
                .map(|outcome| counters.count("tower_auth_key_fetches_total", &[("outcome", outcome)]))
        };
        Ok(guide.counters("gateway").await?.iter().map(|(_, counters)| of(counters)).collect())
    };
    let before = fetches(guide).await?;
    eventually(guide, "the gateways that asked in vain have keys again", async |guide: &mut Guide| {
        // `orders` asks through the balancer, so that each gateway in use has something to verify.
        let answer = guide.get_past_all_caches("/api/v2/orders/1/availability").await?;
        expect(answer.status == 200, || format!("{} {}", answer.status, answer.text()))?;
        let now = fetches(guide).await?;
        Ok(now.iter().zip(&before).all(|([now, failed], [before, _])| now > before || *failed == 0))
    })
    .await
}

/// 8: new keys are found without a refusal; what a removed key signed is refused soon after.
pub(super) async fn rotation(guide: &mut Guide) -> Result<(), String> {
    let old_token = guide.token.clone();
    let keys = guide.issuer("/rotate-keys", &json!({})).await?;
    let new_token = guide.fresh_token(None).await?;
    for token in [&old_token, &new_token, &old_token, &new_token] {
        let answer = guide.send(guide.call(Method::GET, "/api/v2/orders")?.bearer(token)).await?;
        expect(answer.status == 200, || format!("refused with {} after the rotation", answer.status))?;
    }
    guide.issuer("/remove-key", &json!({ "kid": keys["old"] })).await?;
    guide.token = new_token;
    eventually(guide, "the removed key's token is refused", async |guide: &mut Guide| {
        let answer = guide.send(guide.call(Method::GET, "/api/v2/orders")?.bearer(&old_token)).await?;
        Ok(answer.status == 401 && answer.header("www-authenticate").contains("invalid_token"))
    })
    .await?;
    let answer = guide.get("/api/v2/orders").await?;
    expect(answer.status == 200, || format!("the new key's token is refused with {}", answer.status))
}

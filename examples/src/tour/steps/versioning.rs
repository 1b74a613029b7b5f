use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, Method};
use serde_json::json;

use super::super::guide::{Guide, eventually, expect};

/// 5
pub(super) async fn versions(guide: &mut Guide) -> Result<(), String> {
    let first = guide.get("/api/v1/orders/1").await?;
    expect(first.status == 200, || format!("version 1 answers {}", first.status))?;
    expect(first.json().get("article").is_some(), || format!("version 1 looks like {}", first.text()))?;
    for (field, part) in [
        ("deprecation", "@"),
        ("sunset", " GMT"),
        ("link", "rel=\"successor-version\""),
        ("api-deprecated-versions", "1"),
    ] {
        let value = first.list(field);
        expect(value.contains(part), || format!("version 1 answers with {field}: {value:?}"))?;
    }

    let header = HeaderName::from_static("api-version");
    let token = guide.token.clone();
    let call = guide.call(Method::GET, "/api/orders/1")?.bearer(&token).header(header, "2");
    let second = guide.send(call).await?;
    expect(second.status == 200, || format!("version 2 by header answers {}", second.status))?;
    expect(second.json().get("item").is_some(), || format!("version 2 looks like {}", second.text()))?;
    expect(second.header("api-version") == "2", || "the answer does not say its version".to_owned())?;
    expect(second.list("vary").to_ascii_lowercase().contains("api-version"), || "no Vary".to_owned())?;
    expect(second.header("deprecation").is_empty(), || "version 2 says that it is deprecated".to_owned())?;

    let ninth = guide.get("/api/v9/orders/1").await?;
    expect(ninth.status.is_client_error(), || format!("version 9 answers {}", ninth.status))?;
    let problem = ninth.header("content-type") == "application/problem+json";
    expect(problem, || format!("version 9 answers with {}", ninth.header("content-type")))?;
    let named = ninth.json()["supported"].to_string();
    expect(named.contains('1') && named.contains('2'), || format!("supported are {named}"))?;
    let was = guide.lives().await?;
    let retired = retire(guide).await;
    guide.change_life(1, &was[0]).await?;
    retired?;
    let again = guide.get("/api/v1/orders/1").await?;
    expect(again.status == 200, || format!("version 1 does not come back: {}", again.status))?;
    super::client_version::warned_once(guide).await
}

/// Version 1 becomes deprecated, gets a sunset two seconds ahead, and is gone then, while version 2 goes on. Nothing is
/// started again in between.
async fn retire(guide: &mut Guide) -> Result<(), String> {
    guide.change_life(1, &json!({})).await?;
    let fresh = guide.get("/api/v1/orders/1").await?;
    expect(fresh.status == 200, || format!("version 1 answers {}", fresh.status))?;
    let silent = fresh.header("deprecation").is_empty() && fresh.header("sunset").is_empty();
    expect(silent, || "version 1 says that it is deprecated before it is".to_owned())?;
    expect(fresh.list("api-supported-versions") == "1, 2", || "version 1 is not supported".to_owned())?;

    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs();
    guide.change_life(1, &json!({ "deprecated": now - 1 })).await?;
    let deprecated = guide.get("/api/v1/orders/1").await?;
    let said = deprecated.header("deprecation");
    expect(said == format!("@{}", now - 1), || format!("version 1 answers with deprecation: {said:?}"))?;
    expect(deprecated.header("sunset").is_empty(), || "a sunset before there is one".to_owned())?;

    guide.change_life(1, &json!({ "deprecated": now - 1, "sunset": now + 2, "gone": true })).await?;
    let ending = guide.get("/api/v1/orders/1").await?;
    let ends = ending.header("sunset").ends_with(" GMT");
    expect(ends || ending.status == 410, || format!("version 1 answers with sunset {ends}"))?;
    eventually(guide, "version 1 is gone", async |guide| {
        let other = guide.get("/api/v2/orders/1").await?;
        expect(other.status == 200, || format!("version 2 answers {}", other.status))?;
        Ok(guide.get("/api/v1/orders/1").await?.status == 410)
    })
    .await?;
    let gone = guide.get("/api/v1/orders/1").await?;
    expect(gone.status == 410, || format!("version 1 answers {} after its sunset", gone.status))?;
    let problem = gone.json()["type"].as_str().unwrap_or_default().ends_with("#gone-version");
    expect(problem, || format!("version 1 is gone with {}", gone.text()))?;
    let supported = gone.json()["supported"].to_string();
    expect(supported == "[\"2\"]", || format!("supported are {supported}"))?;
    let other = guide.get("/api/v2/orders/1").await?;
    expect(other.status == 200, || format!("version 2 answers {}", other.status))
}

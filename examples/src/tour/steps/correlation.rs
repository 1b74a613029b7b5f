use http::{HeaderName, Method};

use super::super::guide::{Guide, expect};

/// 7: `orders` asks `inventory` through the front door, so the id passes two gateways and both services.
pub(super) async fn one_id(guide: &mut Guide) -> Result<(), String> {
    let id = format!("tour-{}", guide.unique());
    let token = guide.token.clone();
    let name = HeaderName::from_static("x-request-id");
    // A parameter that nobody has used: no cache on the way answers.
    let number = guide.unique();
    let path = format!("/api/v2/orders/1/availability?utm_source={number}");
    let answer = guide.send(guide.call(Method::GET, &path)?.bearer(&token).header(name, &id)).await?;
    expect(answer.status == 200, || format!("status {}: {}", answer.status, answer.text()))?;
    expect(answer.header("x-request-id") == id, || format!("echoed {:?}", answer.header("x-request-id")))?;
    for (role, path) in [("gateway", "/orders"), ("orders", "/availability"), ("gateway", "/stock/")] {
        let mut at = Vec::new();
        for instance in guide.instances(role) {
            let lines = guide.logs(&instance, &id).await?;
            if lines.iter().any(|line| line["path"].as_str().is_some_and(|logged| logged.contains(path))) {
                at.push(instance);
            }
        }
        println!("  log lines with {id} for {path}: {}", at.join(", "));
        expect(!at.is_empty(), || format!("no {role} has a log line of {path} with the id"))?;
    }
    Ok(())
}

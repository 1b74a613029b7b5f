use http::{HeaderName, Method};

use super::super::guide::{Guide, expect};

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
    expect(named.contains('1') && named.contains('2'), || format!("supported are {named}"))
}

//! `Vary`, and a shared cache that honours it.

use std::collections::HashMap;

use http::HeaderMap;
use tower_versioning::{Source, VersionLayer};

use crate::support::{get, name, registry, send, send_to, with};

fn layer() -> VersionLayer {
    let sources = [Source::path(""), Source::header(name("api-version")), Source::media_type("v")];
    VersionLayer::new(registry(&["1", "2", "3"])).sources(sources)
}

const FIELDS: &str = "api-version, accept, content-type";

#[tokio::test]
async fn every_field_consulted_is_named_also_when_absent_or_wrong() {
    for request in [
        with("/x", &[("api-version", "1")]),
        get("/v1/x"),
        get("/x"),
        with("/x", &[("api-version", "9")]),
        with("/x", &[("api-version", "?")]),
    ] {
        assert_eq!(send(&layer(), request).await.all("vary"), [FIELDS]);
    }
    let url_only = layer().sources([Source::path(""), Source::query("v")]);
    assert!(send(&url_only, get("/v1/x")).await.all("vary").is_empty());
}

#[tokio::test]
async fn vary_is_appended_to_and_says_nothing_twice() {
    for (own, expected) in [
        (&["origin"][..], vec!["origin", FIELDS]),
        (&["Accept, origin"], vec!["Accept, origin", "api-version, content-type"]),
        (&["*"], vec!["*"]),
        (&["accept", "API-Version,content-type"], vec!["accept", "API-Version,content-type"]),
    ] {
        let add = |headers: &mut HeaderMap| {
            for line in own {
                headers.append("vary", line.parse().unwrap());
            }
        };
        assert_eq!(send_to(&layer(), get("/v1/x"), add).await.all("vary"), expected);
    }
}

/// A shared cache between clients and the layer: it keys by target, and by the fields that `Vary` of the stored answer
/// names (RFC 9111 §4.1). Versions come by path, field and media type at random; no answer is of another version.
#[tokio::test]
async fn a_hostile_shared_cache_never_mixes_versions() {
    type Variant = (Vec<(String, Vec<String>)>, String);
    let layer = layer();
    let mut store: HashMap<String, Vec<Variant>> = HashMap::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let (mut hits, mut misses) = (0, 0);
    for _ in 0..100_000 {
        let (version, item) = (next(3) + 1, next(20));
        let target = format!("/item/{item}");
        let text = version.to_string();
        let media = format!("application/json;v={version}");
        let request = match next(3) {
            0 => get(&format!("/v{version}{target}")),
            1 => with(&target, &[("api-version", &text)]),
            _ => with(&target, &[("accept", &media)]),
        };
        let values = |field: &str| -> Vec<String> {
            let lines = request.headers().get_all(field).iter();
            lines.map(|line| line.to_str().unwrap().to_owned()).collect()
        };
        let variants = store.entry(request.uri().to_string()).or_default();
        let known =
            variants.iter().find(|(vary, _)| vary.iter().all(|(field, stored)| values(field) == *stored));
        let body = if let Some((_, body)) = known {
            hits += 1;
            body.clone()
        } else {
            misses += 1;
            let answer = send(&layer, request.clone()).await;
            let fields = answer.all("vary").join(",");
            let vary = fields.split(',').map(|field| field.trim().to_owned());
            variants.push((vary.map(|field| (field.clone(), values(&field))).collect(), answer.body.clone()));
            answer.body
        };
        assert_eq!(body, format!("{version} {target}"));
    }
    assert_eq!((hits, misses), (100_000 - 180, 180));
}

//! `Vary`, and a shared cache that honours it.

use std::collections::VecDeque;

use http::HeaderMap;
use tower_versioning::settings::Reports;
use tower_versioning::{Source, VersionLayer};

use crate::support::{Answer, get, name, registry, send, send_to, with};

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

/// Where no cache stands in front, the field can be left out, of answers and refusals alike; nothing else changes.
#[tokio::test]
async fn vary_stays_in_every_report_and_goes_only_with_its_sources() {
    let header = || Source::header(name("api-version"));
    let asked = |version: &'static str| with("/x", &[("api-version", version)]);
    let vary = async |layer: &VersionLayer, version: &'static str| {
        let answer = send(layer, asked(version)).await;
        assert_eq!(answer.status.is_success(), version == "1", "{version}");
        answer.all("vary").concat()
    };
    for reports in [Reports::All, Reports::NoLists, Reports::None] {
        let layer = layer().reports(reports);
        for version in ["1", "9", "?", ""] {
            let kept = layer.clone().sources([header()]);
            assert_eq!(vary(&kept, version).await, "api-version", "{reports:?} {version}");
            let silent = layer.clone().sources([header().varies_on([])]);
            assert_eq!(vary(&silent, version).await, "", "{reports:?} {version}");
            // One source of several speaks for itself alone.
            let one = [header().varies_on([]), Source::media_type("v")];
            let some = layer.clone().sources(one);
            assert_eq!(vary(&some, version).await, "accept, content-type", "{reports:?} {version}");
        }
        // What the handler says stays, and what is reported too.
        let own = |headers: &mut HeaderMap| _ = headers.insert("vary", "origin".parse().unwrap());
        let silent = layer.sources([header().varies_on([])]);
        let answer = send_to(&silent, asked("1"), own).await;
        assert_eq!(answer.all("vary"), ["origin"]);
        assert_eq!(answer.all("api-version").len(), usize::from(reports != Reports::None));
    }
}

/// A shared cache between clients and the layer, with room for few answers. It keys by target and, when it honours
/// `Vary`, by the fields that the stored answer names there (RFC 9111 §4.1).
struct SharedCache {
    honours_vary: bool,
    room: usize,
    stored: VecDeque<Stored>,
}

struct Stored {
    target: String,
    vary: Vec<(String, Vec<String>)>,
    body: String,
}

fn values(request: &http::Request<String>, field: &str) -> Vec<String> {
    let lines = request.headers().get_all(field).iter();
    lines.map(|line| line.to_str().unwrap().to_owned()).collect()
}

impl SharedCache {
    fn find(&self, request: &http::Request<String>) -> Option<String> {
        let target = request.uri().to_string();
        let fits = |stored: &&Stored| {
            stored.target == target
                && (!self.honours_vary
                    || stored.vary.iter().all(|(field, own)| values(request, field) == *own))
        };
        self.stored.iter().find(fits).map(|stored| stored.body.clone())
    }

    fn store(&mut self, request: &http::Request<String>, answer: &Answer) {
        let fields = answer.all("vary").join(",");
        let names = fields.split(',').map(|field| field.trim().to_owned());
        let vary = names.map(|name| (name.clone(), values(request, &name))).collect();
        if self.stored.len() == self.room {
            self.stored.pop_front();
        }
        self.stored.push_back(Stored { target: request.uri().to_string(), vary, body: answer.body.clone() });
    }
}

/// Hits, misses, and hits of another version than the one asked for, of 10⁵ requests whose version comes by path, field
/// or media type at random.
async fn through(mut cache: SharedCache) -> (u32, u32, u32) {
    let layer = layer();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let (mut hits, mut misses, mut crossed) = (0, 0, 0);
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
        let body = if let Some(body) = cache.find(&request) {
            hits += 1;
            body
        } else {
            misses += 1;
            let answer = send(&layer, request.clone()).await;
            cache.store(&request, &answer);
            answer.body
        };
        crossed += u32::from(body != format!("{version} {target}"));
    }
    (hits, misses, crossed)
}

#[tokio::test]
async fn a_hostile_shared_cache_never_mixes_versions() {
    let cache = SharedCache { honours_vary: true, room: 64, stored: VecDeque::new() };
    let (hits, misses, crossed) = through(cache).await;
    assert!(hits > 10_000 && misses > 10_000, "{hits} {misses}");
    assert_eq!(crossed, 0);
}

/// What the test above would show if answers did not name the fields.
#[tokio::test]
async fn without_vary_the_same_cache_mixes_them() {
    let cache = SharedCache { honours_vary: false, room: 64, stored: VecDeque::new() };
    let (hits, _, crossed) = through(cache).await;
    assert!(crossed > 10_000, "{crossed} of {hits}");
}

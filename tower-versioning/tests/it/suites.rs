//! What Asp.Versioning and Spring ask in their own tests, as requests to this layer. Where the answer differs, the case
//! says so; `CONFORMANCE.md` says why.

use http::StatusCode;
use tower_versioning::VersionErrorKind::{Ambiguous, Malformed, Missing, Unsupported};
use tower_versioning::{Moment, Registry, Source, Version, VersionErrorKind, VersionLayer};

use crate::support::{Answer, get, name, registry, send, v, with};

type Named = Result<&'static str, VersionErrorKind>;

fn layer(versions: &[&str], sources: impl IntoIterator<Item = Source>) -> VersionLayer {
    VersionLayer::new(registry(versions)).sources(sources)
}

/// Served as that version, or refused in that way.
fn assert_is(answer: &Answer, expected: Named, what: &str) {
    match expected {
        Ok(version) => {
            assert_eq!(answer.kind(), None, "{what}: {}", answer.body);
            assert_eq!(answer.headers["api-version"], version, "{what}");
        }
        Err(kind) => assert_eq!(answer.kind(), Some(kind), "{what}: {}", answer.body),
    }
}

/// Readers of headers and of the query, alone and combined.
#[tokio::test]
async fn readers_of_fields_and_queries() {
    let headers = || [Source::header(name("api-version")), Source::header(name("x-ms-version"))];
    let queries = || [Source::query("api-version"), Source::query("version")];
    let both = || [Source::query("api-version"), Source::header(name("api-version"))];
    let versions = ["1.0", "2.0", "2.1", "2016-07-09"];
    let (headers, queries, both) =
        (layer(&versions, headers()), layer(&versions, queries()), layer(&versions, both()));
    for (layer, uri, fields, expected) in [
        (&headers, "/x", &[("api-version", "2.1")][..], Ok("2.1")),
        (&headers, "/x", &[("x-ms-version", "2016-07-09")], Ok("2016-07-09")),
        (&headers, "/x", &[("api-version", "1.0"), ("api-version", "2.0")], Err(Ambiguous)),
        (&headers, "/x", &[("api-version", "1.0"), ("x-ms-version", "1.0")], Ok("1.0")),
        (&headers, "/x", &[], Err(Missing)),
        (&queries, "/x?api-version=2.1", &[], Ok("2.1")),
        (&queries, "/x?q=foo&api-version=2.1", &[], Ok("2.1")),
        (&queries, "/x", &[], Err(Missing)),
        (&queries, "/x?q=foo", &[], Err(Missing)),
        (&queries, "/x?api-version=", &[], Err(Missing)),
        (&queries, "/x?api-version", &[], Err(Missing)),
        (&queries, "/x?api-version=1.0&api-version=2.0", &[], Err(Ambiguous)),
        (&queries, "/x?version=1.0&version=2.0", &[], Err(Ambiguous)),
        (&queries, "/x?api-version=1.0&version=2.0", &[], Err(Ambiguous)),
        (&queries, "/x?api-version=1.0&api-version=1.0", &[], Ok("1.0")),
        (&queries, "/x?version=1.0&version=1.0", &[], Ok("1.0")),
        (&queries, "/x?api-version=1.0&version=1.0", &[], Ok("1.0")),
        (&queries, "/x?api-version=blah", &[], Err(Malformed)),
        (&queries, "/x?api-version=3.0", &[], Err(Unsupported)),
        // Names of parameters are compared as they are; ASP.NET ignores their case.
        (&queries, "/x?API-VERSION=1.0", &[], Err(Missing)),
        (&both, "/x", &[("api-version", "2.1")], Ok("2.1")),
        (&both, "/x?api-version=2.0", &[("api-version", "1.0")], Err(Ambiguous)),
        (&both, "/x?api-version=1.0", &[("api-version", "1.0")], Ok("1.0")),
        // Numbers that are equal agree, however they are written.
        (&both, "/x?api-version=1", &[("api-version", "1.0")], Ok("1.0")),
    ] {
        let answer = send(layer, with(uri, fields)).await;
        assert_is(&answer, expected, &format!("{uri} {fields:?}"));
        assert_eq!(answer.status == StatusCode::OK, expected.is_ok());
        assert!(expected.is_ok() || answer.status == StatusCode::BAD_REQUEST, "{uri}");
    }
}

/// Readers of media types: weights, parameters, lists of media types.
#[tokio::test]
async fn readers_of_media_types() {
    let versions = ["1", "1.5", "2.0", "2.5", "3.0"];
    let plain = || Source::media_type("v");
    let all = layer(&versions, [plain()]);
    let except = layer(&versions, [plain().except(["application/xml", "application/xml+atom"])]);
    let only = layer(&versions, [plain().only(["application/json"])]);
    let version = layer(&versions, [Source::media_type("version")]);
    let two = layer(&versions, [plain(), Source::media_type("api.ver")]);
    let accept = |text| ("accept", text);
    let content = |text| ("content-type", text);
    let atom = [
        accept("application/xml"),
        accept("application/xml+atom;q=0.8;v=1.5"),
        accept("application/json;q=0.2;v=2.0"),
        content("application/json;v=2.0"),
    ];
    for (layer, fields, expected) in [
        (&all, &[][..], Err(Missing)),
        (&all, &[content("application/json;v=2.0")], Ok("2.0")),
        (&all, &[accept("application/json;v=2.0")], Ok("2.0")),
        (&all, &[accept("application/json;q=1;v=2.0")], Ok("2.0")),
        (&all, &[accept("application/json;q=0.8;v=1.0"), accept("text/plain")], Ok("1")),
        (&all, &[accept("application/json;q=0.5;v=3.0, application/xml;q=0.5;v=3.0")], Ok("3.0")),
        (&all, &[accept("application/xml, application/json;q=0.2;v=1.0")], Ok("1")),
        (&all, &[accept("application/json, application/xml")], Err(Missing)),
        (
            &all,
            &[accept("application/xml, application/xml+atom;q=0.8;v=2.5, application/json;q=0.2;v=1.0")],
            Ok("2.5"),
        ),
        // A lesser wish gives way to the content; Asp.Versioning calls any difference ambiguous.
        (&all, &atom, Ok("2.0")),
        (&except, &atom, Ok("2.0")),
        (&only, &atom, Ok("2.0")),
        (&version, &[content("application/json;version=1.0")], Ok("1")),
        (&version, &[accept("application/json;version=3.0")], Ok("3.0")),
        (&version, &[accept("application/x.abc+json;version=3")], Ok("3.0")),
        (&version, &[accept("application/json;v=3.0")], Err(Missing)),
        (&two, &[accept("application/json;api.ver=2.5")], Ok("2.5")),
        // Two parameters are two sources that have to agree; one reader of Asp.Versioning weighs them together.
        (&two, &[accept("a/b;q=0.8;api.ver=2.5, a/c;q=0.2;v=1")], Err(Ambiguous)),
    ] {
        assert_is(&send(layer, with("/x", fields)).await, expected, &format!("{fields:?}"));
    }
}

#[tokio::test]
async fn templates_of_media_types() {
    let versions = ["1", "1.1-beta", "2", "2.1", "2022-11-01"];
    for (template, accept, expected) in [
        ("application/vnd-v{version}+json", "application/vnd-v1+json", Ok("1")),
        ("application/vnd-v{version}+json", "application/vnd-v2.1+json", Ok("2.1")),
        ("application/vnd-v{version}+json", "application/vnd-v2022-11-01+json", Ok("2022-11-01")),
        ("application/vnd-{version}+xml", "application/vnd-1.1-beta+xml", Ok("1.1-beta")),
        ("vnd-v{version}+json", "application/vnd-v2+json", Ok("2")),
        ("application/vnd-v{version}+json", "text/plain", Err(Missing)),
        // GitHub's former media types, with what may follow the version.
        ("application/vnd.github.v{version}+json", "application/vnd.github.v2+json", Ok("2")),
        ("application/vnd.github.v{version}.raw+json", "application/vnd.github.v2.raw+json", Ok("2")),
        ("application/vnd.github.v{version}+json", "application/vnd.github.v2.raw+json", Err(Malformed)),
    ] {
        let layer = layer(&versions, [Source::vendor(template).unwrap()]);
        for field in ["accept", "content-type"] {
            let answer = send(&layer, with("/x", &[(field, accept)])).await;
            assert_is(&answer, expected, &format!("{template} {accept}"));
        }
    }
    assert!(Source::vendor("application/vnd-v{version}+json+{other}").is_err());
}

/// Segments: Asp.Versioning's constraint, Spring's index.
#[tokio::test]
async fn segments_of_urls() {
    let below = |prefix| layer(&["1.0", "1.1", "2.0"], [Source::path(prefix)]);
    let bare = |template| layer(&["1.0", "1.1", "2.0"], [Source::path_template(template).unwrap()]);
    for (layer, uri, expected) in [
        (&below("/api"), "/api/v1/hello", Ok("1.0")),
        (&below("/api"), "/api/v2/hello/Hi", Ok("2.0")),
        (&below("/api"), "/api/v3/hello", Err(Unsupported)),
        (&below("/api"), "/api/vabc/hello", Err(Missing)),
        (&below("/api"), "/api/v/hello", Err(Missing)),
        (&below("/api"), "/api/hello", Err(Missing)),
        (&bare("/{version}"), "/1.0/path", Ok("1.0")),
        (&bare("/app/{version}"), "/app/1.1/path", Ok("1.1")),
        (&bare("/{version}"), "/", Err(Missing)),
        (&bare("/app/{version}"), "/app", Err(Missing)),
        (&bare("/app/{version}"), "/v3/api-docs", Err(Missing)),
        (&bare("/version-{version}"), "/version-1.1/path", Ok("1.1")),
    ] {
        let answer = send(layer, get(uri)).await;
        assert_is(&answer, expected, uri);
        assert!(expected.is_ok() || answer.status == StatusCode::NOT_FOUND, "{uri}");
    }
}

/// Spring's parser of semantic versions.
#[test]
fn semantic_versions() {
    for (text, numbers) in [("0", (0, 0, 0)), ("0.3", (0, 3, 0)), ("4.5", (4, 5, 0)), ("6.7.8", (6, 7, 8))] {
        let version = v(text);
        let found = (version.major_number(), version.minor_number(), version.patch_number());
        assert_eq!(found, numbers, "{text}");
    }
    for text in ["", "v", "1a", "1.0a", "1.0.0a", "1.0.0.", "1.0.0-"] {
        assert!(text.parse::<Version>().is_err(), "{text}");
    }
    // Spring passes over what stands before the first digit, and over zeros; here the place of a version says what does.
    for text in ["v01", "version-1.2", "v1", "01"] {
        assert!(text.parse::<Version>().is_err(), "{text}");
    }
}

/// Asp.Versioning's tables of the current and the lowest implemented version: releases come before all others, deprecated
/// versions count.
#[tokio::test]
async fn defaults() {
    for (versions, deprecated, latest, lowest) in [
        (&["1.0", "2.0", "3.0-Alpha"][..], &[][..], "2.0", "1.0"),
        (&["1.0", "2.0"], &["3.0"], "3.0", "1.0"),
        (&["2.0", "3.1-Beta"], &["1.0", "3.0"], "3.0", "1.0"),
        (&["0.9-RC", "1.0", "2.0"], &["3.0"], "3.0", "1.0"),
        (&["2.5"], &[], "2.5", "2.5"),
        // Where nothing is released, Asp.Versioning falls back to a constant that need not exist.
        (&["1.1-RC1"], &[], "1.1-RC1", "1.1-RC1"),
        (&["0.8-Beta", "0.9-RC"], &[], "0.9-RC", "0.8-Beta"),
    ] {
        let builder = || {
            let builder = versions.iter().fold(Registry::builder(), |b, text| b.version(v(text), |v| v));
            let past = Moment::utc(2020, 1, 1);
            deprecated.iter().fold(builder, |b, text| b.version(v(text), |v| v.deprecated(past)))
        };
        for (registry, expected) in
            [(builder().default_latest(), latest), (builder().default_lowest(), lowest)]
        {
            let layer = VersionLayer::new(registry.build().unwrap());
            let answer = send(&layer, get("/x")).await;
            assert_eq!(answer.headers["api-version"], expected, "{versions:?} {deprecated:?}");
        }
    }
}

/// What is reported: Asp.Versioning's reporter and Spring's handler of deprecations.
#[tokio::test]
async fn reports() {
    let (deprecated, sunset) = (Moment::from_unix(1_688_169_599), Moment::from_unix(1_794_395_471));
    let registry = Registry::builder()
        .version(v("0.9"), |v| {
            v.deprecated(deprecated)
                .sunset(sunset)
                .sunset_link("http://docs.api.com/sunset.html")
                .deprecation_link("http://docs.api.com/deprecation.html")
        })
        .version(v("1.0"), |v| v)
        .version(v("2.0"), |v| v);
    let layer = VersionLayer::new(registry.build().unwrap()).sources([Source::query("api-version")]);
    let answer = send(&layer, get("/x?api-version=0.9")).await;
    assert_eq!(answer.headers["api-supported-versions"], "1.0, 2.0");
    assert_eq!(answer.headers["api-deprecated-versions"], "0.9");
    assert_eq!(answer.headers["deprecation"], "@1688169599");
    assert_eq!(answer.headers["sunset"], "Wed, 11 Nov 2026 11:11:11 GMT");
    let links = answer.all("link").join(", ");
    assert!(links.contains("<http://docs.api.com/sunset.html>; rel=\"sunset\""), "{links}");
    assert!(links.contains("<http://docs.api.com/deprecation.html>; rel=\"deprecation\""), "{links}");
    // Refusals tell what there is; the version that was asked for is not among it.
    for uri in ["/x?api-version=42.0", "/x", "/x?api-version=abc"] {
        let answer = send(&layer, get(uri)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri}");
        assert_eq!(answer.headers["api-supported-versions"], "1.0, 2.0", "{uri}");
        assert!(!answer.headers.contains_key("api-version"), "{uri}");
    }
}

/// 415 where the content names the version that is not there, 406 where the wish does.
#[tokio::test]
async fn statuses_of_media_types() {
    let layer = layer(&["1.0", "2.0"], [Source::media_type("v")]);
    let (json, other) = ("application/json;v=3.0", "application/json;v=2.0");
    for (fields, status) in [
        (&[("accept", other)][..], 200),
        (&[("content-type", other)], 200),
        (&[("accept", json)], 406),
        (&[("content-type", json)], 415),
        (&[("accept", json), ("content-type", json)], 415),
    ] {
        assert_eq!(send(&layer, with("/x", fields)).await.status.as_u16(), status, "{fields:?}");
    }
}

/// As Stripe and GitHub document their dated headers: a pin for the account, a header over it, 400 for what is not there.
#[tokio::test]
async fn dated_headers_over_pins() {
    let versions = ["2022-11-28", "2024-06-20", "2026-03-10"];
    let pin = Source::pin(|parts| parts.headers.get("authorization").map(|_| v("2024-06-20")));
    let default = Registry::builder().default_version(v("2022-11-28"));
    let registry = versions.iter().fold(default, |b, text| b.version(v(text), |v| v)).build().unwrap();
    let layer = VersionLayer::new(registry).sources([Source::header(name("x-version")), pin]);
    for (fields, expected) in [
        (&[][..], Ok("2022-11-28")),
        (&[("x-version", "2026-03-10")], Ok("2026-03-10")),
        (&[("authorization", "Bearer a")], Ok("2024-06-20")),
        (&[("authorization", "Bearer a"), ("x-version", "2026-03-10")], Ok("2026-03-10")),
        (&[("x-version", "2021-01-01")], Err(Unsupported)),
        (&[("authorization", "Bearer a"), ("x-version", "latest")], Err(Malformed)),
        (&[("x-version", "2026-02-30")], Err(Malformed)),
    ] {
        let answer = send(&layer, with("/x", fields)).await;
        assert_is(&answer, expected, &format!("{fields:?}"));
        assert!(expected.is_ok() || answer.status == StatusCode::BAD_REQUEST, "{fields:?}");
        let vary = answer.all("vary").join(", ");
        assert!(vary.contains("x-version"), "{fields:?}: {vary}");
    }
}

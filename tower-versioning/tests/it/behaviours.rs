//! The behaviours of Asp.Versioning, by the numbers of our research; what is decided differently says why.

use http::StatusCode;
use tower_versioning::{Registry, Source, VersionErrorKind, VersionLayer, VersionRange};

use crate::support::{V1, get, name, registry, send, v, with};

#[test]
fn b01_to_b10_parsed() {
    // number, text, date, numbers, status
    for (number, text, date, numbers, status) in [
        (1, "1", None, (1, 0), ""),
        (2, "1.1", None, (1, 1), ""),
        (3, "1-Alpha", None, (1, 0), "Alpha"),
        (4, "1.1-Alpha", None, (1, 1), "Alpha"),
        (5, "2013-08-06", Some((2013, 8, 6)), (0, 0), ""),
        (6, "2013-08-06-Alpha", Some((2013, 8, 6)), (0, 0), "Alpha"),
        (7, "2013-08-06.1", Some((2013, 8, 6)), (1, 0), ""),
        (8, "2013-08-06.1.1", Some((2013, 8, 6)), (1, 1), ""),
        (9, "2013-08-06.1-Alpha", Some((2013, 8, 6)), (1, 0), "Alpha"),
        (10, "2013-08-06.1.1-Alpha", Some((2013, 8, 6)), (1, 1), "Alpha"),
    ] {
        let version = v(text);
        assert_eq!(version.date(), date, "b{number}");
        assert_eq!((version.major_number(), version.minor_number()), numbers, "b{number}");
        assert_eq!((version.status(), version.to_string().as_str()), (status, text), "b{number}");
    }
}

#[test]
fn b11_to_b18_refused() {
    for (number, texts) in [
        (11, &["Alpha1"][..]),
        (12, &["1-"]),
        (13, &["1.1-Alpha-1"]),
        (14, &["2013-02-29.1.0"]),
        (15, &[""]),
        (16, &["-1", "1.-1", "-1.0"]),
        (18, &["1-preview.", "1--a", "1-RC-1"]),
    ] {
        for text in texts {
            assert!(text.parse::<tower_versioning::Version>().is_err(), "b{number} {text}");
        }
    }
    for text in ["1-RC1", "1-preview.1", "1-a", "1-B"] {
        assert_eq!(v(text).to_string(), text, "b17");
    }
}

/// The published comparisons, each read in both directions.
#[test]
fn b19_to_b24_ordered() {
    use std::cmp::Ordering::{Equal, Greater};
    for (left, right, order) in [
        ("2013-08-07", "2013-08-06", Greater),
        ("2013-08-06", "2013-08-05", Greater),
        ("2013-08-06", "2013-08-06-RC", Greater),
        ("2013-08-06-Alpha", "2013-08-06-Alpha", Equal),
        ("2013-08-06-Beta", "2013-08-06-Alpha", Greater),
        ("1", "1", Equal),
        ("1", "1.0", Equal),
        ("1.1", "1.1", Equal),
        ("2.0", "1.1", Greater),
        ("1.1", "1.1-Beta", Greater),
        ("1-Alpha", "1-Alpha", Equal),
        ("1-Alpha", "1.0-Alpha", Equal),
        ("1.1-Beta", "1.1-alpha", Greater),
        ("1.1-ALPHA", "1.1-alpha", Equal),
        ("2013-08-06.1", "2013-08-06.1.0", Equal),
        ("2013-08-06.1.1", "2013-08-06.1.1", Equal),
        ("2013-08-06.1.1", "2013-08-06.1.1-Beta", Greater),
        ("2013-08-06.2", "2013-08-06.1.1", Greater),
        ("2013-08-06.1.1", "2013-08-06.1", Greater),
        ("2013-08-06.1.1-Beta", "2013-08-06.1.1-Alpha", Greater),
        // The date is compared before the numbers, and no date is less than any.
        ("2013-08-06", "9.9", Greater),
        ("2013-08-07", "2013-08-06.9", Greater),
        // Where Asp.Versioning compares text, numbers inside of a status are compared as numbers.
        ("1-preview.10", "1-preview.9", Greater),
    ] {
        assert_eq!(v(left).cmp(&v(right)), order, "{left} {right}");
        assert_eq!(v(right).cmp(&v(left)), order.reverse(), "{right} {left}");
        assert_eq!(v(left) == v(right), order == Equal);
    }
}

#[test]
fn b25_to_b28_ranges() {
    let contains = |range: &str, version| range.parse::<VersionRange>().unwrap().contains(v(version));
    assert!(contains("1.0", "1.0") && contains("1.0", "7") && !contains("1.0", "0.9"), "b25");
    assert!(
        contains("[1.0,2.0]", "2.0") && !contains("(1.0,2.0)", "1.0") && contains("[1.0,2.0)", "1.5"),
        "b26"
    );
    for text in ["[1.0, ]", "[1.0 ,]", "[1.0 , ]", "[, 1.0]", "[ ,1.0]", "[ , 1.0]"] {
        assert!(text.parse::<VersionRange>().is_ok(), "b27 {text}");
    }
    for text in ["[1.0", "1.0]", "(1.0)", "[1.0)", "[1,2,3]", "[]", "[x,)"] {
        assert!(text.parse::<VersionRange>().is_err(), "b28 {text}");
    }
}

#[tokio::test]
async fn b29_b30_duplicates_collapse_or_are_ambiguous() {
    let layer = VersionLayer::new(registry(&["1", "2"]));
    let twice = |other| with("/x", &[("api-version", "1"), ("api-version", other)]);
    assert_eq!(send(&layer, twice("1")).await.body, "1 /x");
    let answer = send(&layer, twice("2")).await;
    assert_eq!((answer.status, answer.kind()), (StatusCode::BAD_REQUEST, Some(VersionErrorKind::Ambiguous)));
}

#[tokio::test]
async fn b31_equal_versions_of_two_sources_agree() {
    let layer = VersionLayer::new(registry(&["1", "2"]));
    assert_eq!(send(&layer, with("/v1/x", &[("api-version", "1.0")])).await.body, "1 /x");
    let answer = send(&layer, with("/v1/x", &[("api-version", "2")])).await;
    assert_eq!(answer.kind(), Some(VersionErrorKind::Ambiguous));
}

#[tokio::test]
async fn b32_an_empty_query_parameter_is_unspecified() {
    let layer = VersionLayer::new(registry(&["1"])).sources([Source::query("v")]);
    assert_eq!(send(&layer, get("/x?v=1")).await.body, "1 /x?v=1");
    assert_eq!(send(&layer, get("/x?v=")).await.kind(), Some(VersionErrorKind::Missing));
}

#[tokio::test]
async fn b33_segments() {
    let layer = VersionLayer::new(registry(&["2", "2-preview"]));
    assert_eq!(send(&layer, get("/V2/")).await.body, "2 /");
    assert_eq!(send(&layer, get("/v2-preview/")).await.body, "2-preview /");
    let layer = layer.sources([Source::path("/api")]);
    assert_eq!(send(&layer, get("/api/v2/")).await.body, "2 /api/");
}

// b34 to b38: media_types.

#[tokio::test]
async fn b39_each_refusal_has_its_status_type_and_list() {
    let list = "\"supported\":[\"1\",\"2\"]";
    let header = VersionLayer::new(registry(&["1", "2"])).sources([Source::header(name("api-version"))]);
    let url = VersionLayer::new(registry(&["1", "2"])).sources([Source::path("")]);
    let media = VersionLayer::new(registry(&["1", "2"])).sources([Source::media_type("v")]);
    assert_eq!(send(&header, with("/x", &[("api-version", "1")])).await.status, StatusCode::OK);
    for (layer, request, status, kind) in [
        (&header, with("/x", &[("api-version", "x")]), 400, "malformed-version"),
        (&header, get("/x"), 400, "missing-version"),
        (&header, with("/x", &[("api-version", "3")]), 400, "unsupported-version"),
        (&url, get("/v1x/x"), 404, "malformed-version"),
        (&url, get("/x"), 404, "missing-version"),
        (&url, get("/v3/x"), 404, "unsupported-version"),
        (&media, with("/x", &[("accept", "a/b;v=3")]), 406, "unsupported-version"),
        (&media, with("/x", &[("content-type", "a/b;v=3")]), 415, "unsupported-version"),
    ] {
        let answer = send(layer, request).await;
        let type_uri =
            format!("\"type\":\"https://docs.rs/tower-versioning/latest/tower_versioning/#{kind}\"");
        assert_eq!(answer.status.as_u16(), status, "{kind}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert!(answer.body.contains(&type_uri) && answer.body.contains(list), "{}", answer.body);
        assert!(answer.body.contains(&format!("\"status\":{status}")), "{}", answer.body);
    }
}

#[tokio::test]
async fn b40_defaults_and_neutral_endpoints() {
    let builder =
        || ["1", "2", "3-beta"].iter().fold(Registry::builder(), |b, text| b.version(v(text), |v| v));
    for (registry, seen) in [
        (builder().default_latest(), "2 /x"),
        (builder().default_lowest(), "1 /x"),
        (builder().default_version(V1), "1 /x"),
    ] {
        assert_eq!(send(&VersionLayer::new(registry.build().unwrap()), get("/x")).await.body, seen);
    }
    let layer = VersionLayer::new(builder().build().unwrap());
    assert_eq!(send(&layer, get("/v9/open")).await.kind(), Some(VersionErrorKind::Unsupported));
    assert_eq!(send(&layer.neutral_path("/open"), get("/v9/open")).await.body, "- /open");
}

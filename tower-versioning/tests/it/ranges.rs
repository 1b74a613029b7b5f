//! The published range table of Asp.Versioning; and the guard.

use http::StatusCode;
use tower::{Layer, ServiceExt, service_fn};
use tower_versioning::{VersionError, VersionLayer, VersionRange};

use crate::support::{V2, get, registry, v};

#[test]
fn contains() {
    for (range, inside, outside) in [
        ("1.0", &["1.0", "1.0.1", "9"][..], &["0.9"][..]),
        ("[1.0,)", &["1.0"], &["0.9"]),
        ("(1.0,)", &["1.1"], &["1.0"]),
        ("[1.0]", &["1.0", "1"], &["1.1"]),
        ("(,1.0]", &["1.0"], &["1.1"]),
        ("(,1.0)", &["0.9", "1.0-beta"], &["1.0"]),
        ("[1.0,2.0]", &["1.0", "1.5", "2.0"], &["3.0"]),
        ("(1.0,2.0)", &["1.5"], &["1.0", "2.0", "3.0"]),
        ("[1.0,2.0)", &["1.5"], &["3.0"]),
        ("2026-07-01", &["2026-07-01"], &["2026-06-30"]),
        ("[2026-07-01,2027-01-01)", &["2026-10-01"], &["2027-01-01"]),
        ("1.0-preview.1", &["1.0"], &["1.0-alpha"]),
        ("(,)", &["0", "9999-12-31"], &[]),
    ] {
        let parsed: VersionRange = range.parse().unwrap();
        assert!(inside.iter().all(|version| parsed.contains(v(version))), "{range}");
        assert!(!outside.iter().any(|version| parsed.contains(v(version))), "{range}");
    }
    for empty in ["[2,1]", "(1,1)", "[1,1)", "(1.0)"] {
        assert!(empty.parse::<VersionRange>().is_err(), "{empty}");
    }
}

#[test]
fn overlaps() {
    for (a, b, expected) in [
        ("[1,2)", "[2,3)", false),
        ("[1,2]", "[2,3)", true),
        ("[1,2)", "(1,3)", true),
        ("(,1)", "[1,)", false),
        ("(,)", "[5]", true),
        ("[1,2)", "[1,2)", true),
        ("(1,2]", "[2]", true),
        ("[1,2)", "[2]", false),
    ] {
        let (a, b): (VersionRange, VersionRange) = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!((a.overlaps(&b), b.overlaps(&a)), (expected, expected), "{a} {b}");
    }
}

#[tokio::test]
async fn a_guard_answers_404_outside_of_its_range() {
    let handler = service_fn(async |_: http::Request<String>| {
        Ok::<_, std::convert::Infallible>(http::Response::new("here".to_owned()))
    });
    let guarded = VersionRange::since(V2).layer(handler);
    let layer = VersionLayer::new(registry(&["1", "2", "3"])).neutral_path("/open");
    for (path, status) in [("/v2/x", 200), ("/v3/x", 200), ("/open", 200), ("/v1/x", 404)] {
        let response = layer.layer(guarded.clone()).oneshot(get(path)).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.extensions().get::<VersionError>().is_some(), status == 404);
    }
    let response = layer.layer(guarded).oneshot(get("/v1/x")).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    // It is an answer of a version that exists, with all that is said about it.
    assert_eq!(response.headers()["api-version"], "1");
}

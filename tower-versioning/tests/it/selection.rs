//! From the version named to the version served.

use tower_versioning::settings::Select;
use tower_versioning::{Registry, VersionErrorKind, VersionLayer};

use crate::support::{send, v, with};

async fn served(select: Select, versions: &[&str], named: &str) -> Result<String, VersionErrorKind> {
    let builder = versions.iter().fold(Registry::builder(), |builder, text| builder.version(v(text), |v| v));
    let layer = VersionLayer::new(builder.select(select).build().unwrap());
    let answer = send(&layer, with("/x", &[("api-version", named)])).await;
    match answer.kind() {
        Some(kind) => Err(kind),
        None => Ok(answer.headers["api-version"].to_str().unwrap().to_owned()),
    }
}

#[tokio::test]
async fn latest_minor() {
    let versions = ["1.0", "1.2", "1.3-beta", "2.0", "2026-01-01.1"];
    for (named, expected) in [
        ("1", Some("1.2")),
        ("1.0", Some("1.0")),
        ("1.3-beta", Some("1.3-beta")),
        ("2", Some("2.0")),
        ("2026-01-01.1", Some("2026-01-01.1")),
        ("1.1", None),
        ("3", None),
    ] {
        let expected = expected.map(str::to_owned).ok_or(VersionErrorKind::Unsupported);
        assert_eq!(served(Select::LatestMinor, &versions, named).await, expected, "{named}");
    }
    assert!(served(Select::Exact, &versions, "1").await.is_ok_and(|version| version == "1.0"));
}

#[tokio::test]
async fn nearest_lower() {
    let versions = ["2024-01-01", "2025-06-01", "2026-01-01"];
    for (named, expected) in [
        ("2024-01-01", Some("2024-01-01")),
        ("2025-05-31", Some("2024-01-01")),
        ("2025-06-02", Some("2025-06-01")),
        ("2099-01-01", Some("2026-01-01")),
        ("2023-12-31", None),
        ("1", None),
    ] {
        let expected = expected.map(str::to_owned).ok_or(VersionErrorKind::Unsupported);
        assert_eq!(served(Select::NearestLower, &versions, named).await, expected, "{named}");
    }
}

#[tokio::test]
async fn a_function_chooses_among_the_registered() {
    let newest = || Select::custom(|versions, named| versions.iter().rev().find(|v| **v <= named).copied());
    assert_eq!(served(newest(), &["1", "2"], "9").await, Ok("2".into()));
    let stranger = Select::custom(|_, named| Some(named));
    assert_eq!(served(stranger, &["1"], "7").await, Err(VersionErrorKind::Unsupported));
}

#[tokio::test]
async fn one_of_many() {
    let dates: Vec<String> = (0..50).map(|n| format!("20{:02}-{:02}-01", 10 + n / 12, 1 + n % 12)).collect();
    let versions: Vec<&str> = dates.iter().map(String::as_str).collect();
    for date in &versions {
        assert_eq!(served(Select::Exact, &versions, date).await, Ok((*date).to_owned()));
    }
    assert_eq!(served(Select::Exact, &versions, "2010-01-02").await, Err(VersionErrorKind::Unsupported));
}

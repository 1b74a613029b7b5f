//! How versions are written and ordered.

use tower_versioning::Version;
use tower_versioning::settings::ParseVersionError;

const V2: Version = match Version::parse("2") {
    Ok(version) => version,
    Err(_) => panic!("a version"),
};

fn version(text: &str) -> Version {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_known_forms_parse_and_print_as_written() {
    assert_eq!(V2, Version::major(2));
    for text in [
        "1",
        "1.1",
        "1.4.2",
        "1-Alpha",
        "1.1-Alpha",
        "2013-08-06",
        "2013-08-06-Alpha",
        "2013-08-06.1",
        "2013-08-06.1.1",
        "2013-08-06.1-Alpha",
        "2013-08-06.1.1-Alpha",
        "1-RC1",
        "1-preview.1",
    ] {
        assert_eq!(version(text).to_string(), text);
    }
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "Alpha1",
        "1-",
        "1.1-Alpha-1",
        "2013-02-29.1.0",
        "",
        "-1",
        "+1",
        "1.",
        ".1",
        "1..2",
        "1.2.3.4",
        "4294967296",
        "1-preview.",
        "1--a",
        "1-RC-1",
        "1-averylongstatus",
        " 1",
        "2013-13-01",
        "2013-08-06x",
    ] {
        assert!(text.parse::<Version>().is_err(), "{text}");
    }
}

#[test]
fn order_follows_date_then_numbers_then_status() {
    assert_eq!(version("1"), version("1.0"));
    assert_eq!(version("1-Alpha"), version("1.0-alpha"));
    assert!(version("1-Alpha") < version("1"));
    assert!(version("1-Alpha") < version("1-beta"));
    assert!(version("1") < version("2013-08-06"));
    assert!(version("2013-08-06.1.1") < version("2013-08-06.2"));
    assert!(version("1.9") < version("1.10"));
    assert!(size_of::<Version>() <= 32);
}

/// A date takes the place of the major number, so two numbers may follow it.
#[test]
fn a_date_has_two_numbers_at_most() {
    assert_eq!(version("2026-03-01.2.1").minor_number(), 1);
    assert_eq!(Version::parse("2026-03-01.2.1.0"), Err(ParseVersionError::Malformed));
    assert_eq!(version("3.2.1").patch_number(), 1);
    assert_eq!(Version::parse("3.2.1.0"), Err(ParseVersionError::Malformed));
}

/// Semantic Versioning 2.0.0 §11.4: numbers as numbers, and below words.
#[test]
fn identifiers_of_a_status_are_numbers_below_words() {
    let ascending = ["1-a", "1-a.2", "1-a.10", "1-a.1b", "1-a.b", "1-a.b.1", "1-B", "1"].map(version);
    for (index, above) in ascending.iter().enumerate() {
        assert!(ascending[..index].iter().all(|below| below < above), "{above}");
    }
}

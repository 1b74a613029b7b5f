//! How versions are written and ordered.

use tower_versioning::Version;

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

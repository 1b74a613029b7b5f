//! Properties of versions, ranges and rewriting.

use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use tower_versioning::{Source, Version, VersionLayer, VersionRange};

use crate::support::{get, registry, send};

fn versions() -> impl Strategy<Value = String> {
    let number = prop_oneof![0u32..3, 0u32..=i32::MAX as u32];
    let numbers = prop::collection::vec(number, 1..=2)
        .prop_map(|numbers| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join("."));
    let date = (1u32..=9999, 1u32..=12, 1u32..=28).prop_map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02}"));
    let base = prop_oneof![
        numbers.clone(),
        (numbers.clone(), 0u32..9).prop_map(|(n, patch)| if n.contains('.') {
            format!("{n}.{patch}")
        } else {
            n
        }),
        date.clone(),
        (date, numbers).prop_map(|(date, numbers)| format!("{date}.{numbers}")),
    ];
    (base, prop::option::of("[aAbB][a-c0-1]{0,3}(\\.([1-9][0-9]?|[a-b]{1,2}))?")).prop_map(
        |(base, status)| match status {
            Some(status) => format!("{base}-{status}"),
            None => base,
        },
    )
}

proptest! {
    #[test]
    fn a_version_prints_as_it_was_written(text in versions()) {
        let version: Version = text.parse().unwrap();
        prop_assert_eq!(version.to_string(), text.clone());
        prop_assert_eq!(text.to_uppercase().parse::<Version>().unwrap(), version);
    }

    #[test]
    fn order_is_total_and_agrees_with_equality_and_hash(a in versions(), b in versions(), c in versions()) {
        let [a, b, c] = [&a, &b, &c].map(|text| text.parse::<Version>().unwrap());
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
        prop_assert!(!(a <= b && b <= c) || a <= c);
        let hasher = RandomState::new();
        prop_assert!(a != b || hasher.hash_one(a) == hasher.hash_one(b));
    }

    #[test]
    fn no_text_makes_parsing_panic(text in any::<String>(), ascii in "[0-9.a-zA-Z-]{0,40}") {
        let _ = text.parse::<Version>();
        let _ = text.parse::<VersionRange>();
        if let Ok(version) = ascii.parse::<Version>() {
            prop_assert_eq!(version.to_string(), ascii);
        }
    }

    #[test]
    fn ranges_agree_with_their_bounds(a in versions(), b in versions(), x in versions(), kind in 0usize..4) {
        let [a, b, x] = [&a, &b, &x].map(|text| text.parse::<Version>().unwrap());
        let (open, close) = [("[", "]"), ("[", ")"), ("(", "]"), ("(", ")")][kind];
        let text = format!("{open}{a},{b}{close}");
        let above = if open == "[" { x >= a } else { x > a };
        let below = if close == "]" { x <= b } else { x < b };
        match text.parse::<VersionRange>() {
            Ok(range) => {
                prop_assert_eq!(range.contains(x), above && below);
                prop_assert_eq!(range.to_string().parse::<VersionRange>().unwrap(), range);
                prop_assert!(!range.contains(x) || range.overlaps(&VersionRange::exactly(x)));
                prop_assert_eq!(range.overlaps(&VersionRange::since(x)), range.contains(x) || a > x || (b > x && !range.is_empty()));
            }
            Err(_) => prop_assert!(a > b || (a == b && kind != 0)),
        }
    }

    /// The rest of the path and the whole query stay octet by octet.
    #[test]
    fn rewriting_keeps_the_rest(path in "(/[a-z0-9%~:@!$&'()*+,;=.-]{0,6}){0,4}", query in prop::option::of("[a-z0-9%~:@!$&'()*+,;=/?.-]{0,12}")) {
        let tail = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        let uri: Result<http::Uri, _> = format!("/v1{tail}").parse();
        prop_assume!(uri.is_ok());
        let layer = VersionLayer::new(registry(&["1"])).sources([Source::path("")]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(send(&layer, get(&uri.unwrap().to_string())));
        let expected = if tail.starts_with('/') { tail } else { format!("/{tail}") };
        prop_assert_eq!(answer.body, format!("1 {expected}"));
    }
}

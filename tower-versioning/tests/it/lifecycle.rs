//! Deprecation, sunset and what follows.

use std::time::Duration;

use http::StatusCode;
use tower_versioning::settings::{AfterSunset, Reports, Select, VersionPolicy};
use tower_versioning::{Moment, Registry, Source, Version, VersionErrorKind, VersionLayer};

use crate::support::{V1, V2, day, get, name, send, send_to, v, with};

fn builder() -> tower_versioning::RegistryBuilder {
    Registry::builder().version(V1, |v| {
        v.deprecated(day(10)).sunset(day(20)).gone_after_sunset().successor(V2).location("/v1")
    })
}

fn layer() -> VersionLayer {
    let registry = builder().version(V2, |v| v.location("/v2")).build().unwrap();
    VersionLayer::new(registry).wall_clock(|| day(15))
}

#[tokio::test]
async fn one_version_goes_while_the_other_stays() {
    let at = [
        (layer().wall_clock(|| day(5)), StatusCode::OK, "1, 2", None),
        (layer().wall_clock(|| day(10)), StatusCode::OK, "2", Some("1")),
        (layer().wall_clock(|| day(20) - Duration::from_secs(1)), StatusCode::OK, "2", Some("1")),
        (layer().wall_clock(|| day(20)), StatusCode::GONE, "2", None),
    ];
    for (layer, status, supported, deprecated) in at {
        let old = send(&layer, get("/v1/x")).await;
        assert_eq!(old.status, status);
        assert_eq!(old.all("api-supported-versions"), [supported]);
        assert_eq!(old.all("api-deprecated-versions"), deprecated.into_iter().collect::<Vec<_>>());
        let new = send(&layer, get("/v2/x")).await;
        assert_eq!((new.status, new.all("api-supported-versions")), (StatusCode::OK, vec![supported]));
    }
    let gone = send(&layer().wall_clock(|| day(20)), get("/v1/x")).await;
    assert_eq!(gone.kind(), Some(VersionErrorKind::Gone));
    assert!(
        gone.body.contains("#gone-version") && gone.body.contains("\"supported\":[\"2\"]"),
        "{}",
        gone.body
    );
}

#[tokio::test]
async fn links_name_only_versions_that_exist_and_have_a_place() {
    let answer = send(&layer(), get("/v1/x")).await;
    assert_eq!(answer.all("link"), ["</v2>; rel=\"successor-version\", </v2>; rel=\"latest-version\""]);
    assert_eq!(answer.all("deprecation"), ["@864000"]);
    assert_eq!(answer.all("sunset"), ["Wed, 21 Jan 1970 00:00:00 GMT"]);
    let answer = send(&layer(), get("/v2/x")).await;
    assert_eq!(answer.all("link"), ["</v1>; rel=\"predecessor-version\""]);
    assert!(answer.all("deprecation").is_empty() && answer.all("sunset").is_empty());
}

/// Also where there is one source alone, which is asked in another way.
#[tokio::test]
async fn a_version_ends_in_every_place_it_is_named() {
    for (source, uri, fields) in [
        (Source::path(""), "/v1/x", &[][..]),
        (Source::path("/api"), "/api/v1.0/x", &[]),
        (Source::header(name("api-version")), "/x", &[("api-version", "1")]),
        (Source::header(name("x-version")), "/x", &[("x-version", "1.0")]),
        (Source::media_type("v"), "/x", &[("accept", "a/b;v=1")]),
        (Source::query("v"), "/x?v=1", &[]),
    ] {
        let layer = layer().sources([source]);
        let status = async |now| send(&layer.clone().wall_clock(now), with(uri, fields)).await.status;
        assert_eq!(status(|| day(19)).await, StatusCode::OK, "{uri}");
        assert_eq!(status(|| day(20)).await, StatusCode::GONE, "{uri}");
        // A clock that is put back.
        assert_eq!(status(|| day(19)).await, StatusCode::OK, "{uri}");
    }
}

/// RFC 5829 §3: what is gone exists no more.
#[tokio::test]
async fn nothing_links_to_a_version_that_is_gone() {
    let before = send(&layer().wall_clock(|| day(19)), get("/v2/x")).await;
    assert_eq!(before.all("link"), ["</v1>; rel=\"predecessor-version\""]);
    let after = send(&layer().wall_clock(|| day(20)), get("/v2/x")).await;
    assert!(after.all("link").is_empty(), "{:?}", after.all("link"));
    // The newest goes first, and those before it know it no more.
    let ends = |at: u64| move |v: VersionPolicy| v.sunset(day(at)).gone_after_sunset();
    let registry = Registry::builder()
        .version(V1, |v| v.location("/1").successor(V2))
        .version(V2, |v| ends(20)(v.location("/2")))
        .version(v("3"), |v| ends(10)(v.location("/3")))
        .build()
        .unwrap();
    let layer = VersionLayer::new(registry);
    let links = async |now: fn() -> std::time::SystemTime| {
        send(&layer.clone().wall_clock(now), get("/v1/x")).await.all("link").concat()
    };
    assert_eq!(links(|| day(9)).await, "</2>; rel=\"successor-version\", </3>; rel=\"latest-version\"");
    assert_eq!(links(|| day(10)).await, "</2>; rel=\"successor-version\", </2>; rel=\"latest-version\"");
    assert_eq!(links(|| day(20)).await, "");
    // Without a release the newest of all is the latest.
    let early = Registry::builder().version(v("1-alpha"), |v| v).version(v("1-beta"), |v| v.location("/b"));
    let answer = send(&VersionLayer::new(early.build().unwrap()), get("/v1-alpha/x")).await;
    assert_eq!(answer.all("link"), ["</b>; rel=\"latest-version\""]);
    // A clock that is put back brings them back.
    assert_eq!(links(|| day(9)).await, "</2>; rel=\"successor-version\", </3>; rel=\"latest-version\"");
}

/// Nobody needs to know where to go more than those who are turned away.
#[tokio::test]
async fn the_refusal_of_what_is_gone_tells_its_life_and_where_to_go() {
    let path = |reports| {
        let registry = Registry::builder()
            .version(V1, |v| {
                let v = v.deprecated(day(10)).sunset(day(20)).gone_after_sunset();
                v.successor(V2).documentation("/docs/moving")
            })
            .version(V2, |v| v);
        VersionLayer::new(registry.build().unwrap()).reports(reports)
    };
    let served = send(&path(Reports::All).wall_clock(|| day(19)), get("/v1/x/7")).await;
    let gone = send(&path(Reports::All).wall_clock(|| day(20)), get("/v1/x/7")).await;
    assert_eq!((served.status, gone.status), (StatusCode::OK, StatusCode::GONE));
    for field in ["deprecation", "sunset", "link"] {
        assert!(!gone.all(field).is_empty(), "{field}");
        assert_eq!(served.all(field), gone.all(field));
    }
    let links = ["</docs/moving>; rel=\"deprecation\"", "<../../v2/x/7>; rel=\"successor-version\""];
    assert_eq!(gone.all("link"), links);
    assert!(gone.all("api-version").is_empty(), "no version served it");
    let quiet = send(&path(Reports::None).wall_clock(|| day(20)), get("/v1/x/7")).await;
    assert_eq!(quiet.status, StatusCode::GONE);
    assert!(quiet.all("link").is_empty() && quiet.all("sunset").is_empty());
    // Other refusals are about no version.
    let unknown = send(&path(Reports::All).wall_clock(|| day(20)), get("/v9/x")).await;
    assert!(unknown.all("link").is_empty() && unknown.all("sunset").is_empty());
}

#[tokio::test]
async fn what_the_handler_says_stays() {
    let answer = send_to(&layer(), get("/v1/x"), |headers| {
        headers.insert("deprecation", "@1".parse().unwrap());
        headers.insert("sunset", "Thu, 01 Jan 1970 00:00:01 GMT".parse().unwrap());
        headers.insert("api-version", "mine".parse().unwrap());
        headers.insert("link", "</mine>; rel=\"next\"".parse().unwrap());
        headers.insert("api-supported-versions", "7".parse().unwrap());
    })
    .await;
    // A second line would make the whole field void (RFC 9745 §2, RFC 9651 §4.2).
    assert_eq!(answer.all("deprecation"), ["@1"]);
    assert_eq!(answer.all("sunset"), ["Thu, 01 Jan 1970 00:00:01 GMT"]);
    assert_eq!(answer.all("api-version"), ["mine"]);
    assert_eq!(answer.all("api-supported-versions"), ["7", "2"]);
    assert_eq!(answer.all("link").len(), 2);
    assert_eq!(answer.all("link")[0], "</mine>; rel=\"next\"");
}

#[tokio::test]
async fn reports_can_be_less() {
    let fields = |answer: &crate::support::Answer| {
        let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names.join(" ")
    };
    let full = send(&layer(), get("/v1/x")).await;
    assert_eq!(
        fields(&full),
        "api-deprecated-versions api-supported-versions api-version deprecation link sunset vary"
    );
    let some = send(&layer().reports(Reports::NoLists), get("/v1/x")).await;
    assert_eq!(fields(&some), "api-version deprecation link sunset vary");
    let none = send(&layer().reports(Reports::None), get("/v1/x")).await;
    assert_eq!(fields(&none), "vary");
}

/// A Deprecation is a structured-field Date: `@` and digits; every day of the calendar re-parses as what was meant. The
/// days of the turns of centuries and the first of each month; every one with `TOWER_ASSURE`.
#[test]
fn every_day_from_1970_to_9999_re_parses() {
    let every = std::env::var_os("TOWER_ASSURE").is_some();
    let mut days = 0;
    for year in 1970..=9999u16 {
        let all = every || year < 2040 || year % 100 <= 1;
        for month in 1..=12u8 {
            let length = (28..=31).rev().find(|day| is_day(year, month, *day)).unwrap();
            for date in 1..=length {
                if date > 1 && !all {
                    days += 1;
                    continue;
                }
                let moment = Moment::utc(year, month, date);
                assert_eq!(moment.unix(), days * 86_400, "{year}-{month}-{date}");
                let text = moment.to_string();
                assert_eq!(Moment::parse_http_date(&text), Some(moment), "{text}");
                assert_eq!(text.len(), 29, "{text}");
                assert_eq!(&text[5..7], format!("{date:02}"), "{text}");
                assert!(text.ends_with(" 00:00:00 GMT"), "{text}");
                days += 1;
            }
        }
    }
    assert_eq!(days, 2_932_897);
}

fn is_day(year: u16, month: u8, day: u8) -> bool {
    Version::parse(&format!("{year:04}-{month:02}-{day:02}")).is_ok()
}

#[test]
fn wrong_lives_are_refused_when_built() {
    let field = |builder: tower_versioning::RegistryBuilder| builder.build().unwrap_err().field().to_owned();
    let one = |policy: fn(tower_versioning::settings::VersionPolicy) -> _| {
        assert!(Registry::builder().version(V1, |v| v).build().is_ok());
        field(Registry::builder().version(V1, policy))
    };
    assert_eq!(one(|v| v.deprecated(day(2)).sunset(day(1))), "sunset");
    assert_eq!(one(|v| v.sunset(Moment::from_unix(-1))), "sunset");
    assert_eq!(one(|v| v.sunset(Moment::from_unix(253_402_300_800))), "sunset");
    assert_eq!(one(|v| v.deprecated(Moment::from_unix(1_000_000_000_000_000))), "deprecated");
    assert_eq!(one(|v| v.after_sunset(AfterSunset::Gone)), "gone_after_sunset");
    assert_eq!(one(|v| v.successor(V1)), "successor");
    assert_eq!(one(|v| v.link("a b", "x")), "link");
    assert_eq!(one(|v| v.link("/a>", "x")), "link");
    assert_eq!(one(|v| v.link("/a", "")), "link");
    assert_eq!(one(|v| v.location("")), "location");
    assert_eq!(one(|v| v.documentation("a b")), "documentation");
    assert_eq!(one(|v| v.deprecation_link("ä")), "deprecation_link");
    assert_eq!(one(|v| v.sunset_link("/{id}")), "sunset_link");
    for uri in ["/%41?a=b&c#d", "https://u@[::1]:8/a;b,c(d)", "../x", "?", "//h/'*'"] {
        let placed = Registry::builder().version(V1, |v| v.location(uri).link(uri, "urn:x"));
        assert!(placed.build().is_ok(), "{uri}");
    }
    for uri in ["/%4", "/%", "/%zz", "/a|b", "/a^", "/`", "/\\", "/\"", "/a\tb", "/{id}"] {
        let error =
            Registry::builder().version(V1, |v| v).version(V2, |v| v.location(uri)).build().unwrap_err();
        assert_eq!(error.field(), "location", "{uri}");
        assert!(error.to_string().contains("version 2: "), "it says which: {error}");
    }
    assert_eq!(field(builder().version(v_one_zero(), |v| v).version(V2, |v| v)), "version");
}

fn v_one_zero() -> Version {
    Version::new(1, 0)
}

/// To the second, on both sides of 1970, and without overflow.
#[test]
fn moments_are_whole_seconds() {
    use std::time::{SystemTime, UNIX_EPOCH};
    let at = |time: SystemTime| Moment::from(time).unix();
    assert_eq!(at(UNIX_EPOCH + Duration::from_millis(10_999)), 10);
    assert_eq!(at(UNIX_EPOCH - Duration::from_secs(10)), -10);
    assert_eq!(Moment::from_unix(-10).to_string(), "@-10");
    assert_eq!(Moment::utc(2026, 3, 5).to_string(), "Thu, 05 Mar 2026 00:00:00 GMT");
}

/// Every day of four hundred years by counting, in which the calendar comes around.
#[test]
fn moments_of_days_are_those_of_the_calendar() {
    let mut days = 0;
    for year in 1970..2370_u16 {
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        for (month, length) in
            (1..).zip([31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
        {
            for day in 1..=length {
                assert_eq!(Moment::utc(year, month, day).unix(), days * 86_400, "{year}-{month}-{day}");
                days += 1;
            }
        }
    }
}

/// A client that did not choose is not sent to what is gone; one that named it hears of it.
#[tokio::test]
async fn what_nobody_named_is_never_gone_while_another_version_is_served() {
    let v11 = Version::new(1, 1);
    let all = || {
        Registry::builder()
            .version(Version::new(1, 0), |v| v)
            .version(v11, |v| v.sunset(day(20)).gone_after_sunset())
            .version(Version::literal("2-beta"), |v| v)
    };
    let at = |builder: tower_versioning::RegistryBuilder, now: fn() -> std::time::SystemTime| {
        VersionLayer::new(builder.build().unwrap()).wall_clock(now)
    };
    let (before, after): (fn() -> _, fn() -> _) = (|| day(19), || day(20));
    let latest = |now| at(all().default_latest(), now);
    assert_eq!(send(&latest(before), get("/x")).await.body, "1.1 /x");
    assert_eq!(send(&latest(after), get("/x")).await.body, "1.0 /x", "the newest release that is served");
    let minor = |now| at(all().select(Select::LatestMinor), now);
    assert_eq!(send(&minor(before), get("/v1/x")).await.body, "1.1 /x");
    assert_eq!(send(&minor(after), get("/v1/x")).await.body, "1.0 /x");
    assert_eq!(send(&minor(after), get("/v1.1/x")).await.kind(), Some(VersionErrorKind::Gone), "named");
    let lower = |now| at(all().select(Select::NearestLower), now);
    assert_eq!(send(&lower(before), get("/v1.5/x")).await.body, "1.1 /x");
    assert_eq!(
        send(&lower(after), get("/v1.5/x")).await.kind(),
        Some(VersionErrorKind::Gone),
        "never an older one"
    );
    let constant = |now| at(all().default_version(v11), now);
    assert_eq!(send(&constant(before), get("/x")).await.body, "1.1 /x");
    assert_eq!(
        send(&constant(after), get("/x")).await.kind(),
        Some(VersionErrorKind::Gone),
        "named in the registry"
    );
    // The oldest, and what is left when all of a major version is gone.
    let gone = |builder: tower_versioning::RegistryBuilder| {
        builder.version(V1, |v| v.sunset(day(20)).gone_after_sunset()).version(V2, |v| v)
    };
    let lowest = |now| at(gone(Registry::builder()).default_lowest(), now);
    assert_eq!(send(&lowest(before), get("/x")).await.body, "1 /x");
    assert_eq!(send(&lowest(after), get("/x")).await.body, "2 /x");
    let minor = |now| at(gone(Registry::builder()).select(Select::LatestMinor), now);
    assert_eq!(send(&minor(before), get("/v1/x")).await.body, "1 /x");
    assert_eq!(send(&minor(after), get("/v1/x")).await.kind(), Some(VersionErrorKind::Gone));
    let alone = Registry::builder().version(V1, |v| v.sunset(day(20)).gone_after_sunset());
    let alone = alone.default_latest().build().unwrap();
    let (before, after) =
        (VersionLayer::new(alone.clone()).wall_clock(before), VersionLayer::new(alone).wall_clock(after));
    assert_eq!(send(&before, get("/x")).await.body, "1 /x");
    let answer = send(&after, get("/x")).await;
    assert_eq!((answer.status, answer.kind()), (StatusCode::GONE, Some(VersionErrorKind::Gone)));
}

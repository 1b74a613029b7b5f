//! The rules of the RFCs, by the numbers of our research. Rules about reading what a server announces stand in `client`.

use http::{HeaderMap, Method, StatusCode};
use tower_versioning::settings::VersionPolicy;
use tower_versioning::{Moment, Registry, Source, VersionErrorKind, VersionLayer};

use crate::support::{Answer, V1, V2, day, get, name, registry, send, send_to, v, with};

fn with_life(life: fn(VersionPolicy) -> VersionPolicy) -> VersionLayer {
    let registry = Registry::builder().version(V1, life).version(V2, |v| v).build().unwrap();
    VersionLayer::new(registry).wall_clock(|| day(100))
}

async fn v1(layer: &VersionLayer) -> Answer {
    send(layer, get("/v1/x")).await
}

/// Rules 1 and 2: `@` and an integer of at most 15 digits (RFC 9651 §3.3.7).
#[tokio::test]
async fn r01_r02_deprecation_is_a_date_of_at_most_15_digits() {
    let fractions = with_life(|v| v.deprecated(day(10) + std::time::Duration::from_millis(999)));
    assert_eq!(v1(&fractions).await.all("deprecation"), ["@864000"]);
    let far = with_life(|v| v.deprecated(Moment::from_unix(999_999_999_999_999)));
    assert_eq!(v1(&far).await.all("deprecation"), ["@999999999999999"]);
    let before = with_life(|v| v.deprecated(Moment::from_unix(-1)));
    assert_eq!(v1(&before).await.all("deprecation"), ["@-1"]);
    let too_far = Registry::builder().version(V1, |v| v.deprecated(Moment::from_unix(1_000_000_000_000_000)));
    assert_eq!(too_far.build().unwrap_err().field(), "deprecated");
}

/// Rule 7: a date to come says that it will be deprecated; it stays among the supported until then.
#[tokio::test]
async fn r07_a_deprecation_to_come_is_announced_and_not_yet_so() {
    let coming = with_life(|v| v.deprecated(day(101)));
    let answer = v1(&coming).await;
    assert_eq!(
        (answer.all("deprecation"), answer.all("api-supported-versions")),
        (vec!["@8726400"], vec!["1, 2"])
    );
    let since = v1(&coming.wall_clock(|| day(101))).await;
    assert_eq!(
        (since.all("deprecation"), since.all("api-supported-versions")),
        (vec!["@8726400"], vec!["2"])
    );
    assert_eq!(since.all("api-deprecated-versions"), ["1"]);
}

/// Rule 8, RFC 9745 §4.
#[test]
fn r08_a_sunset_before_the_deprecation_is_a_wrong_configuration() {
    let build = |sunset| Registry::builder().version(V1, |v| v.deprecated(day(2)).sunset(sunset)).build();
    assert!(build(day(2)).is_ok());
    assert_eq!(build(day(1)).unwrap_err().field(), "sunset");
}

/// Rules 9, 13 and 14: what is announced changes neither status nor body nor what caches do; a past sunset may.
#[tokio::test]
async fn r09_r13_r14_announcements_change_nothing_else() {
    let plain = v1(&with_life(|v| v)).await;
    let own = |headers: &mut HeaderMap| drop(headers.insert("cache-control", "max-age=60".parse().unwrap()));
    for life in [
        (|v| v.deprecated(day(10))) as fn(VersionPolicy) -> VersionPolicy,
        |v| v.deprecated(day(10)).sunset(day(200)),
        |v| v.deprecated(day(10)).sunset(day(50)),
    ] {
        let answer = send_to(&with_life(life), get("/v1/x"), own).await;
        assert_eq!((answer.status, &answer.body), (plain.status, &plain.body));
        assert_eq!(answer.all("cache-control"), ["max-age=60"]);
        assert!(!answer.headers.contains_key("expires"));
    }
    let gone = v1(&with_life(|v| v.sunset(day(50)).gone_after_sunset())).await;
    assert_eq!((gone.status, gone.kind()), (StatusCode::GONE, Some(VersionErrorKind::Gone)));
}

/// Rules 10 and 15: the links stand without the fields, and a sunset link may name more than this resource.
#[tokio::test]
async fn r10_r15_links_need_no_field() {
    let answer =
        v1(&with_life(|v| v.documentation("/docs/v1").sunset_link("https://api.example/policy"))).await;
    assert!(!answer.headers.contains_key("deprecation") && !answer.headers.contains_key("sunset"));
    let links = "</docs/v1>; rel=\"deprecation\", <https://api.example/policy>; rel=\"sunset\"";
    assert_eq!(answer.all("link"), [links]);
}

/// Rules 11 and 12: IMF-fixdate is sent; all three forms are read. Two digits of a year mean 1970 to 2069: no clock is
/// asked, so the border does not move with the years (RFC 9110 §5.6.7 would have it 50 years ahead).
#[tokio::test]
async fn r11_r12_dates_are_imf_fixdate_and_read_in_three_forms() {
    let sunset = v1(&with_life(|v| v.sunset(Moment::utc(2026, 3, 5)))).await;
    assert_eq!(sunset.all("sunset"), ["Thu, 05 Mar 2026 00:00:00 GMT"]);
    let day = Some(Moment::utc(1994, 11, 6));
    for form in
        ["Sun, 06 Nov 1994 00:00:00 GMT", "Sunday, 06-Nov-94 00:00:00 GMT", "Sun Nov  6 00:00:00 1994"]
    {
        assert_eq!(Moment::parse_http_date(form), day, "{form}");
    }
    for wrong in ["Thu, 5 Mar 2026 00:00:00 GMT", "Thu, 05 Mar 2026 00:00:00 +0100", "2026-03-05", "@0", ""] {
        assert_eq!(Moment::parse_http_date(wrong), None, "{wrong}");
    }
}

/// Rules 16, 20 and 22: targets in brackets, one relation each, appended, and only of versions that exist.
#[tokio::test]
async fn r16_r20_r22_links_are_appended_and_tell_what_exists() {
    let build = |second: fn(VersionPolicy) -> VersionPolicy| {
        let builder = Registry::builder().version(V1, |v| v.successor(V2).link("/a", "help"));
        VersionLayer::new(builder.version(V2, second).build().unwrap())
            .sources([Source::header(name("api-version"))])
    };
    let own = |headers: &mut HeaderMap| drop(headers.insert("link", "</next>; rel=next".parse().unwrap()));
    let request = || with("/x", &[("api-version", "1")]);
    let placeless = send_to(&build(|v| v), request(), own).await;
    assert_eq!(placeless.all("link"), ["</next>; rel=next", "</a>; rel=\"help\""]);
    let placed = send_to(&build(|v| v.location("/two")), request(), own).await;
    let links = "</a>; rel=\"help\", </two>; rel=\"successor-version\", </two>; rel=\"latest-version\"";
    assert_eq!(placed.all("link"), ["</next>; rel=next", links]);
}

/// Rules 23 to 26: what a media type says, and how much it weighs (RFC 9110 §8.3.1, §12.4.2, §12.5.1).
#[tokio::test]
async fn r23_to_r26_media_types() {
    let layer = VersionLayer::new(registry(&["1", "2"])).sources([Source::media_type("v")]);
    for (fields, seen) in [
        (&[("accept", "APPLICATION/Json;V=1")][..], Ok("1 /x")),
        (&[("accept", "a/b; v = 1")], Err(406)),
        (&[("accept", "a/b;q=0.9;v=1, a/b;v=2;q=0.901")], Ok("2 /x")),
        (&[("accept", "a/b;v=1;q=0, a/b;v=2;q=0.001")], Ok("2 /x")),
        (&[("accept", "a/b;v=1;q=0.1"), ("accept", "a/b;v=2;q=0.2")], Ok("2 /x")),
        (&[("content-type", "a/b;v=1"), ("content-type", "a/b;v=1")], Err(415)),
        (&[("accept", "a/b;v=\"\\1\"")], Ok("1 /x")),
    ] {
        let answer = send(&layer, with("/x", fields)).await;
        match seen {
            Ok(seen) => assert_eq!(answer.body, seen, "{fields:?}"),
            Err(status) => assert_eq!(answer.status.as_u16(), status, "{fields:?}"),
        }
    }
}

/// Rules 27 and 28: `Vary` names each field consulted, once; targets add none; a pin varies on the credentials.
#[tokio::test]
async fn r27_r28_vary_names_what_was_consulted() {
    let field = || Source::header(name("api-version"));
    let pin = Source::pin(|parts| parts.headers.contains_key("authorization").then_some(V1));
    for (sources, vary) in [
        (vec![field(), field()], vec!["api-version"]),
        (vec![field(), Source::media_type("v")], vec!["api-version, accept, content-type"]),
        (vec![Source::path(""), Source::query("v"), Source::host("v{version}.x").unwrap()], vec![]),
        (vec![pin], vec!["authorization"]),
    ] {
        let layer = VersionLayer::new(registry(&["1"])).sources(sources);
        for request in
            [get("/v1/x?v=1"), with("/x", &[("api-version", "1"), ("authorization", "a")]), get("/x")]
        {
            assert_eq!(send(&layer, request).await.all("vary"), vary);
        }
    }
}

/// Rule 29: 406 for what is wanted, 415 for what is sent, 410 for what is over, and caches may keep it by heuristic.
#[tokio::test]
async fn r29_statuses() {
    let media = VersionLayer::new(registry(&["1"])).sources([Source::media_type("v")]);
    assert_eq!(send(&media, with("/x", &[("accept", "a/b;v=1")])).await.status, StatusCode::OK);
    assert_eq!(send(&media, with("/x", &[("accept", "a/b;v=9")])).await.status, StatusCode::NOT_ACCEPTABLE);
    let content = send(&media, with("/x", &[("content-type", "a/b;v=9")])).await;
    assert_eq!(content.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let gone = v1(&with_life(|v| v.sunset(day(50)).gone_after_sunset())).await;
    assert_eq!((gone.status, gone.headers.get("cache-control")), (StatusCode::GONE, None));
}

/// Rules 30 to 32 (RFC 9457): status repeated, absolute type, input escaped and capped, HEAD without a body.
#[tokio::test]
async fn r30_to_r32_problem_documents() {
    let layer = VersionLayer::new(registry(&["1", "2"])).sources([Source::header(name("api-version"))]);
    let hostile = format!("\"\u{1b}{}", "9".repeat(8192));
    let mut request = get("/x");
    let value = http::HeaderValue::from_bytes(hostile.replace('\u{1b}', "\t").as_bytes()).unwrap();
    request.headers_mut().insert("api-version", value);
    let answer = send(&layer, request.clone()).await;
    assert_eq!(answer.all("content-type"), ["application/problem+json"]);
    for part in [
        "\"status\":400",
        "\"type\":\"https://docs.rs/tower-versioning/latest/tower_versioning/#malformed-version\"",
        "\"supported\":[\"1\",\"2\"]",
        "\"requested\":\"\\\"\\u0009999",
    ] {
        assert!(answer.body.contains(part), "{part} in {}", answer.body);
    }
    assert!(answer.body.len() < 500, "{}", answer.body.len());
    *request.method_mut() = Method::HEAD;
    let head = send(&layer, request).await;
    assert_eq!((head.status, head.body.as_str()), (answer.status, ""));
    assert_eq!(head.headers["content-length"], answer.headers["content-length"]);
    assert_eq!(send(&layer, with("/x", &[("api-version", "1")])).await.body, "1 /x");
    assert!(v("1") == V1);
}

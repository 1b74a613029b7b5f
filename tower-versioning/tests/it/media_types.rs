//! Versions in media types (RFC 9110 §12.5.1).

use http::StatusCode;
use tower_versioning::{Source, VersionErrorKind, VersionLayer};

use crate::support::{Answer, name, registry, send, with};

fn layer(source: Source) -> VersionLayer {
    VersionLayer::new(registry(&["1", "2", "2.1", "2.5", "2022-11-01"])).sources([source])
}

async fn parameter(headers: &[(&'static str, &str)]) -> Answer {
    send(&layer(Source::media_type("v")), with("/x", headers)).await
}

/// Found as that version, or refused in that way.
fn is(answer: &Answer, expected: Result<&str, VersionErrorKind>, what: &str) {
    match expected {
        Ok(version) => assert_eq!(answer.body, format!("{version} /x"), "{what}"),
        Err(kind) => assert_eq!(answer.kind(), Some(kind), "{what}"),
    }
}

#[tokio::test]
async fn the_range_wanted_most_counts() {
    for (accept, expected) in [
        ("application/json;v=1", Ok("1")),
        ("application/json; q=.8; v=2.5, application/json; q=.2; v=1", Ok("2.5")),
        ("application/json;v=1;q=0.9, application/json;v=2", Ok("2")),
        ("text/html, application/json;v=2;q=0.1", Ok("2")),
        ("application/json;v=1;q=0, application/json;v=2;q=0.1", Ok("2")),
        ("application/json;v=1, text/json;v=2", Err(VersionErrorKind::Ambiguous)),
        ("application/json;v=1, text/json;v=1.0", Ok("1")),
        ("Application/JSON;V=\"2\\.1\"", Ok("2.1")),
        ("application/json;charset=\"a,b;v=1\";v=2", Ok("2")),
        ("application/json;v=1;q=1.001, application/json;v=2;q=0.5", Ok("2")),
        ("application/json;v=1;q=0.1234, application/json;v=2;q=0.5", Ok("2")),
        ("application/json;v=x", Err(VersionErrorKind::Malformed)),
        ("application/json;v=", Err(VersionErrorKind::Missing)),
        ("application/json;v=1;q=0", Err(VersionErrorKind::Missing)),
        ("application/json", Err(VersionErrorKind::Missing)),
        // RFC 9110 §5.6.6: no white space around the equals sign.
        ("application/json;v =1", Err(VersionErrorKind::Missing)),
        (",,;;\"", Err(VersionErrorKind::Missing)),
        ("application/json;v=9", Err(VersionErrorKind::Unsupported)),
    ] {
        let answer = parameter(&[("accept", accept)]).await;
        is(&answer, expected, accept);
        if expected.is_err_and(|kind| kind != VersionErrorKind::Ambiguous) {
            assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE, "{accept}");
        }
        assert_eq!(answer.all("vary"), ["accept, content-type"]);
    }
}

#[tokio::test]
async fn several_accept_lines_combine_and_several_content_types_are_invalid() {
    let accept = |value| ("accept", value);
    is(&parameter(&[accept("a/b;v=1;q=0.5"), accept("a/b;v=2;q=0.6")]).await, Ok("2"), "two lines");
    let twice = parameter(&[("content-type", "a/b;v=1"), ("content-type", "a/b;v=1")]).await;
    is(&twice, Err(VersionErrorKind::Malformed), "two content types");
    assert_eq!(twice.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn the_content_weighs_as_much_as_an_unweighted_wish() {
    let both = |accept| [("content-type", "a/b;v=1"), ("accept", accept)];
    is(&parameter(&both("a/b")).await, Ok("1"), "only the content");
    is(&parameter(&both("a/b;v=1.0")).await, Ok("1"), "both agree");
    is(&parameter(&both("a/b;v=2;q=0.9")).await, Ok("1"), "a lesser wish");
    is(&parameter(&both("a/b;v=2")).await, Err(VersionErrorKind::Ambiguous), "an equal wish");
    let unsupported = parameter(&[("content-type", "a/b;v=9")]).await;
    assert_eq!(unsupported.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn templates_of_vendors() {
    let full = layer(Source::vendor("application/vnd.orders.v{version}+json").unwrap());
    let subtype = layer(Source::vendor("vnd-v{version}+json").unwrap());
    for (layer, accept, expected) in [
        (&full, "application/vnd.orders.v2+json", Ok("2")),
        (&full, "application/VND.orders.V2.1+json; q=0.5", Ok("2.1")),
        (&full, "application/vnd.orders.voucher+json", Err(VersionErrorKind::Missing)),
        (&full, "application/vnd.orders.v2+xml", Err(VersionErrorKind::Missing)),
        (&full, "application/vnd.orders.v2x+json", Err(VersionErrorKind::Malformed)),
        (&subtype, "application/vnd-v2.1+json", Ok("2.1")),
        (&subtype, "text/vnd-v2022-11-01+json", Ok("2022-11-01")),
        (&subtype, "vnd-v1+json", Err(VersionErrorKind::Missing)),
    ] {
        is(&send(layer, with("/x", &[("accept", accept)])).await, expected, accept);
    }
    assert!(Source::vendor("application/json").is_err());
}

#[tokio::test]
async fn lists_of_media_types_to_look_at() {
    let only = layer(Source::media_type("v").only(["application/json"]));
    let except = layer(Source::media_type("v").except(["application/json"]));
    let request = || with("/x", &[("accept", "application/json;v=1, text/plain;v=2;q=0.5")]);
    is(&send(&only, request()).await, Ok("1"), "only");
    is(&send(&except, request()).await, Ok("2"), "except");
}

#[tokio::test]
async fn beside_other_sources_refusals_are_400() {
    let layer = VersionLayer::new(registry(&["1"]))
        .sources([Source::media_type("v"), Source::header(name("api-version"))]);
    is(&send(&layer, with("/x", &[("accept", "a/b;v=1"), ("api-version", "1")])).await, Ok("1"), "both");
    let answer = send(&layer, with("/x", &[("accept", "a/b;v=9")])).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

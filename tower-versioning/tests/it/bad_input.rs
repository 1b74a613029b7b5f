//! Input that is odd or hostile: the answer to each is decided here.

use http::StatusCode;
use tower_versioning::settings::Conflict;
use tower_versioning::{Source, VersionErrorKind, VersionLayer};

use crate::support::{Answer, get, name, registry, send, with};

fn path_only() -> VersionLayer {
    VersionLayer::new(registry(&["1", "2", "10"])).sources([Source::path("")])
}

fn header_only() -> VersionLayer {
    VersionLayer::new(registry(&["1", "2"])).sources([Source::header(name("api-version"))])
}

async fn header(values: &[&str]) -> Answer {
    let lines: Vec<_> = values.iter().map(|value| ("api-version", *value)).collect();
    send(&header_only(), with("/x", &lines)).await
}

#[tokio::test]
async fn paths() {
    for (path, expected) in [
        // The letter in either case, as Asp.Versioning has it.
        ("/V2/x", Some("2 /x")),
        // An empty segment is a segment.
        ("//v1/x", None),
        // Nothing is decoded: what routers see and what we see stays the same text.
        ("/%76%31/x", None),
        ("/v10/x", Some("10 /x")),
        ("/v1", Some("1 /")),
        ("/v1/", Some("1 /")),
        ("/v1?a=b", Some("1 /?a=b")),
        ("/v1//x", Some("1 //x")),
        ("/v/x", None),
        ("/v01/x", None),
        ("/v99999999999/x", None),
        ("/vx/x", None),
        ("/", None),
        ("*", None),
    ] {
        let answer = send(&path_only(), get(path)).await;
        match expected {
            Some(seen) => assert_eq!(answer.body, seen, "{path}"),
            None => assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}"),
        }
    }
}

#[tokio::test]
async fn header_values() {
    assert_eq!(header(&["1"]).await.status, StatusCode::OK);
    let long = "1".repeat(8192);
    for (values, kind) in [
        (&["", ""][..], VersionErrorKind::Missing),
        (&[" "], VersionErrorKind::Missing),
        (&["v1"], VersionErrorKind::Malformed),
        (&["99999999999"], VersionErrorKind::Malformed),
        (&["2147483648"], VersionErrorKind::Malformed),
        (&["ä"], VersionErrorKind::Malformed),
        (&["1;2"], VersionErrorKind::Malformed),
        (&[&long], VersionErrorKind::Malformed),
        (&["1", "2"], VersionErrorKind::Ambiguous),
        (&["1, 2"], VersionErrorKind::Ambiguous),
        (&["1", "x"], VersionErrorKind::Malformed),
        (&["2147483647"], VersionErrorKind::Unsupported),
    ] {
        let answer = header(values).await;
        assert_eq!(answer.kind(), Some(kind), "{:?}", values[0].chars().take(20).collect::<String>());
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    for same in [&["1", "1.0"][..], &["1, 1"], &["1", ""], &[" 1 "]] {
        assert_eq!(header(same).await.body, "1 /x", "{same:?}");
    }
}

#[tokio::test]
async fn input_is_echoed_escaped_and_capped() {
    let hostile = format!("\"<script>\\{}", "x".repeat(8192));
    let answer = header(&[&hostile]).await;
    assert_eq!(answer.kind(), Some(VersionErrorKind::Malformed));
    assert!(answer.body.len() < 700, "{}", answer.body.len());
    assert!(answer.body.contains(r#""requested":"\"<script>\\xxx"#), "{}", answer.body);
    assert_eq!(answer.headers["content-length"], answer.body.len().to_string());
    for (length, end) in [(127, ""), (128, ""), (129, "…")] {
        let answer = header(&[&"x".repeat(length)]).await;
        let echoed = format!("\"requested\":\"{}{end}\"", "x".repeat(length.min(128)));
        assert!(answer.body.contains(&echoed), "{length}: {}", answer.body);
    }
}

#[tokio::test]
async fn head_has_the_header_fields_without_the_body() {
    let mut request = get("/x");
    assert!(!send(&header_only(), request.clone()).await.body.is_empty());
    *request.method_mut() = http::Method::HEAD;
    let answer = send(&header_only(), request).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::BAD_REQUEST, ""));
    let length: usize = answer.headers["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(length, send(&header_only(), get("/x")).await.body.len());
}

#[tokio::test]
async fn a_grpc_request_is_refused_by_trailers_only() {
    let request = |version| with("/x", &[("content-type", "application/grpc"), ("api-version", version)]);
    assert_eq!(send(&header_only(), request("1")).await.body, "1 /x");
    let answer = send(&header_only(), request("9")).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
    assert_eq!(answer.headers["grpc-status"], "12");
    for (content_type, is_grpc) in [
        ("application/grpc+proto", true),
        ("APPLICATION/gRPC; x=y", true),
        ("application/grpc-web", true),
        ("application/grpc-web-text+proto", true),
        ("application/grpcx", false),
        ("application/grpc-webx", false),
        ("application/grp", false),
        ("text/application/grpc", false),
    ] {
        let answer =
            send(&header_only(), with("/x", &[("content-type", content_type), ("api-version", "9")])).await;
        assert_eq!(answer.headers.contains_key("grpc-status"), is_grpc, "{content_type}");
        assert_eq!(answer.status == StatusCode::OK, is_grpc, "{content_type}");
    }
}

#[tokio::test]
async fn in_order_the_first_source_wins_and_the_others_are_not_consulted() {
    let sources = || [Source::path(""), Source::header(name("api-version"))];
    let layer = VersionLayer::new(registry(&["1", "2"])).sources(sources());
    let request = || with("/v1/x", &[("api-version", "2")]);
    assert_eq!(send(&layer, request()).await.kind(), Some(VersionErrorKind::Ambiguous));
    let ordered = layer.conflict(Conflict::Ordered);
    let answer = send(&ordered, request()).await;
    assert_eq!(answer.body, "1 /x");
    assert!(answer.headers.get("vary").is_none());
    let answer = send(&ordered, with("/x", &[("api-version", "2")])).await;
    assert_eq!((answer.body.as_str(), &answer.headers["vary"]), ("2 /x", &"api-version".parse().unwrap()));
}

/// What is wrong in one place is wrong, whatever another one says; unless that one is believed alone.
#[tokio::test]
async fn a_malformed_source_beside_a_good_one_is_malformed() {
    let sources = || [Source::path(""), Source::header(name("api-version"))];
    let layer = VersionLayer::new(registry(&["1", "2"])).sources(sources());
    assert_eq!(send(&layer, with("/v1/x", &[("api-version", "1")])).await.body, "1 /x");
    for (uri, field) in [("/v1/x", "x"), ("/v1.x/x", "1"), ("/v1/x", "1,,0")] {
        let answer = send(&layer, with(uri, &[("api-version", field)])).await;
        let kind = if field == "1,,0" { VersionErrorKind::Ambiguous } else { VersionErrorKind::Malformed };
        assert_eq!(answer.kind(), Some(kind), "{uri} {field}");
    }
    let ordered = layer.conflict(Conflict::Ordered);
    assert_eq!(send(&ordered, with("/v1/x", &[("api-version", "x")])).await.body, "1 /x");
}

/// A segment is taken out wherever its source stands, and that consults no field.
#[tokio::test]
async fn a_path_behind_other_sources_is_still_taken_out() {
    let sources = || [Source::header(name("x-a")), Source::header(name("x-b")), Source::path("")];
    let layer = VersionLayer::new(registry(&["1", "2"])).sources(sources()).conflict(Conflict::Ordered);
    let answer = send(&layer, with("/v2/x", &[("x-a", "1")])).await;
    assert_eq!((answer.body.as_str(), answer.all("vary")), ("1 /x", vec!["x-a"]));
    let answer = send(&layer, with("/v2/x", &[])).await;
    assert_eq!((answer.body.as_str(), answer.all("vary")), ("2 /x", vec!["x-a, x-b"]));
    // Of two path sources the first one's segment goes.
    let both = [Source::path(""), Source::path_anywhere("r{version}").unwrap()];
    let layer = VersionLayer::new(registry(&["1", "2"])).sources(both);
    assert_eq!(send(&layer, get("/v1/x/r1")).await.body, "1 /x/r1");
    assert_eq!(send(&layer, get("/x/r1")).await.body, "1 /x");
    assert_eq!(send(&layer, get("/v1/x/r2")).await.kind(), Some(VersionErrorKind::Ambiguous));
}

/// The same odd texts in every place that can carry a version: each is malformed, and little of it is echoed.
#[tokio::test]
async fn long_foreign_and_overflowing_texts_in_every_place() {
    let long = "1".repeat(8192);
    for (text, escaped) in
        [(long.as_str(), long.as_str()), ("1ä", "1%C3%A4"), ("1.99999999999", "1.99999999999")]
    {
        let query = format!("/x?v={escaped}");
        let media = format!("a/b;v={text}");
        let vendor = format!("application/vnd.x.v{text}+json");
        let host = format!("v{text}.api.example");
        for (source, request) in [
            (Source::query("v"), get(&query)),
            (Source::path(""), get(&format!("/v{escaped}/x"))),
            (Source::media_type("v"), with("/x", &[("accept", &media)])),
            (Source::media_type("v"), with("/x", &[("content-type", &media)])),
            (
                Source::vendor("application/vnd.x.v{version}+json").unwrap(),
                with("/x", &[("accept", &vendor)]),
            ),
            (Source::host("v{version}.api.example").unwrap(), with("/x", &[("host", &host)])),
            (Source::header(name("api-version")), with("/x", &[("api-version", text)])),
        ] {
            let what = format!("{source:?} {}", text.chars().take(9).collect::<String>());
            let layer = VersionLayer::new(registry(&["1", "2"])).sources([source]);
            let answer = send(&layer, request).await;
            assert_eq!(answer.kind(), Some(VersionErrorKind::Malformed), "{what}");
            assert!(answer.status.is_client_error() && answer.body.len() < 500, "{what}: {}", answer.body);
        }
    }
    let package = VersionLayer::new(registry(&["1"])).sources([Source::grpc_package()]);
    assert_eq!(send(&package, get("/a.v1.B/C")).await.body, "1 /a.v1.B/C");
    let answer = send(&package, get(&format!("/a.v{long}.B/C"))).await;
    assert_eq!((answer.kind(), answer.status), (Some(VersionErrorKind::Malformed), StatusCode::NOT_FOUND));
}

//! What a hostile or careless client can make of a request; and settings that are easily written wrong.

use http::{Method, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_versioning::{Source, VersionErrorKind, VersionLayer, VersionRange};

use crate::support::{V1, V2, get, name, registry, send, send_to, with};

fn by_path(source: Source) -> VersionLayer {
    VersionLayer::new(registry(&["1", "2"])).sources([source])
}

/// Nothing is decoded, merged or resolved: what routers see and what the layer sees stays the same text.
#[tokio::test]
async fn segments_stay_what_they_are() {
    for (target, expected) in [
        ("/v1/../v2/x", Some("1 /../v2/x")),
        ("/v1/./x", Some("1 /./x")),
        ("/./v1/x", None),
        ("/v1%2F..%2Fv2/x", None),
        ("/v1%2e0/x", None),
        ("/v1;a=b/x", None),
        ("/v1.0/%2e%2e/x?%76=+&v=", Some("1 /%2e%2e/x?%76=+&v=")),
        ("/v1?", Some("1 /?")),
        ("http://user:word@[::1]:81/v2//h/x?a=/v1/", Some("2 http://user:word@[::1]:81//h/x?a=/v1/")),
        ("http://example?v=1", None),
        ("/v1.2.3.4/x", None),
        ("/v2026-02-30/x", None),
        ("/v1-abcdefghijklm/x", None),
    ] {
        let answer = send(&by_path(Source::path("")), get(target)).await;
        match expected {
            Some(seen) => assert_eq!(answer.body, seen, "{target}"),
            None => assert_eq!(answer.status, StatusCode::NOT_FOUND, "{target}"),
        }
    }
    let mut connect = get("/v1/x");
    assert_eq!(send(&by_path(Source::path("")), connect.clone()).await.body, "1 /x");
    *connect.method_mut() = Method::CONNECT;
    *connect.uri_mut() = "example:443".parse().unwrap();
    assert_eq!(send(&by_path(Source::path("")), connect).await.status, StatusCode::NOT_FOUND);
}

/// `api` is meant as `/api`, in each place that takes a prefix.
#[tokio::test]
async fn a_prefix_needs_no_slash() {
    for prefix in ["api", "/api", "api/", "/api/"] {
        let layer = by_path(Source::path(prefix)).neutral_path("health");
        assert_eq!(send(&layer, get("/api/v1/x")).await.body, "1 /api/x", "{prefix}");
        assert_eq!(send(&layer, get("/health")).await.body, "- /health", "{prefix}");
    }
}

/// A neutral path needs no version and takes any, wherever the version stands.
#[tokio::test]
async fn neutral_paths_below_a_prefix_take_any_version() {
    let layer = by_path(Source::path("/api")).neutral_path("/api/health");
    for (target, seen) in [
        ("/api/v2/x", "2 /api/x"),
        ("/api/health", "- /api/health"),
        ("/api/v1/health/live?x", "- /api/health/live?x"),
        ("/api/v9/health", "- /api/health"),
    ] {
        assert_eq!(send(&layer, get(target)).await.body, seen, "{target}");
    }
    for refused in ["/api/v9/healthy", "/api/healthy", "/api/v9/x", "/api/v9"] {
        assert_eq!(send(&layer, get(refused)).await.status, StatusCode::NOT_FOUND, "{refused}");
    }
    let above = by_path(Source::path("/api")).neutral_path("/api");
    assert_eq!(send(&above, get("/api/v9")).await.body, "- /api");
    assert_eq!(send(&above, get("/apis/v9")).await.status, StatusCode::NOT_FOUND);
}

/// Browsers ask for signed exchanges with `v=b3`, which is no version of ours.
#[tokio::test]
async fn the_parameter_of_signed_exchanges_is_no_version() {
    const BROWSER: &str = "text/html,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
    let layer = VersionLayer::new(registry(&["1", "2"])).sources([Source::media_type("v")]);
    let asked = async |accept: &str| send(&layer, with("/x", &[("accept", accept)])).await;
    assert_eq!(asked("a/b;v=2, application/signed-exchange;v=b3;q=0.7").await.body, "2 /x");
    assert_eq!(asked(BROWSER).await.kind(), Some(VersionErrorKind::Missing));
    assert_eq!(asked("a/b;v=b3").await.kind(), Some(VersionErrorKind::Malformed));
}

#[tokio::test]
async fn quotes_commas_and_weights() {
    let layer = VersionLayer::new(registry(&["1", "2"])).sources([Source::media_type("v")]);
    for (accept, expected) in [
        (r#"a/b;x="a, c/d;v=1";v=2"#, Some("2 /x")),
        (r#"a/b;x="\",;v=1\"";v="\2""#, Some("2 /x")),
        (r#"a/b;x="open, c/d;v=1"#, None),
        ("a/b;v=1;q=0, a/c;v=2;q=0.001", Some("2 /x")),
        ("a/b;v=1;q=0.000", None),
        ("a/b;v=1;q=1.001, a/c;v=2;q=0.1", Some("2 /x")),
        ("a/b;v=1;q=0.1234, a/c;v=2;q=0.1", Some("2 /x")),
        ("a/b;v=1;Q=0.5, */*;V=2;q=1.000", Some("2 /x")),
        (",, ,a/b;v=2,", Some("2 /x")),
        ("a/b;v=", None),
        ("a/b;v=\"\"", None),
    ] {
        let answer = send(&layer, with("/x", &[("accept", accept)])).await;
        match expected {
            Some(seen) => assert_eq!(answer.body, seen, "{accept}"),
            None => assert_eq!(answer.kind(), Some(VersionErrorKind::Missing), "{accept}"),
        }
    }
}

#[tokio::test]
async fn hosts() {
    let layer = by_path(Source::host("v{version}.api.example").unwrap());
    for (target, host, expected) in [
        ("/x", "v2.api.example", Some("2 /x")),
        ("/x", "V2.API.example.:8080", Some("2 /x")),
        ("http://v1.api.example:80/x", "v2.api.example", Some("1 http://v1.api.example:80/x")),
        ("http://v2.api.example@v1.api.example/x", "", Some("1 http://v2.api.example@v1.api.example/x")),
        ("/x", "v1.api.example@v2.api.example", None),
        ("/x", "[::1]:80", None),
        ("/x", "v1.api.example:v2", Some("1 /x")),
        ("/x", "", None),
    ] {
        let answer = send(&layer, with(target, &[("host", host)])).await;
        match expected {
            Some(seen) => assert_eq!(answer.body, seen, "{target} {host}"),
            None => assert_eq!(answer.status, StatusCode::NOT_FOUND, "{target} {host}"),
        }
    }
}

#[tokio::test]
async fn grpc_paths() {
    let layer = by_path(Source::grpc_package());
    for (target, version) in [
        ("/shop.v1.Orders/Get", Some("1")),
        ("/v2.Orders/Get", Some("2")),
        ("/shop.v2.inner.Orders/Get", Some("2")),
        ("/shop.v1.Orders", None),
        ("/shop.v1/Get", None),
        ("/v1/Get", None),
        ("//shop.v1.Orders/Get", None),
        ("/shop.V1.Orders/Get", None),
        ("/shop.v01.Orders/Get", None),
        ("/shop.v1_1.Orders/Get", None),
        ("/shop..Orders/Get", None),
    ] {
        let answer = send(&layer, get(target)).await;
        match version {
            Some(version) => assert_eq!(answer.body, format!("{version} {target}"), "{target}"),
            None => assert_eq!(answer.status, StatusCode::NOT_FOUND, "{target}"),
        }
    }
}

/// A link to `//host/…` would lead elsewhere (RFC 3986 §4.2).
#[tokio::test]
async fn the_successor_lives_on_the_same_host() {
    let registry = tower_versioning::Registry::builder()
        .version(V1, |v| v.successor(V2))
        .version(V2, |v| v)
        .build()
        .unwrap();
    let layer = VersionLayer::new(registry).sources([Source::path_anywhere("v{version}").unwrap()]);
    let answer = send(&layer, get("/shop/v1/x")).await;
    assert_eq!(answer.all("link"), ["<../v2/x>; rel=\"successor-version\""]);
    let answer = send(&layer, get("//other.example/v1/x")).await;
    assert_eq!((answer.status, answer.all("link").len()), (StatusCode::OK, 0));
}

/// The guard does not know the list of versions, so its problem document has none: it stays JSON.
#[tokio::test]
async fn the_refusal_of_a_guard_is_a_whole_document() {
    let handler = service_fn(async |_: http::Request<String>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(String::from("here")))
    });
    let app = VersionLayer::new(registry(&["1", "2"])).layer(VersionRange::since(V2).layer(handler));
    let answer = async |target| {
        let response = app.clone().oneshot(get(target)).await.unwrap();
        let length = response.headers().get("content-length").cloned();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (String::from_utf8(body.to_vec()).unwrap(), length)
    };
    assert_eq!(answer("/v2/x").await.0, "here");
    let (body, length) = answer("/v1/x").await;
    assert!(body.ends_with(r#","status":404,"requested":"1"}"#), "{body}");
    assert_eq!(length.unwrap(), body.len().to_string());
}

/// The layer twice, as in a gateway in front of a service: the second says nothing that the first has said.
#[tokio::test]
async fn twice_the_layer_says_once() {
    let layer = || VersionLayer::new(registry(&["1", "2"])).sources([Source::header(name("api-version"))]);
    let inner = service_fn(async |_: http::Request<String>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    });
    let service = layer().layer(layer().layer(inner));
    let answer = service.oneshot(with("/x", &[("api-version", "1")])).await.unwrap();
    for (field, value) in [("api-version", "1"), ("api-supported-versions", "1, 2"), ("vary", "api-version")]
    {
        let lines: Vec<_> = answer.headers().get_all(field).iter().collect();
        assert_eq!(lines, [value], "{field}");
    }
    // What a handler says of its own is another list, and both stay.
    let own = |headers: &mut http::HeaderMap| {
        headers.insert("api-supported-versions", "7".parse().unwrap());
    };
    let answer = send_to(&layer(), with("/x", &[("api-version", "1")]), own).await;
    assert_eq!(answer.all("api-supported-versions"), ["7", "1, 2"]);
}

/// Whatever the sources are: who names two versions has to say which, and 404 or 406 would not tell.
#[tokio::test]
async fn two_versions_are_400_from_all_sources() {
    let host = Source::host("v{version}.api.example").unwrap();
    let target = VersionLayer::new(registry(&["1", "2"])).sources([Source::path(""), host]);
    let media = VersionLayer::new(registry(&["1", "2"])).sources([Source::media_type("v")]);
    for (layer, agreed, differing) in [
        (target, with("/v1/x", &[("host", "v1.api.example")]), with("/v1/x", &[("host", "v2.api.example")])),
        (media, with("/x", &[("accept", "a/b;v=1, a/c;v=1")]), with("/x", &[("accept", "a/b;v=1, a/c;v=2")])),
    ] {
        assert_eq!(send(&layer, agreed).await.body, "1 /x");
        let answer = send(&layer, differing).await;
        assert_eq!((answer.kind(), answer.status.as_u16()), (Some(VersionErrorKind::Ambiguous), 400));
    }
}

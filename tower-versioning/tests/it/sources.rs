//! Each place a version can stand in.

use http::HeaderName;
use tower_versioning::settings::{Conflict, SourceKind};
use tower_versioning::{Source, Version, VersionErrorKind, VersionLayer};

use crate::support::{V1, get, name, registry, send, with};

fn layer(source: Source) -> VersionLayer {
    VersionLayer::new(registry(&["1", "2", "2.1", "2-beta1", "2-preview", "2022-11-01"])).sources([source])
}

async fn body(layer: &VersionLayer, uri: &str) -> String {
    send(layer, get(uri)).await.body
}

#[tokio::test]
async fn a_path_template_and_a_kept_segment() {
    let dated = layer(Source::path_template("/api/{version}").unwrap());
    assert_eq!(body(&dated, "/api/2022-11-01/x?q=%20").await, "2022-11-01 /api/x?q=%20");
    assert_eq!(send(&dated, get("/2022-11-01/x")).await.kind(), Some(VersionErrorKind::Missing));
    let kept = layer(Source::path_kept("/api"));
    assert_eq!(body(&kept, "/api/v2/x").await, "2 /api/v2/x");
    for wrong in ["/v", "v{version}", "/{version}/{version}", "/{version}/x", "/a?{version}"] {
        assert_eq!(Source::path_template(wrong).unwrap_err().field(), "path_template", "{wrong}");
    }
}

#[test]
fn a_wrong_template_is_refused_by_the_name_of_the_method() {
    for (field, built, wrong) in [
        ("path_anywhere", Source::path_anywhere("v{version}"), Source::path_anywhere("/v{version}")),
        ("host", Source::host("v{version}.example"), Source::host("example")),
        ("vendor", Source::vendor("vnd.v{version}"), Source::vendor("vnd.{version}.{version}")),
    ] {
        assert!(built.is_ok());
        let error = wrong.unwrap_err();
        assert_eq!(error.field(), field);
        assert!(error.to_string().contains("`{version}` exactly once"), "{error}");
    }
    let error = Source::path_template("/v{version}/x").unwrap_err();
    assert!(error.to_string().contains("in its last segment"), "{error}");
}

#[tokio::test]
async fn a_path_segment_anywhere_matches_to_its_last_octet() {
    let anywhere = layer(Source::path_anywhere("v{version}").unwrap());
    assert_eq!(body(&anywhere, "/a/b/v2/c").await, "2 /a/b/c");
    assert_eq!(body(&anywhere, "/a/v2x/v1").await, "1 /a/v2x");
    assert!(Source::path_anywhere("a/{version}").is_err());
}

#[tokio::test]
async fn an_absolute_target_keeps_scheme_and_authority() {
    let path = layer(Source::path(""));
    assert_eq!(body(&path, "http://example.com:81/v1/x?y").await, "1 http://example.com:81/x?y");
}

/// On one thread, where each request is looked at first in the place in which the one before had the field.
#[tokio::test]
async fn a_field_is_found_wherever_it_stands() {
    let request = |field: Option<&'static str>, place: usize, version: &str| {
        let mut request = get("/x");
        for number in 0..=place + 1 {
            let name = field.filter(|_| number == place).map_or(format!("x-{number}"), str::to_owned);
            request.headers_mut().append(name.parse::<HeaderName>().unwrap(), version.parse().unwrap());
        }
        request
    };
    let usual = layer(Source::header(name("api-version")));
    let other = layer(Source::header(name("x-v")));
    for place in (0..20).chain((0..20).rev()).chain([0, 14, 15, 7, 7, 19, 1]) {
        for (layer, field, version) in [(&usual, "api-version", "1"), (&other, "x-v", "2.1")] {
            let answer = send(layer, request(Some(field), place, version)).await;
            assert_eq!((answer.kind(), answer.body), (None, format!("{version} /x")), "{place}");
            // As many fields, and another one in its place.
            let answer = send(layer, request(None, place, version)).await;
            assert_eq!(answer.kind(), Some(VersionErrorKind::Missing), "{place}");
        }
    }
}

#[tokio::test]
async fn a_query_parameter() {
    let query = layer(Source::query("v"));
    for (uri, seen) in [
        ("/x?v=2", "2 /x?v=2"),
        ("/x?a&v=2.1&v=2.1", "2.1 /x?a&v=2.1&v=2.1"),
        ("/x?v=2%2E1", "2.1 /x?v=2%2E1"),
        ("/x?%76=1", "1 /x?%76=1"),
        ("/x?v=&v=1", "1 /x?v=&v=1"),
    ] {
        assert_eq!(body(&query, uri).await, seen);
    }
    for (uri, kind) in [
        ("/x?v=", VersionErrorKind::Missing),
        ("/x?vv=1", VersionErrorKind::Missing),
        ("/x?V=1", VersionErrorKind::Missing),
        ("/x?v=1&v=2", VersionErrorKind::Ambiguous),
        ("/x?v=%zz", VersionErrorKind::Malformed),
        ("/x?v=+1", VersionErrorKind::Malformed),
    ] {
        assert_eq!(send(&query, get(uri)).await.kind(), Some(kind), "{uri}");
    }
}

#[tokio::test]
async fn a_host() {
    let host = layer(Source::host("v{version}.api.example.com").unwrap());
    for value in ["v2.api.example.com", "V2.API.example.com:8080", "v2.api.example.com."] {
        assert_eq!(send(&host, with("/x", &[("host", value)])).await.body, "2 /x", "{value}");
    }
    assert_eq!(body(&host, "https://v2.1.api.example.com/x").await, "2.1 https://v2.1.api.example.com/x");
    for value in ["api.example.com", "v2.api.example.com.evil.example", "xv2.api.example.com"] {
        assert_eq!(send(&host, with("/x", &[("host", value)])).await.kind(), Some(VersionErrorKind::Missing));
    }
    let twice = [("host", "v1.api.example.com"), ("host", "v2.api.example.com")];
    assert_eq!(send(&host, with("/x", &twice)).await.kind(), Some(VersionErrorKind::Ambiguous));
}

#[tokio::test]
async fn a_grpc_package() {
    let grpc = layer(Source::grpc_package());
    for (path, version) in [
        ("/orders.v1.Orders/Get", "1"),
        ("/a.v9.v2.Orders/Get", "2"),
        ("/orders.v2beta1.Orders/Get", "2-beta1"),
    ] {
        assert_eq!(body(&grpc, path).await, format!("{version} {path}"));
    }
    for path in ["/orders.Orders/Get", "/v1/Get", "/orders.v1.Orders", "/orders.vip.Orders/Get"] {
        assert_eq!(send(&grpc, get(path)).await.kind(), Some(VersionErrorKind::Missing), "{path}");
    }
    assert_eq!(send(&grpc, get("/orders.v2-x.Orders/Get")).await.kind(), Some(VersionErrorKind::Malformed));
}

/// The health service of gRPC has a package with a version, which is none of the API's.
#[tokio::test]
async fn services_of_grpc_itself_are_neutral_when_told() {
    let health = || with("/grpc.health.v1.Health/Check", &[("content-type", "application/grpc")]);
    let layer = VersionLayer::new(registry(&["2"])).sources([Source::grpc_package()]);
    assert_eq!(send(&layer, health()).await.all("grpc-status"), ["12"]);
    let answer = send(&layer.neutral_path("/grpc.health.v1.Health"), health()).await;
    assert_eq!(answer.body, "- /grpc.health.v1.Health/Check");
    assert!(answer.headers.is_empty());
}

#[tokio::test]
async fn a_pin_speaks_for_those_who_name_none() {
    #[derive(Clone)]
    struct Pinned(Version);
    let pin = Source::pin(|parts| parts.extensions.get::<Pinned>().map(|pinned| pinned.0));
    let layer = VersionLayer::new(registry(&["1", "2"])).sources([Source::header(name("api-version")), pin]);
    let pinned = |headers: &[(&'static str, &str)]| {
        let mut request = with("/x", headers);
        request.extensions_mut().insert(Pinned(V1));
        request
    };
    let answer = send(&layer, pinned(&[])).await;
    assert_eq!(answer.body, "1 /x");
    assert_eq!(answer.all("vary"), ["api-version, authorization"]);
    assert_eq!(send(&layer, pinned(&[("api-version", "2")])).await.body, "2 /x");
    assert_eq!(send(&layer, get("/x")).await.kind(), Some(VersionErrorKind::Missing));
}

/// Also where it is named before the others.
#[tokio::test]
async fn a_pin_never_conflicts_wherever_it_is_named() {
    let pin = || Source::pin(|_| Some(V1));
    for other in [Source::header(name("api-version")), Source::query("v"), Source::path("")] {
        for conflict in [Conflict::Reject, Conflict::Ordered] {
            let layer =
                VersionLayer::new(registry(&["1", "2"])).sources([pin(), other.clone()]).conflict(conflict);
            assert_eq!(send(&layer, get("/x")).await.body, "1 /x");
            let asked = with("/v2/x?v=2", &[("api-version", "2")]);
            let answer = send(&layer, asked).await;
            assert!(answer.body.starts_with("2 /"), "{other:?} {conflict:?}: {}", answer.body);
            assert!(!answer.all("vary").concat().contains("authorization"), "it was not asked: {other:?}");
        }
    }
}

#[tokio::test]
async fn a_function_of_ones_own_tells_what_it_reads() {
    let custom = Source::custom(|parts| match parts.headers.get("x-client") {
        Some(value) => Version::parse(value.to_str().unwrap_or("?")).map(Some),
        None => Ok(None),
    })
    .varies_on([name("x-client")]);
    let layer = layer(custom);
    let answer = send(&layer, with("/x", &[("x-client", "2.1")])).await;
    assert_eq!((answer.body.as_str(), answer.all("vary")), ("2.1 /x", vec!["x-client"]));
    let answer = send(&layer, with("/x", &[("x-client", "?")])).await;
    assert_eq!(answer.kind(), Some(VersionErrorKind::Malformed));
    assert_eq!(answer.all("vary"), ["x-client"]);
    // What stands there is not known: words of ours are nothing that was requested.
    assert!(!answer.body.contains("\"requested\""), "{}", answer.body);
    let answer = send(&layer, with("/x", &[("x-client", "")])).await;
    assert_eq!(answer.kind(), Some(VersionErrorKind::Missing), "empty says nothing, as everywhere");
}

#[tokio::test]
async fn the_handler_learns_what_was_asked_and_where() {
    use std::convert::Infallible;
    use tower::{Layer, ServiceExt, service_fn};
    let inner = service_fn(async |request: http::Request<String>| {
        Ok::<_, Infallible>(http::Response::new(format!(
            "{:?}",
            request.extensions().get::<tower_versioning::ApiVersion>().map(|api| (
                api.requested(),
                api.requested_version(),
                api.source(),
                api.is_deprecated(),
                api.original_uri(request.extensions()).map(ToString::to_string),
            ))
        )))
    });
    let layer = layer(Source::path(""));
    let response = layer.layer(inner).oneshot(get("/v2.0/x?y")).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let expected =
        (true, Some("2.0".parse::<Version>().unwrap()), Some(SourceKind::Path), false, Some("/v2.0/x?y"));
    assert_eq!(std::str::from_utf8(&body).unwrap(), format!("{:?}", Some(expected)));
}

/// However a version is found and written, and wherever what is told about it is kept.
#[tokio::test]
async fn the_handler_is_told_the_same_by_every_way() {
    use std::convert::Infallible;
    use tower::{Layer, ServiceExt, service_fn};
    type Seen = (tower_versioning::ApiVersion, Option<String>);
    let inner = service_fn(async |request: http::Request<String>| {
        let api = request.extensions().get::<tower_versioning::ApiVersion>().cloned().unwrap();
        let target = api.original_uri(request.extensions()).map(ToString::to_string);
        let mut response = http::Response::new(String::new());
        response.extensions_mut().insert::<Seen>((api, target));
        Ok::<_, Infallible>(response)
    });
    let seen = async |layer: &VersionLayer, uri: &str| {
        let response = layer.layer(inner).oneshot(get(uri)).await.unwrap();
        response.extensions().get::<Seen>().cloned().unwrap()
    };
    let versions = || registry(&["1", "2.1", "2026-03-01-preview.1"]);
    let one = VersionLayer::new(versions()).sources([Source::path("")]);
    let two = VersionLayer::new(versions()).sources([Source::path(""), Source::query("v")]);
    for text in ["1", "1.0", "1.0.0", "2.1", "2.1.0", "2026-03-01-preview.1", "2026-03-01-Preview.1"] {
        let mut all = Vec::new();
        for layer in [&one, &two] {
            let uri = format!("/v{text}/x");
            let (api, target) = seen(layer, &uri).await;
            assert_eq!(target.as_deref(), Some(&*uri));
            assert_eq!(api.requested_version().map(|v| v.to_string()).as_deref(), Some(text));
            assert_eq!((api.version(), api.source()), (text.parse().unwrap(), Some(SourceKind::Path)));
            assert!(versions().versions().any(|v| v.to_string() == api.version().to_string()));
            all.push(api);
        }
        assert_eq!(all[0], all[1], "{text}");
        let (api, target) = seen(&two, &format!("/x?v={text}")).await;
        assert_eq!((api.source(), target), (Some(SourceKind::Query), None));
        assert_eq!(api.requested_version().map(|v| v.to_string()).as_deref(), Some(text));
        assert_ne!(all[0], api);
    }
}

#[tokio::test]
async fn neutral_requests_need_no_version() {
    let layer = VersionLayer::new(registry(&["1"]))
        .neutral(|parts| parts.uri.path() == "/metrics")
        .neutral_path("/health");
    for (uri, seen) in [
        ("/metrics", "- /metrics"),
        ("/health", "- /health"),
        ("/health/live", "- /health/live"),
        // Any version or none, as Asp.Versioning has it.
        ("/v1/health", "- /health"),
        ("/v9/health", "- /health"),
    ] {
        let answer = send(&layer, get(uri)).await;
        assert_eq!(answer.body, seen);
        assert!(answer.headers.is_empty(), "{uri}: {:?}", answer.headers);
    }
    assert_eq!(send(&layer, get("/healthy")).await.kind(), Some(VersionErrorKind::Missing));
}

//! Where tokens are found: accepted, then one change.
use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::keys::Algorithm;
use tower_auth::layer::source::{BearerHeader, Cookie, FirstOf, Header, Query, TokenSource};
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, StaticKeys};

use crate::support::{CLAIMS, SECRET, clock, token};

fn layer(source: impl TokenSource) -> AuthLayer {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let issuer = Issuer::new("https://issuer.example", keys);
    let auth = Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap();
    AuthLayer::new(auth).token_source(source)
}

/// The inner answer says how it may be cached with the status and field of the request.
async fn inner(request: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    if let Some(value) = request.headers().get("x-cache") {
        response.headers_mut().insert(header::CACHE_CONTROL, value.clone());
    }
    if request.headers().contains_key("x-fail") {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

async fn send(
    layer: &AuthLayer,
    uri: &str,
    fields: &[(&'static str, &str)],
) -> (StatusCode, Option<AuthError>, HeaderMap) {
    let mut request = Request::builder().uri(uri);
    for (name, value) in fields {
        request = request.header(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let response = layer.layer(service_fn(inner)).oneshot(request.body(Empty::new()).unwrap()).await.unwrap();
    let (parts, _) = response.into_parts();
    (parts.status, parts.extensions.get().cloned(), parts.headers)
}

fn assert_conflict((status, error, headers): (StatusCode, Option<AuthError>, HeaderMap), what: &str) {
    assert!(matches!(error, Some(AuthError::InvalidRequest(_))), "{what}: {error:?}");
    assert_eq!(status, StatusCode::BAD_REQUEST, "{what}");
    let challenge = headers[header::WWW_AUTHENTICATE].to_str().unwrap();
    assert!(challenge.starts_with(r#"Bearer realm="api", error="invalid_request", "#), "{challenge}");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
}

async fn assert_missing(layer: &AuthLayer, uri: &str, fields: &[(&'static str, &str)]) {
    let (status, error, _) = send(layer, uri, fields).await;
    assert_eq!(
        (status, error),
        (StatusCode::UNAUTHORIZED, Some(AuthError::MissingToken)),
        "{uri} {fields:?}"
    );
}

#[tokio::test]
async fn cookie() {
    let (layer, good) = (layer(Cookie::new("__Host-token")), token(CLAIMS));
    let own = format!("__Host-token={good}");
    for accepted in [own.clone(), format!("a=b; {own}; c"), format!("a=\"x\";{own}")] {
        assert_eq!(send(&layer, "/", &[("cookie", &accepted)]).await.0, StatusCode::OK, "{accepted:.30}");
    }
    for missing in
        ["a=b".to_owned(), format!("token={good}"), format!("__host-token={good}"), "__Host-token=".into()]
    {
        assert_missing(&layer, "/", &[("cookie", &missing)]).await;
    }
    assert_missing(&layer, "/", &[("authorization", &format!("Bearer {good}"))]).await;
    for bad in [format!("{own}; {own}"), format!("__Host-token=\"{good}\""), format!("{own},x")] {
        assert_conflict(send(&layer, "/", &[("cookie", &bad)]).await, &bad);
    }
    assert_conflict(send(&layer, "/", &[("cookie", &own), ("cookie", &own)]).await, "two fields");
}

#[tokio::test]
async fn custom_header() {
    let (layer, good) = (layer(Header::new(HeaderName::from_static("x-access-token"))), token(CLAIMS));
    assert_eq!(send(&layer, "/", &[("x-access-token", &good)]).await.0, StatusCode::OK);
    assert_missing(&layer, "/", &[("x-token", &good)]).await;
    for bad in ["", &format!("Bearer {good}"), &format!("{good} "), &format!("{good},{good}")] {
        assert_conflict(send(&layer, "/", &[("x-access-token", bad)]).await, bad);
    }
    assert_conflict(
        send(&layer, "/", &[("x-access-token", &good), ("x-access-token", &good)]).await,
        "twice",
    );
}

#[tokio::test]
async fn query_answers_are_private() {
    let (layer, good) = (layer(Query::danger_access_token()), token(CLAIMS));
    let uri = format!("/?a=b&access_token={good}&c");
    let (status, _, headers) = send(&layer, &uri, &[]).await;
    assert_eq!((status, &headers[header::CACHE_CONTROL]), (StatusCode::OK, &"private".parse().unwrap()));
    for (inner, outer) in [
        ("public, max-age=60", "max-age=60, private"),
        ("max-age=60", "max-age=60, private"),
        // What forbids more than that stays.
        ("no-cache", "no-cache, private"),
        ("s-maxage=600,Public , must-revalidate", "must-revalidate, private"),
        ("private=\"set-cookie, x\", max-age=60", "no-cache, private"),
        ("", "private"),
        ("Private, max-age=60", "Private, max-age=60"),
        ("no-store", "no-store"),
    ] {
        let (_, _, headers) = send(&layer, &uri, &[("x-cache", inner)]).await;
        assert_eq!(headers[header::CACHE_CONTROL], outer, "{inner}");
    }
    let (status, _, headers) = send(&layer, &uri, &[("x-fail", "1")]).await;
    assert_eq!((status, headers.get(header::CACHE_CONTROL)), (StatusCode::NOT_FOUND, None));
    assert_missing(&layer, "/", &[]).await;
    assert_missing(&layer, &format!("/?Access_token={good}"), &[]).await;
    for bad in [
        format!("/?access_token={good}&access_token={good}"),
        "/?access_token=".to_owned(),
        "/?access_token".to_owned(),
        format!("/?access_token={}", good.replace('.', "%2E")),
    ] {
        assert_conflict(send(&layer, &bad, &[]).await, &bad);
    }
}

#[tokio::test]
async fn first_of_refuses_two_ways_at_once() {
    let source = FirstOf::new(BearerHeader).or(Cookie::new("token")).or(Query::danger_access_token());
    let (layer, good) = (layer(source), token(CLAIMS));
    let (bearer, cookie, uri) =
        (format!("Bearer {good}"), format!("token={good}"), format!("/?access_token={good}"));
    let (bearer, cookie) = (("authorization", bearer.as_str()), ("cookie", cookie.as_str()));
    for (uri, fields) in [("/", &[bearer][..]), ("/", &[cookie]), (&uri, &[])] {
        let (status, error, headers) = send(&layer, uri, fields).await;
        assert_eq!((status, error), (StatusCode::OK, None));
        assert_eq!(
            headers.contains_key(header::CACHE_CONTROL),
            fields.is_empty(),
            "only where it was in the URI"
        );
    }
    // Another scheme is no bearer token, so that this is one way.
    let basic = ("authorization", "Basic YTpi");
    assert_eq!(send(&layer, "/", &[basic, cookie]).await.0, StatusCode::OK);
    assert_missing(&layer, "/", &[]).await;
    for (uri, fields) in
        [("/", &[bearer, cookie][..]), (&uri, &[bearer]), (&uri, &[cookie]), (&uri, &[bearer, cookie])]
    {
        assert_conflict(send(&layer, uri, fields).await, "two ways");
    }
}

#[tokio::test]
async fn a_conflict_is_no_anonymous_request() {
    let layer = layer(FirstOf::new(BearerHeader).or(Cookie::new("token"))).optional();
    let good = token(CLAIMS);
    let (bearer, cookie) = (format!("Bearer {good}"), format!("token={good}"));
    assert_eq!(send(&layer, "/", &[]).await.0, StatusCode::OK);
    assert_eq!(send(&layer, "/", &[("cookie", &cookie)]).await.0, StatusCode::OK);
    assert_conflict(send(&layer, "/", &[("authorization", &bearer), ("cookie", &cookie)]).await, "optional");
}

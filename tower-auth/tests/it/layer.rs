//! Requests through the layers: accepted input, then one change.
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::keys::Algorithm;
use tower_auth::{
    AuthError, AuthLayer, Authenticator, Issuer, RequireScopes, StaticKeys, TokenFault, Verified,
};

use crate::support::{CLAIMS, SECRET, clock, hs256, token};

fn authenticator() -> Authenticator {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    Authenticator::builder()
        .issuer(Issuer::new("https://issuer.example", keys))
        .audience("api")
        .realm("example")
        .wall_clock(clock)
        .build()
        .unwrap()
}

async fn hello(request: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let name =
        request.extensions().get::<Verified>().and_then(Verified::subject).unwrap_or("nobody").to_owned();
    Ok(Response::new(Full::from(name)))
}

async fn send(layer: &AuthLayer, values: &[&str]) -> (StatusCode, Option<String>, Option<AuthError>, String) {
    let mut request = Request::builder().uri("/");
    for value in values {
        request = request.header(header::AUTHORIZATION, *value);
    }
    let response = layer.layer(service_fn(hello)).oneshot(request.body(Empty::new()).unwrap()).await.unwrap();
    let challenge =
        response.headers().get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
    let error = response.extensions().get::<AuthError>().cloned();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, challenge, error, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn one_change_to_an_accepted_token_is_refused() {
    let layer = AuthLayer::new(authenticator());
    let good = send(&layer, &[&format!("Bearer {}", token(CLAIMS))]).await;
    assert_eq!(good, (StatusCode::OK, None, None, "alice".into()));
    for (from, to, fault) in [
        ("https://issuer.example", "https://issuer.example/", TokenFault::Issuer),
        ("\"iss\":\"https://issuer.example\",", "", TokenFault::Issuer),
        ("\"api\"", "\"other\"", TokenFault::Audience),
        ("\"aud\":\"api\",", "", TokenFault::Missing("aud")),
        ("1800000300", "1799999940", TokenFault::Expired),
        ("\"exp\":1800000300,", "", TokenFault::Missing("exp")),
        ("\"iat\":1800000000", "\"nbf\":1800000061", TokenFault::NotYetValid),
        ("\"iat\":1800000000", "\"iat\":1800000061", TokenFault::NotYetValid),
        ("\"alice\"", "7", TokenFault::Claim("sub")),
        ("\"sub\"", "\"sub\":\"eve\",\"sub\"", TokenFault::Malformed),
        ("\"sub\":", "\"cnf\":{\"jkt\":\"x\"},\"sub\":", TokenFault::SenderConstrained),
    ] {
        let bad = CLAIMS.replace(from, to);
        assert_ne!(bad, CLAIMS);
        let (status, challenge, error, _) = send(&layer, &[&format!("Bearer {}", token(&bad))]).await;
        let expected =
            format!(r#"Bearer realm="example", error="invalid_token", error_description="{fault}""#);
        assert_eq!((status, challenge), (StatusCode::UNAUTHORIZED, Some(expected)), "{bad}");
        assert_eq!(error, Some(AuthError::InvalidToken(fault)), "{bad}");
    }
    for (header, fault) in [
        (r#"{"alg":"HS256","typ":"dpop+jwt"}"#, TokenFault::Type),
        (r#"{"alg":"HS512"}"#, TokenFault::UnknownKey),
        (r#"{"alg":"RS256"}"#, TokenFault::UnknownKey),
        (r#"{"alg":"none"}"#, TokenFault::Algorithm),
        (r#"{"alg":"HS256","crit":["exp"]}"#, TokenFault::Header),
    ] {
        let (_, _, error, _) = send(&layer, &[&format!("Bearer {}", hs256(header, CLAIMS))]).await;
        assert_eq!(error, Some(AuthError::InvalidToken(fault)), "{header}");
    }
}

#[tokio::test]
async fn missing_is_not_invalid() {
    let good = format!("Bearer {}", token(CLAIMS));
    let layer = AuthLayer::new(authenticator());
    assert_eq!(send(&layer, &[&good]).await.0, StatusCode::OK);
    let (status, challenge, error, body) = send(&layer, &[]).await;
    assert_eq!((status, challenge.as_deref()), (StatusCode::UNAUTHORIZED, Some(r#"Bearer realm="example""#)));
    assert_eq!(error, Some(AuthError::MissingToken));
    assert!(body.contains("\"status\":401") && body.contains("tower_auth/#missing-token"), "{body}");
    for values in
        [&[good.as_str(), good.as_str()][..], &["Bearer"], &[&format!("{good} ")], &["Basic YTpi", &good]]
    {
        assert_eq!(send(&layer, values).await.0, StatusCode::BAD_REQUEST, "{values:?}");
    }
    let optional = layer.clone().optional();
    assert_eq!(send(&optional, &[]).await.3, "nobody");
    assert_eq!(send(&optional, &[&good]).await.3, "alice");
    assert_eq!(send(&optional, &[&format!("{good}x")]).await.0, StatusCode::UNAUTHORIZED);
    let skipping = layer.skip(|parts| parts.uri.path() == "/");
    assert_eq!(send(&skipping, &["Bearer"]).await.3, "nobody");
}

#[tokio::test]
async fn scopes_and_grpc() {
    let auth = AuthLayer::new(authenticator());
    let call = async |rule: RequireScopes, media_type: Option<&str>| {
        let mut request =
            Request::builder().header(header::AUTHORIZATION, format!("Bearer {}", token(CLAIMS)));
        if let Some(media_type) = media_type {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let service = auth.layer(rule.layer(service_fn(hello)));
        service.oneshot(request.body(Empty::new()).unwrap()).await.unwrap()
    };
    assert_eq!(call(RequireScopes::all(["read", "write"]).unwrap(), None).await.status(), StatusCode::OK);
    assert_eq!(call(RequireScopes::any(["read", "admin"]).unwrap(), None).await.status(), StatusCode::OK);
    let refused = call(RequireScopes::all(["read", "admin"]).unwrap(), None).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        refused.headers()[header::WWW_AUTHENTICATE],
        r#"Bearer error="insufficient_scope", error_description="The access token does not grant what this needs", scope="read admin""#
    );
    for media_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web; x=y",
        "application/grpc-web-text",
        "Application/gRPC-Web-Text+proto",
    ] {
        let refused = call(RequireScopes::any(["admin"]).unwrap(), Some(media_type)).await;
        let status = refused.headers().get("grpc-status").map(http::HeaderValue::as_bytes);
        assert_eq!((refused.status(), status), (StatusCode::OK, Some(&b"7"[..])), "{media_type}");
    }
    for media_type in
        ["application/grpcx", "application/grpc-websocket", "application/grpc-web-texts", "text/grpc"]
    {
        let refused = call(RequireScopes::any(["admin"]).unwrap(), Some(media_type)).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{media_type}");
    }
}

/// Two spaces are one (RFC 9110 §11.4), for the cache too.
#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_token_after_two_spaces_is_remembered_like_any_other() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (layer, token) = (AuthLayer::new(authenticator()), token(CLAIMS));
    for spaces in ["  ", "   ", " ", "  "] {
        assert_eq!(send(&layer, &[&format!("Bearer{spaces}{token}")]).await.3, "alice");
    }
    let lookups = |outcome: &str| {
        let of = |key: &metrics::Key| {
            let mut labels = key.labels().map(|label| (label.key(), label.value()));
            key.name() == "tower_auth_token_cache_total" && labels.any(|label| label == ("outcome", outcome))
        };
        let metrics = snapshotter.snapshot().into_vec();
        let found = metrics.into_iter().find(|(key, ..)| of(key.key())).map(|(.., value)| value);
        match found {
            Some(metrics_util::debugging::DebugValue::Counter(count)) => count,
            other => panic!("{other:?}"),
        }
    };
    // Snapshots take the counts along.
    assert_eq!(lookups("miss"), 1);
}

/// Layers around ours, such as those for CORS and timeouts of tower-http, answer with an empty one.
#[test]
fn bodies_have_a_default() {
    assert!(http_body::Body::is_end_stream(&tower_auth::ResponseBody::<String>::default()));
}

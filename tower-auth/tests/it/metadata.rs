//! Metadata of the protected resource, and challenges that name it.
use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::keys::Algorithm;
use tower_auth::metadata::ProtectedResource;
use tower_auth::{AuthLayer, Authenticator, Issuer, StaticKeys};

use crate::support::{CLAIMS, SECRET, clock, token};

fn resource() -> ProtectedResource {
    let builder = ProtectedResource::builder("https://api.example/v1").scope("read").scope("write");
    builder.authorization_server("https://issuer.example").build().unwrap()
}

#[tokio::test]
async fn the_document_and_where_it_is() {
    assert_eq!(resource().url(), "https://api.example/.well-known/oauth-protected-resource/v1");
    let call = async |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let response = resource().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts, body.collect().await.unwrap().to_bytes())
    };
    let path = resource().path().to_owned();
    let (parts, body) = call(Method::GET, &path).await;
    assert_eq!(
        (parts.status, &parts.headers[header::CONTENT_TYPE]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "resource": "https://api.example/v1",
        "authorization_servers": ["https://issuer.example"],
        "scopes_supported": ["read", "write"],
        "bearer_methods_supported": ["header"],
    });
    assert_eq!(json, expected);
    let (head, nothing) = call(Method::HEAD, &path).await;
    assert_eq!((head.status, nothing.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers[header::CONTENT_LENGTH], body.len().to_string());
    let (refused, _) = call(Method::POST, &path).await;
    assert_eq!(
        (refused.status, &refused.headers[header::ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap())
    );
    assert_eq!(call(Method::GET, "/other").await.0.status, StatusCode::NOT_FOUND);
    assert_eq!(ProtectedResource::builder("/v1").build().unwrap_err().field(), "resource");
    // Nor one that would end the quotes of a challenge.
    for bad in ["https://api.example/v\"1", "https://api.example/\u{e9}"] {
        let refused =
            ProtectedResource::builder(bad).build().map(drop).map_err(|error| error.field().to_owned());
        assert_eq!(refused, Err("resource".to_owned()), "{bad}");
    }
    let twice = ProtectedResource::builder("https://a.example").member("resource", "x".into());
    assert_eq!(twice.build().unwrap_err().field(), "member");
}

#[tokio::test]
async fn challenges_name_the_metadata() {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let builder =
        Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api");
    let auth = builder.realm("example").wall_clock(clock).build().unwrap();
    let layer = AuthLayer::new(auth).resource_metadata(&resource());
    let handler = service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let call = async |authorization: Option<String>| {
        let mut request = Request::get("/");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        layer.layer(handler).oneshot(request.body(Empty::new()).unwrap()).await.unwrap()
    };
    assert_eq!(call(Some(format!("Bearer {}", token(CLAIMS)))).await.status(), StatusCode::OK);
    let refused = call(None).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        refused.headers()[header::WWW_AUTHENTICATE],
        r#"Bearer realm="example", resource_metadata="https://api.example/.well-known/oauth-protected-resource/v1""#
    );
    let refused = call(Some(format!("Bearer {}x", token(CLAIMS)))).await;
    let challenge = refused.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
    assert!(
        challenge.contains("error=\"invalid_token\"") && challenge.contains("resource_metadata="),
        "{challenge}"
    );
}

/// A rendering that names the metadata itself is believed, and is not corrected.
#[tokio::test]
async fn what_is_named_already_is_not_named_twice() {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let builder =
        Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api");
    let layer = AuthLayer::new(builder.wall_clock(clock).build().unwrap()).resource_metadata(&resource());
    let handler = service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    for (said, expected) in [
        (
            "Bearer",
            r#"Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource/v1""#,
        ),
        (r#"Bearer resource_metadata="https://b""#, r#"Bearer resource_metadata="https://b""#),
    ] {
        let render = move |error: &tower_auth::AuthError, _: &http::request::Parts| {
            let response = Response::builder().status(error.status()).header(header::WWW_AUTHENTICATE, said);
            response.body(Bytes::new()).unwrap()
        };
        let service = layer.clone().render_with(render).layer(handler);
        let refused = service.oneshot(Request::new(Empty::new())).await.unwrap();
        assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], expected);
    }
}

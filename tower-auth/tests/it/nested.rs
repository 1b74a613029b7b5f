//! Several authenticating layers on one request: the nearest one has the word, whatever claims types they read.
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::{BearerLayer, ForwardToken, InboundLayer};
use tower_auth::keys::Algorithm;
use tower_auth::layer::source::Header;
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, RequireScopes, StaticKeys, Verified};

use crate::support::{CLAIMS, SECRET, clock, token};

#[derive(serde::Deserialize)]
struct One {}

#[derive(serde::Deserialize)]
struct Two {}

fn layer<C: serde::de::DeserializeOwned + Send + Sync + 'static>() -> AuthLayer<C> {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let builder =
        Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api");
    AuthLayer::new(builder.wall_clock(clock).claims::<C>().build().unwrap())
}

/// The second token comes in a field of its own.
fn second() -> Header {
    Header::new(header::HeaderName::from_static("x-second"))
}

fn request(first: Option<&str>, inner: Option<&str>) -> Request<Empty<Bytes>> {
    let mut request = Request::get("/");
    if let Some(scope) = first {
        let token = token(&CLAIMS.replace("read write", scope));
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some(scope) = inner {
        request = request.header("x-second", token(&CLAIMS.replace("read write", scope)));
    }
    request.body(Empty::new()).unwrap()
}

/// What the handler may do below an outer layer and an optional inner one: the inner one's token counts, and without one
/// nothing is granted, however good the outer one was.
macro_rules! below {
    ($outer:ty, $inner:ty) => {{
        let handler = service_fn(async |request: Request<Empty<Bytes>>| {
            // What was forwarded is what was granted.
            let upstream = service_fn(async |request: Request<Empty<Bytes>>| {
                Ok::<_, Infallible>(Response::new(request.headers().get(header::AUTHORIZATION).cloned()))
            });
            let client = BearerLayer::new(ForwardToken::to_hosts(["a.example"]).unwrap()).layer(upstream);
            let out = Request::get("https://a.example/").body(Empty::new()).unwrap();
            let sent = client.oneshot(out).await.unwrap().into_body();
            let inner = request.extensions().get::<Verified<$inner>>();
            assert_eq!(sent.is_some(), inner.is_some());
            if let (Some(sent), Some(inner)) = (sent, inner) {
                assert_eq!(sent, format!("Bearer {}", inner.token()));
            }
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let rule = RequireScopes::all(["read"]).unwrap().layer(InboundLayer::new().layer(handler));
        let inner = layer::<$inner>().optional().token_source(second()).layer(rule);
        let service = layer::<$outer>().layer(inner);
        let send = async |first, inner| {
            let response = service.clone().oneshot(request(first, inner)).await.unwrap();
            (response.status(), response.extensions().get::<AuthError>().map(AuthError::kind))
        };
        let what = concat!(stringify!($outer), " around ", stringify!($inner));
        assert_eq!(send(Some("read"), Some("read")).await, (StatusCode::OK, None), "{what}");
        assert_eq!(send(Some("other"), Some("read")).await, (StatusCode::OK, None), "{what}");
        let forbidden = (StatusCode::FORBIDDEN, Some("insufficient-scope"));
        assert_eq!(send(Some("read"), Some("other")).await, forbidden, "{what}");
        let missing = (StatusCode::UNAUTHORIZED, Some("missing-token"));
        assert_eq!(send(Some("read"), None).await, missing, "{what}");
    }};
}

#[tokio::test]
async fn the_nearest_layer_has_the_word() {
    below!(tower_auth::Claims, tower_auth::Claims);
    below!(One, One);
    below!(One, Two);
    below!(Two, One);
    below!(tower_auth::Claims, One);
    below!(One, tower_auth::Claims);
}

/// What somebody outside has put into the extensions is not believed.
#[tokio::test]
async fn planted_tokens_are_removed() {
    let handler = service_fn(async |request: Request<Empty<Bytes>>| {
        assert!(request.extensions().get::<Verified>().is_none());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let builder =
        Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api");
    let auth = builder.wall_clock(clock).build().unwrap();
    let planted = auth.verify(&token(CLAIMS)).await.unwrap();
    let plain =
        AuthLayer::new(auth.clone()).optional().layer(RequireScopes::all(["read"]).unwrap().layer(handler));
    let skipping =
        AuthLayer::new(auth).skip(|_| true).layer(RequireScopes::all(["read"]).unwrap().layer(handler));
    for (name, explicit) in [("in the extensions", false), ("as inbound", true)] {
        let make = || {
            let mut request = request(None, None);
            if explicit {
                tower_auth::client::forward_with(request.extensions_mut(), &planted);
            } else {
                request.extensions_mut().insert(planted.clone());
            }
            request
        };
        for service in [plain.clone().oneshot(make()).await, skipping.clone().oneshot(make()).await] {
            let response = service.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
            assert_eq!(response.extensions().get(), Some(&AuthError::MissingToken), "{name}");
        }
    }
}

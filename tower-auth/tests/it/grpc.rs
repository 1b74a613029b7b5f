//! Refusals as a tonic client sees them, from a tonic server, over TCP.
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;
use tower_auth::keys::Algorithm;
use tower_auth::{AuthLayer, Authenticator, Issuer, RemoteJwks, RequireScopes, StaticKeys};

use crate::support::{CLAIMS, SECRET, clock, ed25519, token};

async fn channel(auth: AuthLayer) -> Channel {
    let (_, health) = tonic_health::server::health_reporter();
    let rule = RequireScopes::all(["read"]).unwrap();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().layer(auth).layer(rule).add_routes(Routes::new(health));
    tokio::spawn(server.serve_with_incoming(incoming));
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn call(channel: &Channel, token: Option<&str>) -> Result<(), Status> {
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    HealthClient::new(channel.clone()).check(request).await.map(drop)
}

#[tokio::test]
async fn unauthenticated_and_permission_denied() {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let auth = Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api");
    let channel = channel(AuthLayer::new(auth.wall_clock(clock).build().unwrap())).await;
    call(&channel, Some(&token(CLAIMS))).await.unwrap();
    let missing = call(&channel, None).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::Unauthenticated, "An access token is required"));
    assert_eq!(missing.metadata().get("www-authenticate").unwrap(), "Bearer realm=\"api\"");
    let expired =
        call(&channel, Some(&token(&CLAIMS.replace("1800000300", "1700000000")))).await.unwrap_err();
    assert_eq!((expired.code(), expired.message()), (Code::Unauthenticated, "The access token expired"));
    let denied = call(&channel, Some(&token(&CLAIMS.replace("read write", "write")))).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert!(denied.metadata().get("www-authenticate").unwrap().to_str().unwrap().ends_with("scope=\"read\""));
}

#[tokio::test]
async fn unavailable() {
    let down = service_fn(|_: Request<Empty<Bytes>>| {
        std::future::ready(Err::<Response<Full<Bytes>>, _>(std::io::Error::other("down")))
    });
    let keys = RemoteJwks::new("https://issuer.example/jwks".parse().unwrap(), down);
    let auth = Authenticator::builder()
        .issuer(Issuer::remote("https://issuer.example", keys.fetch_timeout(Duration::from_secs(1))))
        .audience("api");
    let channel = channel(AuthLayer::new(auth.wall_clock(clock).build().unwrap())).await;
    let status = call(&channel, Some(&ed25519("one", CLAIMS))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.metadata().get("retry-after").unwrap(), "1");
    assert!(status.metadata().get("www-authenticate").is_none());
}

//! With npm oidc-provider: `TOWER_AUTH_NODE` names a folder whose `node_modules` has it.
use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_auth::client::{BearerLayer, ClientCredentials, UpTo};
use tower_auth::dpop::{DpopKey, DpopLayer, DpopPolicy};
use tower_auth::introspection::Introspection;
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, RemoteJwks, TokenFault, Verified};

use crate::http::{Http, client};

/// Where oidc-provider is installed; if it is not, it is installed there, once.
fn folder() -> String {
    static READY: OnceLock<String> = OnceLock::new();
    let install = || {
        let own = concat!(env!("CARGO_TARGET_TMPDIR"), "/auth-servers").to_owned();
        let folder = std::env::var("TOWER_AUTH_NODE").unwrap_or(own);
        if !Path::new(&folder).join("node_modules/oidc-provider").exists() {
            std::fs::create_dir_all(&folder).unwrap();
            let options =
                ["install", "--no-audit", "--no-fund", "--ignore-scripts", "oidc-provider@9", "jose@6"];
            let mut npm = std::process::Command::new("npm");
            npm.args(options).arg("--prefix").arg(&folder);
            // The network may fail once.
            let installed = (0..3).any(|_| npm.status().is_ok_and(|status| status.success()));
            assert!(installed, "npm could not install oidc-provider");
        }
        folder
    };
    READY.get_or_init(install).clone()
}

/// A running provider; dies with this value.
struct Provider {
    child: Child,
    port: u16,
}

impl Provider {
    async fn start(port: u16, generation: &str) -> Self {
        let folder = folder();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/provider.mjs");
        let mut child = Command::new("node")
            .args([script, &folder, &port.to_string(), generation])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the provider ended");
                if let Some(port) = line.strip_prefix("ready ") {
                    return port.parse().unwrap();
                }
            }
        };
        let port =
            tokio::time::timeout(Duration::from_secs(60), listening).await.expect("the provider starts");
        Self { child, port }
    }

    async fn stop(mut self) -> u16 {
        self.child.kill().await.unwrap();
        self.port
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn endpoint(&self, path: &str) -> http::Uri {
        format!("{}{path}", self.issuer()).parse().unwrap()
    }

    fn tokens(&self, id: &str) -> tower_auth::client::ClientCredentialsBuilder<Http> {
        ClientCredentials::builder(self.endpoint("/token"), id, format!("{id}-secret"), client())
            .scope("read")
    }

    fn introspection(&self) -> Introspection {
        let uri = self.endpoint("/token/introspection");
        Introspection::builder(uri, "api", "api-secret", client()).keep_for(Duration::ZERO).build().unwrap()
    }
}

type Api = tower::util::BoxCloneSyncService<Request<Full<Bytes>>, Response<Option<String>>, Infallible>;

/// An API behind the layer; answers with the scopes of its caller.
fn api(layer: &AuthLayer) -> Api {
    let handler = service_fn(async |request: Request<Full<Bytes>>| {
        let verified = request.extensions().get::<Verified>().unwrap();
        let mut response = Response::new(Full::<Bytes>::default());
        let scopes: Vec<&str> = verified.scopes().collect();
        response.extensions_mut().insert(Arc::new(scopes.join(" ")));
        Ok::<_, Infallible>(response)
    });
    let service = layer.layer(handler);
    Api::new(service.map_response(|response: Response<_>| {
        let scopes = response.extensions().get::<Arc<String>>().map(|scopes| (**scopes).clone());
        response.map(|_| scopes)
    }))
}

fn get() -> Request<Full<Bytes>> {
    Request::get("http://api.example/stock?x=1").body(Full::default()).unwrap()
}

fn discovered(provider: &Provider) -> Authenticator {
    let issuer = Issuer::discover(provider.issuer(), client());
    Authenticator::builder().issuer(issuer).audience("api").build().unwrap()
}

async fn obtained(tokens: &ClientCredentials) -> String {
    let mut seen =
        BearerLayer::new(tokens.clone()).layer(service_fn(async |request: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::new(
                request.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned(),
            ))
        }));
    let token = seen.ready().await.unwrap().call(get()).await.unwrap().into_body();
    token.split_once(' ').unwrap().1.to_owned()
}

#[tokio::test]
async fn jwts_of_three_algorithms_by_discovery() {
    let provider = Provider::start(0, "one").await;
    let auth = discovered(&provider);
    for algorithm in ["rs256", "es256", "eddsa"] {
        let tokens = provider.tokens(algorithm).build().unwrap();
        let service = BearerLayer::new(tokens.clone()).layer(api(&AuthLayer::new(auth.clone())));
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(
            (response.status(), response.body().as_deref()),
            (StatusCode::OK, Some("read")),
            "{algorithm}"
        );
        let verified = auth.verify(&obtained(&tokens).await).await.unwrap();
        assert_eq!(verified.client_id(), Some(algorithm));
        // Another issuer's rules refuse the same token.
        let other =
            Authenticator::builder().issuer(Issuer::discover(provider.issuer(), client())).audience("other");
        let refused = other.build().unwrap().verify(verified.token()).await.unwrap_err();
        assert_eq!(refused, AuthError::InvalidToken(TokenFault::Audience));
    }
}

#[tokio::test]
async fn opaque_tokens_by_introspection() {
    let provider = Provider::start(0, "one").await;
    let auth = Authenticator::builder().introspect(provider.introspection()).audience("api").build().unwrap();
    let tokens = provider.tokens("opaque").build().unwrap();
    let response =
        BearerLayer::new(tokens.clone()).layer(api(&AuthLayer::new(auth.clone()))).oneshot(get()).await;
    let response = response.unwrap();
    assert_eq!((response.status(), response.body().as_deref()), (StatusCode::OK, Some("read")));
    let token = obtained(&tokens).await;
    assert_eq!(auth.verify(&token).await.unwrap().client_id(), Some("opaque"));
    let forged = auth.verify(&format!("{token}x")).await.unwrap_err();
    assert_eq!(forged, AuthError::InvalidToken(TokenFault::Inactive));
    // Revoked by its client (RFC 7009), and seen at once, because nothing is kept here.
    let revocation = Request::post(provider.endpoint("/token/revocation"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::AUTHORIZATION, "Basic b3BhcXVlOm9wYXF1ZS1zZWNyZXQ=")
        .body(Full::from(format!("token={token}")))
        .unwrap();
    assert_eq!(client().oneshot(revocation).await.unwrap().status(), StatusCode::OK);
    let revoked = auth.verify(&token).await.unwrap_err();
    assert_eq!(revoked, AuthError::InvalidToken(TokenFault::Inactive));
    // Gone: that says nothing about tokens.
    provider.stop().await;
    let error = auth.verify("another-token").await.unwrap_err();
    assert!(
        matches!(error, AuthError::IntrospectionUnavailable { .. }) && error.status() == 503,
        "{error:?}"
    );
}

#[tokio::test]
async fn tokens_bound_to_a_key() {
    let provider = Provider::start(0, "one").await;
    let key = DpopKey::generate().unwrap();
    let prover = DpopLayer::new(key.clone()).replay(UpTo(10_000));
    let endpoint = prover.layer(client());
    let tokens = ClientCredentials::builder(provider.endpoint("/token"), "bound", "bound-secret", endpoint);
    let tokens = tokens.scope("read").dpop().build().unwrap();
    let base = "http://api.example".parse().unwrap();
    let policy = DpopPolicy::builder(base).nonces(Duration::from_secs(60)).build().unwrap();
    let layer = AuthLayer::new(discovered(&provider)).dpop(policy);
    let service = BearerLayer::new(tokens.clone()).layer(prover.layer(api(&layer)));
    for _ in 0..3 {
        let response = service.clone().oneshot(get()).await.unwrap();
        assert_eq!((response.status(), response.body().as_deref()), (StatusCode::OK, Some("read")));
    }
    // The provider bound the token to our key; as a bearer token it is worth nothing.
    let token = obtained(&tokens).await;
    let mut bearer = get();
    bearer.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    let response = api(&layer).oneshot(bearer).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let error = response.extensions().get::<AuthError>().cloned();
    assert_eq!(error, Some(AuthError::InvalidToken(TokenFault::SenderConstrained)));
    // Neither is it with the proofs of another key.
    let thief = DpopLayer::new(DpopKey::generate().unwrap()).layer(api(&layer));
    let mut stolen = get();
    stolen.headers_mut().insert(header::AUTHORIZATION, format!("DPoP {token}").parse().unwrap());
    let response = thief.oneshot(stolen).await.unwrap();
    let error = response.extensions().get::<AuthError>().cloned();
    assert_eq!(error, Some(AuthError::InvalidToken(TokenFault::SenderConstrained)));
}

#[tokio::test]
async fn keys_rotate_by_a_restart() {
    let provider = Provider::start(0, "one").await;
    let auth = discovered(&provider);
    let old = obtained(&provider.tokens("es256").build().unwrap()).await;
    assert!(auth.verify(&old).await.is_ok());
    let provider = Provider::start(provider.stop().await, "two").await;
    let new = obtained(&provider.tokens("es256").build().unwrap()).await;
    // The unknown key is fetched within this very request; the removed one takes its tokens along.
    assert!(auth.verify(&new).await.is_ok());
    assert_eq!(auth.verify(&old).await.unwrap_err(), AuthError::InvalidToken(TokenFault::UnknownKey));
}

#[tokio::test]
async fn a_provider_that_is_down_and_comes_back() {
    // Below the ports that the system hands out: nothing takes it while the provider is away.
    let free = |port: &u32| std::net::TcpListener::bind(("127.0.0.1", *port as u16)).is_ok();
    let port = (12_000 + std::process::id() % 8_000..32_000).find(free).unwrap();
    let provider = Provider::start(port as u16, "one").await;
    let token = obtained(&provider.tokens("es256").build().unwrap()).await;
    let issuer = provider.issuer();
    let known = discovered(&provider);
    assert!(known.verify(&token).await.is_ok());
    let port = provider.stop().await;
    let remote = RemoteJwks::discover(issuer.clone(), client());
    let auth =
        Authenticator::builder().issuer(Issuer::remote(issuer, remote)).audience("api").build().unwrap();
    let call = async |auth: &Authenticator| {
        let mut request = get();
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        let response = api(&AuthLayer::new(auth.clone())).oneshot(request).await.unwrap();
        let wait = |headers: &HeaderMap| headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse::<u64>().ok();
        (response.status(), wait(response.headers()))
    };
    // Cold, without keys: 503 and when to come again. With keys the outage is not noticed.
    let (status, retry_after) = call(&auth).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{retry_after:?}");
    assert_eq!(call(&known).await.0, StatusCode::OK);
    let provider = Provider::start(port, "two").await;
    let token = obtained(&provider.tokens("es256").build().unwrap()).await;
    let recovered = async {
        while auth.verify(&token).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), recovered).await.expect("good again");
}

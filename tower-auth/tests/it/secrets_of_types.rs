//! Every public type that holds a secret, a token or a claim, shown by `Debug`; and what the client side and the extras
//! leave in logs and metrics.
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::{
    AccessToken, AuthMethod, BearerLayer, ClientCredentials, ForwardToken, InboundLayer, Replay, Replayable,
    StaticToken, TokenAnswer, TokenProvider, UpTo,
};
use tower_auth::keys::{Algorithm, ChainedKeys, KeySet};
use tower_auth::layer::source::{BearerHeader, Cookie, FirstOf, Found, Header, Query};
use tower_auth::layer::{Authorize, RequireClaims, RequireRoles};
use tower_auth::verify::{Backend, verify_jws};
use tower_auth::{
    AuthLayer, Authenticator, Issuer, MaybeVerified, RemoteJwks, RequireScopes, StaticKeys, Verified,
};

use crate::support::{CLAIMS, SECRET, clock, token};

const WORD: &str = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t";
/// A token that an issuer gave.
const GIVEN: &str = "g1v3n-t0k3n";

/// None of the secrets, in whatever spelling `Debug` might have for them.
fn assert_silent(shown: &str, what: &str) {
    let token = token(CLAIMS);
    let secret = String::from_utf8_lossy(SECRET).into_owned();
    let bytes = |text: &str| format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_owned();
    for text in token.split('.').chain([WORD, GIVEN, "alice", "read write", &secret]) {
        assert!(!shown.contains(text), "{what} shows {text}: {shown}");
        assert!(!shown.contains(&bytes(text)), "{what} shows the bytes of {text}: {shown}");
    }
    use base64::Engine;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("orders:{WORD}"));
    assert!(!shown.contains(&basic), "{what} shows credentials: {shown}");
}

type Http = tower::util::BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, Infallible>;

fn answers(status: u16, text: &'static str) -> Http {
    Http::new(service_fn(move |_: Request<Full<Bytes>>| {
        let response = Response::builder().status(status).body(Full::from(text)).unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    }))
}

fn keys() -> StaticKeys {
    StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap()
}

fn builder() -> tower_auth::AuthenticatorBuilder<
    tower_auth::Claims,
    tower_auth::authenticator::state::Set,
    tower_auth::authenticator::state::Set,
> {
    Authenticator::builder()
        .issuer(Issuer::new("https://issuer.example", keys()))
        .audience("api")
        .wall_clock(clock)
}

#[tokio::test]
async fn on_the_server() {
    let text = token(CLAIMS);
    let auth = builder().build().unwrap();
    let verified = auth.verify(&text).await.unwrap();
    let jws = verify_jws(&text, keys().set(), Backend::default()).unwrap();
    assert_silent(&format!("{jws:?} {:#?}", (&verified, MaybeVerified(Some(verified.clone())))), "a token");
    let jwk = format!(r#"{{"keys":[{{"kty":"oct","k":"{}"}}]}}"#, {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(SECRET)
    });
    let set = KeySet::from_jwks(jwk.as_bytes()).unwrap();
    let wrong = StaticKeys::hmac(Algorithm::Hs512, SECRET).unwrap_err();
    assert_silent(&format!("{set:#?} {:?} {wrong:?} {wrong}", ChainedKeys::new(keys())), "keys");
    let revoked = builder().revoked(|facts| {
        assert_silent(&format!("{facts:?}"), "facts");
        false
    });
    assert_silent(&format!("{revoked:?} {auth:?}"), "an authenticator");
    assert!(revoked.build().unwrap().verify(&text).await.is_ok());
    let source = FirstOf::new(BearerHeader).or(Cookie::new("a")).or(Query::danger_access_token());
    let found = (Found::new(&text), Found::in_uri(&text));
    assert_silent(&format!("{source:?} {found:?} {:?}", Header::new(http::header::COOKIE)), "a source");
    let rules = (
        RequireScopes::any(["a"]).unwrap(),
        RequireRoles::any(["a"]).unwrap(),
        RequireClaims::<tower_auth::Claims>::new(|_, _| true),
        Authorize::new(|_: Verified, _: &http::request::Parts| std::future::ready(Ok(()))),
    );
    assert_silent(&format!("{rules:?}"), "a rule");
    let inner = service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let layer = AuthLayer::new(auth);
    let request =
        Request::get("/").header("authorization", format!("Bearer {text}")).body(Empty::<Bytes>::new());
    let future = tower::Service::call(&mut layer.layer(inner), request.unwrap());
    assert_silent(&format!("{future:?}"), "a future");
    for changed in [format!("{text}x"), "x".into(), text.replace('.', ",")] {
        let error = layer_error(&layer, &changed).await;
        assert_silent(&error, "a refusal");
    }
    let remote = RemoteJwks::new("https://issuer.example/".parse().unwrap(), answers(200, "{}"));
    assert_silent(&format!("{remote:?}"), "fetched keys");
}

async fn layer_error(layer: &AuthLayer, token: &str) -> String {
    let inner = service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let request =
        Request::get("/").header("authorization", format!("Bearer {token}")).body(Empty::<Bytes>::new());
    let response = layer.layer(inner).oneshot(request.unwrap()).await.unwrap();
    let error = response.extensions().get::<tower_auth::AuthError>().unwrap();
    format!("{response:?} {error:?} {error}")
}

#[tokio::test(start_paused = true)]
async fn on_a_client() {
    let good = r#"{"access_token":"g1v3n-t0k3n","token_type":"Bearer"}"#;
    let uri = || "https://issuer.example/token".parse().unwrap();
    for method in [AuthMethod::Basic, AuthMethod::Post] {
        let builder =
            ClientCredentials::builder(uri(), "orders", WORD, answers(200, good)).auth_method(method);
        assert_silent(&format!("{builder:#?}"), "a builder");
        let provider = builder.build().unwrap();
        let api = service_fn(async |request: Request<Full<Bytes>>| {
            // The field is marked, so that loggers of requests leave it out.
            assert_eq!(request.headers()["authorization"], format!("Bearer {GIVEN}"));
            assert_silent(&format!("{request:?}"), "a request");
            Ok::<_, Infallible>(Response::new(()))
        });
        let layer = BearerLayer::new(provider.clone()).replay(UpTo(10));
        let mut service = layer.layer(api);
        let future = tower::Service::call(&mut service, Request::new(Full::<Bytes>::default()));
        assert_silent(&format!("{layer:?} {future:?} {provider:?}"), "a client");
        future.await.unwrap();
        let (parts, ()) = Request::new(()).into_parts();
        let answer = provider.token(&parts);
        assert_silent(&format!("{answer:?} {provider:?}"), "a provider");
        let TokenAnswer::Ready(Ok(token)) = answer else { panic!("it is there") };
        assert_silent(&format!("{token:?} {:?}", token.header()), "a token");
    }
    let fixed = StaticToken::new(WORD).unwrap();
    let wrong = StaticToken::new(&format!("{WORD} {GIVEN}")).unwrap_err();
    assert_silent(&format!("{fixed:?} {wrong:?} {wrong} {:?}", AccessToken::new(WORD)), "a fixed token");
    let body = Full::<Bytes>::from(WORD);
    let (parts, ()) = Request::new(()).into_parts();
    let replayable: Replayable<Full<Bytes>> = UpTo(100).copy(&parts, body);
    assert_silent(&format!("{replayable:?}"), "a body");
    let forward = ForwardToken::to_hosts(["a.example"]).unwrap();
    assert_silent(&format!("{forward:?} {:?}", InboundLayer::new().layer(())), "a forwarder");
    // Failures say nothing of what was sent or came.
    for (status, text) in [(401, WORD), (200, WORD), (200, r#"{"access_token":"g1v3n-t0k3n"}"#)] {
        let provider =
            ClientCredentials::builder(uri(), "orders", WORD, answers(status, text)).build().unwrap();
        let api = service_fn(async |_: Request<Full<Bytes>>| Ok::<_, Infallible>(Response::new(())));
        let error = BearerLayer::new(provider).layer(api).oneshot(Request::new(Full::default())).await;
        let error = error.unwrap_err();
        assert_silent(&format!("{error:?} {error} {}", error.clone().into_box()), "an error");
    }
}

#[cfg(all(feature = "introspection", feature = "dpop"))]
#[tokio::test(start_paused = true)]
async fn of_the_extras() {
    use tower_auth::dpop::{DpopKey, DpopLayer, DpopPolicy, MemoryReplayStore};
    use tower_auth::introspection::Introspection;

    let uri = "https://issuer.example/introspect".parse().unwrap();
    let active = r#"{"active":true,"sub":"alice","scope":"read write","aud":"api","exp":1800000300}"#;
    let asking = Introspection::builder(uri, "orders", WORD, answers(200, active));
    let shown = format!("{asking:#?}");
    let introspection = asking.build().unwrap();
    let auth = Authenticator::builder().introspect(introspection.clone()).audience("api").wall_clock(clock);
    let auth = auth.build().unwrap();
    let verified = auth.verify(GIVEN).await.unwrap();
    assert_eq!(verified.subject(), Some("alice"));
    assert_silent(&format!("{shown} {introspection:?} {auth:?} {verified:?}"), "introspection");

    let pem = include_str!("keys/p256.pem");
    let key = DpopKey::from_pem(pem.as_bytes()).unwrap();
    let policy = DpopPolicy::builder("https://api.example".parse().unwrap());
    let shown = format!("{policy:?} {:?} {:?}", policy_built(), MemoryReplayStore::new(2));
    let layer = DpopLayer::new(key.clone());
    let service = layer.layer(());
    let all = format!("{shown} {key:#?} {layer:#?} {service:#?}");
    assert_silent(&all, "a proof");
    for line in pem.lines().filter(|line| !line.starts_with('-')) {
        assert!(!all.contains(line), "{all}");
    }
    let wrong = DpopKey::from_pem(&pem.as_bytes()[..pem.len() / 2]).unwrap_err();
    assert!(!format!("{wrong:?} {wrong}").contains(&pem[30..60]));

    fn policy_built() -> DpopPolicy {
        DpopPolicy::builder("https://api.example".parse().unwrap()).build().unwrap()
    }
}

/// What runs when tokens are obtained, rejected, forwarded and asked about, well and not.
#[cfg(all(feature = "introspection", feature = "metrics"))]
async fn everything() {
    use tower_auth::introspection::Introspection;

    let uri = |path: &str| format!("https://issuer.example/{path}").parse().unwrap();
    let good = r#"{"access_token":"g1v3n-t0k3n","token_type":"Bearer"}"#;
    for (status, text) in [(200, good), (401, WORD), (200, WORD)] {
        let provider =
            ClientCredentials::builder(uri("token"), "orders", WORD, answers(status, text)).build().unwrap();
        let api = service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::builder().status(401).body(()).unwrap())
        });
        let client = BearerLayer::new(provider).layer(api);
        for _ in 0..2 {
            let _ = client.clone().oneshot(Request::new(Full::default())).await;
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        }
    }
    let active = r#"{"active":true,"sub":"alice","scope":"read write","aud":"api","exp":1800000300}"#;
    for (status, text) in [(200, active), (200, WORD), (500, WORD)] {
        let asking = Introspection::builder(uri("introspect"), "orders", WORD, answers(status, text));
        let auth =
            Authenticator::builder().introspect(asking.build().unwrap()).audience("api").wall_clock(clock);
        let layer = AuthLayer::new(auth.build().unwrap());
        let inner = service_fn(async |_: Request<Empty<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let request = Request::get("/").header("authorization", format!("Bearer {GIVEN}"));
        let answer = layer.layer(inner).oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status() == 200, text == active);
    }
}

#[cfg(all(feature = "introspection", feature = "metrics"))]
#[tokio::test(start_paused = true)]
async fn in_metrics() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    everything().await;
    let metrics = format!("{:?}", snapshotter.snapshot().into_vec());
    for name in ["tower_auth_token_requests_total", "tower_auth_introspections_total", "failed", "ok"] {
        assert!(metrics.contains(name), "{name}");
    }
    assert_silent(&metrics, "metrics");
}

#[cfg(all(feature = "introspection", feature = "metrics", feature = "tracing"))]
#[tokio::test(start_paused = true)]
async fn in_logs() {
    let log = crate::support::logged(everything()).await;
    assert!(
        log.contains("did not give a usable answer") && log.contains("introspection-unavailable"),
        "{log}"
    );
    assert_silent(&log, "the log");
}

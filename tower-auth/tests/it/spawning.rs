//! `spawn_with` may be anything: what drops the task at once, as runtimes that are going down do, and what runs it at once.
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::{BearerLayer, ClientCredentials};
use tower_auth::{AuthError, Authenticator, Issuer, RemoteJwks};

use crate::support::{CLAIMS, ED_X, clock, ed25519};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What it is called, what it does, and whether anything comes of that.
type Spawn = (&'static str, fn(Task), bool);

const SPAWNS: [Spawn; 2] = [
    ("dropped at once", drop, false),
    ("run at once", |task| assert!(task.now_or_never().is_some(), "nothing in it waits"), true),
];

/// Runs a test on a thread of its own, so that a lock that is held twice is a failure and not a hang.
fn in_time<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(test());
        let _ = sender.send(());
    });
    receiver.recv_timeout(Duration::from_secs(60)).expect("it ends, and well");
}

#[test]
fn of_keys() {
    in_time(|| async {
        for (name, spawn, good) in SPAWNS {
            let service = service_fn(async |_: Request<Empty<Bytes>>| {
                let keys =
                    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"one","x":"{ED_X}"}}]}}"#);
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(keys)))
            });
            let remote =
                RemoteJwks::new("https://issuer.example/jwks".parse().unwrap(), service).spawn_with(spawn);
            let issuer = Issuer::remote("https://issuer.example", remote);
            let auth =
                Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap();
            for _ in 0..3 {
                let verified = auth.verify(&ed25519("one", CLAIMS)).await;
                assert_eq!(verified.is_ok(), good, "{name}: {verified:?}");
                assert_eq!(matches!(verified, Err(AuthError::KeysUnavailable { .. })), !good, "{name}");
            }
        }
    });
}

#[test]
fn of_token_requests() {
    in_time(|| async {
        for (name, spawn, good) in SPAWNS {
            let issuer = service_fn(async |_: Request<Full<Bytes>>| {
                let json = r#"{"access_token":"abc","token_type":"Bearer"}"#;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(json)))
            });
            let uri = "https://issuer.example/token".parse().unwrap();
            let provider =
                ClientCredentials::builder(uri, "a", "b", issuer).spawn_with(spawn).build().unwrap();
            let api = service_fn(async |_: Request<Empty<Bytes>>| Ok::<_, Infallible>(Response::new(())));
            for _ in 0..3 {
                let sent =
                    BearerLayer::new(provider.clone()).layer(api).oneshot(Request::new(Empty::new())).await;
                assert_eq!(sent.is_ok(), good, "{name}: {sent:?}");
            }
        }
    });
}

#[cfg(feature = "introspection")]
#[test]
fn of_questions() {
    use tower_auth::introspection::Introspection;
    in_time(|| async {
        for (name, spawn, good) in SPAWNS {
            let endpoint = service_fn(async |_: Request<Full<Bytes>>| {
                let json = r#"{"active":true,"aud":"api","exp":1800000300}"#;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(json)))
            });
            let uri = "https://issuer.example/introspect".parse().unwrap();
            let asking = Introspection::builder(uri, "a", "b", endpoint).spawn_with(spawn).build().unwrap();
            let auth = Authenticator::builder().introspect(asking).audience("api").wall_clock(clock);
            let auth = auth.build().unwrap();
            for _ in 0..3 {
                let verified = auth.verify("opaque").await;
                assert_eq!(verified.is_ok(), good, "{name}: {verified:?}");
                let unavailable = matches!(verified, Err(AuthError::IntrospectionUnavailable { .. }));
                assert_eq!(unavailable, !good, "{name}");
            }
        }
    });
}

/// What panics while it fetches has failed: it is not asked again before a pause.
#[tokio::test(start_paused = true)]
async fn panics_are_failures() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    let calls = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&calls);
    let keys = service_fn(move |_: Request<Empty<Bytes>>| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { panic!("as told") as Result<Response<Full<Bytes>>, Infallible> }
    });
    let remote = RemoteJwks::new("https://issuer.example/jwks".parse().unwrap(), keys);
    let issuer = Issuer::remote("https://issuer.example", remote);
    let auth = Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap();
    for _ in 0..10 {
        let refused = auth.verify(&ed25519("one", CLAIMS)).await;
        assert!(matches!(refused, Err(AuthError::KeysUnavailable { .. })), "{refused:?}");
    }
    assert_eq!(calls.swap(0, Ordering::Relaxed), 1);

    let counter = Arc::clone(&calls);
    let issuer = service_fn(move |_: Request<Full<Bytes>>| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { panic!("as told") as Result<Response<Full<Bytes>>, Infallible> }
    });
    let uri = "https://issuer.example/token".parse().unwrap();
    let provider = ClientCredentials::builder(uri, "a", "b", issuer).build().unwrap();
    let api = service_fn(async |_: Request<Empty<Bytes>>| Ok::<_, Infallible>(Response::new(())));
    for _ in 0..10 {
        let client = BearerLayer::new(provider.clone()).layer(api);
        assert!(client.oneshot(Request::new(Empty::new())).await.is_err());
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

//! Whoever starts a fetch may leave at any moment: after each poll, the others get what was fetched, by one fetch.
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::{BearerLayer, ClientCredentials};
use tower_auth::{Authenticator, Issuer, RemoteJwks};

use crate::support::{CLAIMS, ED_X, clock, ed25519};

/// How often the fetches below must be polled to the end, and some more.
const POLLS: usize = 12;

/// A fetch of several steps, each of which is a poll.
async fn steps() {
    for _ in 0..POLLS - 4 {
        tokio::task::yield_now().await;
    }
}

/// Polls the leader so often, then drops it. The runtime's own tasks go on between the polls.
async fn leave_after<F: Future>(polls: usize, leader: F) -> bool {
    let mut leader = pin!(leader);
    for _ in 0..polls {
        if leader.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn the_leader_of_a_fetch_of_keys_leaves_after_any_poll() {
    let mut finished = 0;
    for polls in 0..POLLS {
        let fetches = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&fetches);
        let service = service_fn(move |_: Request<Empty<Bytes>>| {
            counter.fetch_add(1, Ordering::Relaxed);
            async {
                steps().await;
                let keys =
                    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"one","x":"{ED_X}"}}]}}"#);
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(keys)))
            }
        });
        let remote = RemoteJwks::new("https://issuer.example/jwks".parse().unwrap(), service);
        let issuer = Issuer::remote("https://issuer.example", remote);
        let auth = Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap();
        let token = ed25519("one", CLAIMS);
        finished += usize::from(leave_after(polls, auth.verify(&token)).await);
        let followers = futures_util::future::join_all((0..20).map(|_| auth.verify(&token))).await;
        assert!(followers.iter().all(Result::is_ok), "after {polls} polls: {followers:?}");
        assert_eq!(fetches.load(Ordering::Relaxed), 1, "after {polls} polls");
    }
    assert!(
        finished > 0 && finished < POLLS / 2,
        "the polls go up to the end and not far beyond: {finished}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_leader_of_a_token_request_leaves_after_any_poll() {
    let mut finished = 0;
    for polls in 0..POLLS {
        let requests = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&requests);
        let issuer = service_fn(move |_: Request<Full<Bytes>>| {
            counter.fetch_add(1, Ordering::Relaxed);
            async {
                steps().await;
                let json = r#"{"access_token":"abc","token_type":"Bearer","expires_in":600}"#;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(json)))
            }
        });
        let url = "https://issuer.example/token".parse().unwrap();
        let provider = ClientCredentials::builder(url, "orders", "secret", issuer).build().unwrap();
        let api = service_fn(async |request: Request<Empty<Bytes>>| {
            Ok::<_, Infallible>(Response::new(request.headers()["authorization"].clone()))
        });
        let client = BearerLayer::new(provider).layer(api);
        let call = || client.clone().oneshot(Request::new(Empty::new()));
        finished += usize::from(leave_after(polls, call()).await);
        let followers = futures_util::future::join_all((0..20).map(|_| call())).await;
        for follower in followers {
            assert_eq!(follower.unwrap().into_body(), "Bearer abc", "after {polls} polls");
        }
        assert_eq!(requests.load(Ordering::Relaxed), 1, "after {polls} polls");
    }
    assert!(
        finished > 0 && finished < POLLS / 2,
        "the polls go up to the end and not far beyond: {finished}"
    );
}

#[cfg(feature = "introspection")]
#[tokio::test(start_paused = true)]
async fn the_leader_of_a_question_leaves_after_any_poll() {
    use tower_auth::introspection::Introspection;
    for polls in 0..POLLS {
        let questions = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&questions);
        let endpoint = service_fn(move |request: Request<Full<Bytes>>| {
            counter.fetch_add(1, Ordering::Relaxed);
            async {
                let _ = http_body_util::BodyExt::collect(request.into_body()).await;
                steps().await;
                let json = r#"{"active":true,"aud":"api","sub":"alice","exp":1800000300}"#;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(json)))
            }
        });
        let url = "https://issuer.example/introspect".parse().unwrap();
        let introspection = Introspection::builder(url, "api", "secret", endpoint).build().unwrap();
        let auth = Authenticator::builder().introspect(introspection).audience("api").wall_clock(clock);
        let auth = auth.build().unwrap();
        leave_after(polls, auth.verify("opaque")).await;
        let followers = futures_util::future::join_all((0..20).map(|_| auth.verify("opaque"))).await;
        assert!(followers.iter().all(Result::is_ok), "after {polls} polls");
        assert_eq!(questions.load(Ordering::Relaxed), 1, "after {polls} polls");
    }
}

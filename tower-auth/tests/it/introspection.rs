//! Opaque tokens: asked about once, kept for a while, judged at each use.
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::AuthMethod;
use tower_auth::introspection::{Introspection, IntrospectionBuilder};
use tower_auth::keys::Algorithm;
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, StaticKeys, TokenFault, Verified};

use crate::support::{CLAIMS, SECRET, clock, token};

type Http = tower::util::BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, Infallible>;

/// [`CLAIMS`] as an endpoint answers.
const ACTIVE: &str = r#"{"active":true,"iss":"https://issuer.example","aud":"api","sub":"alice","exp":1800000300,"iat":1800000000,"scope":"read write"}"#;

#[derive(Default)]
struct World {
    answer: String,
    down: bool,
    forms: Vec<(Option<String>, String)>,
}

type Shared = Arc<Mutex<World>>;

fn setup() -> (Shared, IntrospectionBuilder<Http>) {
    let world = Shared::default();
    world.lock().unwrap().answer = ACTIVE.to_owned();
    let shared = Arc::clone(&world);
    let service = Http::new(service_fn(move |request: Request<Full<Bytes>>| {
        let shared = Arc::clone(&shared);
        async move {
            let id = request.headers().get(header::AUTHORIZATION).map(|id| id.to_str().unwrap().to_owned());
            let form = request.into_body().collect().await.unwrap().to_bytes();
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut world = shared.lock().unwrap();
            world.forms.push((id, String::from_utf8(form.to_vec()).unwrap()));
            let mut response = Response::new(Full::from(world.answer.clone()));
            if world.down {
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
            Ok(response)
        }
    }));
    let uri = "https://issuer.example/introspect".parse().unwrap();
    (world, Introspection::builder(uri, "api", "s3cr3t", service))
}

fn authenticator(introspection: Introspection) -> Authenticator {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let builder = Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys));
    builder.introspect(introspection).audience("api").wall_clock(clock).build().unwrap()
}

fn asked(world: &Shared) -> usize {
    world.lock().unwrap().forms.len()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_with_one_token_are_one_question_and_the_leader_may_leave() {
    let (world, builder) = setup();
    let auth = authenticator(builder.build().unwrap());
    let leader = tokio::spawn({
        let auth = auth.clone();
        async move { auth.verify("opaque").await }
    });
    tokio::task::yield_now().await;
    leader.abort();
    let calls = (0..1_000).map(|_| auth.verify("opaque"));
    let results = futures_util::future::join_all(calls).await;
    assert!(results.iter().all(|result| result.as_ref().is_ok_and(|verified| verified.has_scope("read"))));
    assert_eq!(asked(&world), 1);
    // Kept for 30 seconds, which is how long a revoked token may live on.
    world.lock().unwrap().answer = r#"{"active":false}"#.to_owned();
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(auth.verify("opaque").await.is_ok());
    tokio::time::advance(Duration::from_secs(1)).await;
    let refused = auth.verify("opaque").await.unwrap_err();
    assert_eq!(refused, AuthError::InvalidToken(TokenFault::Inactive));
    assert_eq!((asked(&world), refused.status()), (2, StatusCode::UNAUTHORIZED));
    let form =
        (Some("Basic YXBpOnMzY3IzdA==".to_owned()), "token=opaque&token_type_hint=access_token".to_owned());
    assert_eq!(world.lock().unwrap().forms[0], form);
}

#[tokio::test(start_paused = true)]
async fn one_change_to_an_accepted_answer_is_refused() {
    let verify = async |answer: &str| {
        let (world, builder) = setup();
        world.lock().unwrap().answer = answer.to_owned();
        authenticator(builder.build().unwrap()).verify("opaque").await
    };
    assert_eq!(verify(ACTIVE).await.unwrap().subject(), Some("alice"));
    for (from, to, fault) in [
        ("true", "false", TokenFault::Inactive),
        ("1800000300", "1799999940", TokenFault::Expired),
        ("\"api\"", "\"other\"", TokenFault::Audience),
        ("\"aud\":\"api\",", "", TokenFault::Missing("aud")),
        ("https://issuer.example", "https://evil.example", TokenFault::Issuer),
        ("\"iat\":1800000000", "\"nbf\":1800000061", TokenFault::NotYetValid),
        ("\"sub\"", "\"cnf\":{\"jkt\":\"x\"},\"sub\"", TokenFault::SenderConstrained),
    ] {
        let bad = ACTIVE.replace(from, to);
        assert_ne!(bad, ACTIVE);
        assert_eq!(verify(&bad).await.unwrap_err(), AuthError::InvalidToken(fault), "{bad}");
    }
    // What is no answer says nothing about the token.
    for (from, to) in [("true", "\"true\""), ("1800000300", "\"x\""), ("\"active\":true,", ""), ("}", "")] {
        let error = verify(&ACTIVE.replace(from, to)).await.unwrap_err();
        assert!(matches!(error, AuthError::IntrospectionUnavailable { .. }), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn jwts_are_verified_here_unless_configured_otherwise() {
    let (world, builder) = setup();
    let auth = authenticator(builder.build().unwrap());
    assert!(auth.verify(&token(CLAIMS)).await.is_ok());
    let forged = auth.verify(&format!("{}A", token(CLAIMS))).await.unwrap_err();
    assert!(matches!(forged, AuthError::InvalidToken(_)));
    assert_eq!(asked(&world), 0);
    let (world, builder) = setup();
    let auth = authenticator(builder.also_jwts().auth_method(AuthMethod::Post).build().unwrap());
    assert!(auth.verify(&token(CLAIMS)).await.is_ok());
    let (id, form) = world.lock().unwrap().forms.remove(0);
    assert!(id.is_none() && form.ends_with("&client_id=api&client_secret=s3cr3t"), "{form}");
}

#[tokio::test(start_paused = true)]
async fn trouble_is_503_and_memory_is_bounded() {
    let (world, builder) = setup();
    world.lock().unwrap().down = true;
    let introspection = builder.max_tokens(100).max_in_flight(10).build().unwrap();
    let auth = authenticator(introspection.clone());
    let handler = service_fn(async |request: Request<Empty<Bytes>>| {
        let subject = request.extensions().get::<Verified>().and_then(Verified::subject).map(str::to_owned);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(subject.unwrap_or_default())))
    });
    let service = AuthLayer::new(auth.clone()).layer(handler);
    let request =
        || Request::get("/").header(header::AUTHORIZATION, "Bearer opaque").body(Empty::new()).unwrap();
    let response = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
    // Not asked again within the pause, and good soon after.
    assert_eq!(service.clone().oneshot(request()).await.unwrap().status(), 503);
    assert_eq!(asked(&world), 1);
    world.lock().unwrap().down = false;
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(service.oneshot(request()).await.unwrap().status(), StatusCode::OK);
    // Ten at a time; the others are told to come again.
    let tokens: Vec<String> = (0..50).map(|number| format!("token{number}")).collect();
    let results = futures_util::future::join_all(tokens.iter().map(|token| auth.verify(token))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10);
    let busy = |error: &AuthError| matches!(error, AuthError::IntrospectionUnavailable { .. });
    assert!(results.iter().filter_map(|result| result.as_ref().err()).all(busy));
    // Two hundred tokens later the first one has been forgotten.
    for number in 0..200 {
        assert!(auth.verify(&format!("other{number}")).await.is_ok());
    }
    let before = asked(&world);
    assert!(auth.verify("other199").await.is_ok());
    assert_eq!(asked(&world), before);
    assert!(auth.verify("other0").await.is_ok());
    assert_eq!(asked(&world), before + 1);
    assert!(!format!("{introspection:?} {auth:?}").contains("s3cr3t"));
}

/// Scopes and roles are found where the configuration says, in answers as in JWTs.
#[tokio::test(start_paused = true)]
async fn scopes_and_roles_at_custom_places() {
    let (world, builder) = setup();
    world.lock().unwrap().answer =
        ACTIVE.replace("\"sub\"", r#""realm":{"roles":["clerk"]},"permissions":["stock"],"sub""#);
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let auth = Authenticator::builder()
        .issuer(Issuer::new("https://issuer.example", keys))
        .introspect(builder.build().unwrap())
        .audience("api")
        .roles_at("/realm/roles")
        .scopes_at("/permissions")
        .wall_clock(clock)
        .build()
        .unwrap();
    let verified = auth.verify("opaque").await.unwrap();
    assert!(verified.has_role("clerk") && verified.has_scope("stock") && verified.has_scope("read"));
    // Of the wrong type they are no less wrong than in a JWT.
    world.lock().unwrap().answer = ACTIVE.replace("\"sub\"", r#""realm":{"roles":7},"sub""#);
    let refused = auth.verify("other").await.unwrap_err();
    assert_eq!(refused, AuthError::InvalidToken(TokenFault::Claim("roles")));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_and_for_how_long() {
    let (world, builder) = setup();
    let auth = authenticator(builder.keep_for(Duration::from_secs(600)).build().unwrap());
    // No longer than five seconds that a token is not active.
    world.lock().unwrap().answer = r#"{"active":false}"#.to_owned();
    assert!(auth.verify("late").await.is_err());
    world.lock().unwrap().answer = ACTIVE.to_owned();
    tokio::time::advance(Duration::from_millis(4_999)).await;
    assert_eq!(auth.verify("late").await.unwrap_err(), TokenFault::Inactive.into());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(auth.verify("late").await.is_ok());
    assert_eq!(asked(&world), 2);
    // Zero asks each time, and whoever waited gets the answer all the same.
    let (world, builder) = setup();
    let auth = authenticator(builder.keep_for(Duration::ZERO).build().unwrap());
    for number in 1..=3 {
        assert!(auth.verify("opaque").await.is_ok());
        assert_eq!(asked(&world), number);
    }
    // Without `exp` a token lives as long as the answer.
    let (world, builder) = setup();
    world.lock().unwrap().answer = ACTIVE.replace("\"exp\":1800000300,", "");
    let auth = authenticator(builder.build().unwrap());
    let verified = auth.verify("opaque").await.unwrap();
    assert_eq!(verified.expires_at(), clock() + Duration::from_secs(30));
}

/// A status besides 200 is no answer, whatever its body says; neither is one that is too long or too late.
#[tokio::test(start_paused = true)]
async fn answers_that_are_none() {
    let ask = async |status: u16, takes: u64, length: usize| {
        let service = Http::new(service_fn(move |_: Request<Full<Bytes>>| async move {
            tokio::time::sleep(Duration::from_millis(takes)).await;
            let text = format!("{ACTIVE}{}", " ".repeat(length - ACTIVE.len()));
            Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
        }));
        let uri = "https://issuer.example/introspect".parse().unwrap();
        let introspection = Introspection::builder(uri, "api", "secret", service).build().unwrap();
        authenticator(introspection).verify("opaque").await
    };
    assert!(ask(200, 4_999, 64 * 1024).await.is_ok());
    for (status, takes, length) in [
        (201, 0, 300),
        (302, 0, 300),
        (401, 0, 300),
        (500, 0, 300),
        (200, 5_001, 300),
        (200, 0, 64 * 1024 + 1),
    ] {
        let refused = ask(status, takes, length).await.unwrap_err();
        let expected = AuthError::IntrospectionUnavailable { retry_after: Duration::from_secs(1) };
        assert_eq!(refused, expected, "{status} {takes} {length}");
    }
}

#[test]
fn settings_that_cannot_work() {
    let field = |change: fn(IntrospectionBuilder<Http>) -> IntrospectionBuilder<Http>| {
        change(setup().1).build().map(drop).map_err(|error| error.field().to_owned())
    };
    assert_eq!(field(|builder| builder), Ok(()));
    assert_eq!(field(|builder| builder.keep_for(Duration::from_secs(86_400))), Ok(()));
    assert_eq!(field(|builder| builder.keep_for(Duration::MAX)), Err("keep_for".into()));
    assert_eq!(field(|builder| builder.fetch_timeout(Duration::ZERO)), Err("fetch_timeout".into()));
    assert_eq!(field(|builder| builder.max_body(0)), Err("max_body".into()));
    assert_eq!(field(|builder| builder.max_tokens(0)), Err("max_tokens".into()));
    assert_eq!(field(|builder| builder.max_in_flight(0)), Err("max_in_flight".into()));
    assert_eq!(field(|builder| builder.max_tokens(10).max_in_flight(11)), Err("max_in_flight".into()));
}

/// Whoever comes late for an answer that is not kept finds it, although others ask again by then.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_kept_waits_for_those_who_asked() {
    let (world, builder) = setup();
    let auth = authenticator(builder.keep_for(Duration::ZERO).build().unwrap());
    let mut late = std::pin::pin!(auth.verify("opaque"));
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    assert!(late.as_mut().poll(context).is_pending());
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut next = std::pin::pin!(auth.verify("opaque"));
    assert!(next.as_mut().poll(context).is_pending());
    assert!(late.await.is_ok());
    world.lock().unwrap().answer = r#"{"active":false}"#.to_owned();
    assert_eq!(next.await.unwrap_err(), TokenFault::Inactive.into());
    assert_eq!(asked(&world), 2);
}

/// Without `exp` an answer that is not kept is good for its one use, however exact the clocks are said to be.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_kept_is_good_once() {
    let (world, builder) = setup();
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let auth = Authenticator::builder()
        .issuer(Issuer::new("https://issuer.example", keys))
        .introspect(builder.keep_for(Duration::ZERO).build().unwrap())
        .audience("api")
        .leeway(Duration::ZERO)
        .wall_clock(clock)
        .build()
        .unwrap();
    assert!(auth.verify("opaque").await.is_ok());
    world.lock().unwrap().answer = ACTIVE.replace("\"exp\":1800000300,", "");
    assert!(auth.verify("opaque").await.is_ok());
    world.lock().unwrap().answer = ACTIVE.replace("1800000300", "1800000000");
    assert_eq!(auth.verify("opaque").await.unwrap_err(), TokenFault::Expired.into());
}

/// A service that panics when it is made ready for a question costs that question and no other.
#[tokio::test(start_paused = true)]
async fn a_service_that_panics_when_cloned_leaves_nothing_behind() {
    struct Brittle(Arc<Mutex<u32>>);
    impl Clone for Brittle {
        fn clone(&self) -> Self {
            let left = std::mem::replace(&mut *self.0.lock().unwrap(), 0);
            if left > 0 {
                *self.0.lock().unwrap() = left - 1;
                std::panic::resume_unwind(Box::new("brittle"));
            }
            Self(Arc::clone(&self.0))
        }
    }
    impl tower::Service<Request<Full<Bytes>>> for Brittle {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
            std::future::ready(Ok(Response::new(Full::from(ACTIVE))))
        }
    }
    let uri = "https://issuer.example/introspect".parse().unwrap();
    let panics = Arc::new(Mutex::new(0));
    let builder = Introspection::builder(uri, "api", "secret", Brittle(Arc::clone(&panics)));
    let auth = authenticator(builder.max_in_flight(1).build().unwrap());
    assert!(auth.verify("first").await.is_ok());
    *panics.lock().unwrap() = 2;
    for _ in 0..2 {
        let asked = std::panic::AssertUnwindSafe(auth.verify("opaque"));
        assert!(futures_util::FutureExt::catch_unwind(asked).await.is_err());
        let refused = auth.verify("opaque").await.unwrap_err();
        assert!(matches!(refused, AuthError::IntrospectionUnavailable { .. }), "{refused:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(auth.verify("opaque").await.is_ok());
}

/// Long tokens that mean nothing drive each other out before they fill the memory.
#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded_by_bytes_too() {
    let (world, builder) = setup();
    let auth = authenticator(builder.max_tokens(100).max_in_flight(1).build().unwrap());
    for (length, remembered) in [(1_000, true), (10_000, false)] {
        let name = |number: usize| format!("{number:0length$}");
        for number in 0..100 {
            assert!(auth.verify(&name(number)).await.is_ok());
        }
        let before = asked(&world);
        assert!(auth.verify(&name(99)).await.is_ok());
        assert_eq!(asked(&world), before);
        assert!(auth.verify(&name(0)).await.is_ok());
        assert_eq!(asked(&world) == before, remembered, "{length}");
    }
}

/// Where no issuer has keys, asking is the only way to find out about any token.
#[tokio::test(start_paused = true)]
async fn without_keys_jwts_are_asked_about_too() {
    let (world, builder) = setup();
    let auth =
        Authenticator::builder().introspect(builder.build().unwrap()).audience("api").wall_clock(clock);
    let auth: Authenticator = auth.build().unwrap();
    assert!(auth.verify("opaque").await.is_ok());
    assert!(auth.verify(&token(CLAIMS)).await.is_ok());
    assert_eq!(asked(&world), 2);
    world.lock().unwrap().answer = r#"{"active":false}"#.to_owned();
    let forged = auth.verify(&format!("{}A", token(CLAIMS))).await.unwrap_err();
    assert_eq!((forged, asked(&world)), (TokenFault::Inactive.into(), 3));
}

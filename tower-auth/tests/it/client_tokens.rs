//! Tokens that are obtained, kept and renewed.
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::{
    AccessToken, AuthMethod, BearerLayer, ClientCredentials, ClientCredentialsBuilder, Rejected, StaticToken,
    find_rejection,
};

#[derive(Default)]
struct World {
    asked: u32,
    down: bool,
    slow: Duration,
    forms: Vec<(Option<String>, String)>,
    answer: Option<&'static str>,
}

type Shared = Arc<Mutex<World>>;
type Http = tower::util::BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, Infallible>;
type Builder = ClientCredentialsBuilder<Http>;

fn issuer(world: &Shared) -> Http {
    let world = Arc::clone(world);
    Http::new(service_fn(move |request: Request<Full<Bytes>>| {
        let world = Arc::clone(&world);
        async move {
            let authorization =
                request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            let form = request.into_body().collect().await.unwrap().to_bytes();
            let slow = world.lock().unwrap().slow;
            tokio::time::sleep(slow).await;
            let mut world = world.lock().unwrap();
            world.asked += 1;
            world.forms.push((authorization, String::from_utf8(form.to_vec()).unwrap()));
            let json = match world.answer {
                Some(answer) => answer.to_owned(),
                None => {
                    format!(r#"{{"access_token":"t{}","token_type":"Bearer","expires_in":600}}"#, world.asked)
                }
            };
            let mut response = Response::new(Full::from(json));
            if world.down {
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
            Ok(response)
        }
    }))
}

fn setup() -> (Shared, Builder) {
    let world = Shared::default();
    world.lock().unwrap().slow = Duration::from_millis(10);
    let url = "https://issuer.example/token".parse().unwrap();
    let builder = ClientCredentials::builder(url, "orders", "s3cr3t-s3cr3t", issuer(&world));
    (world, builder)
}

/// A call with this provider: what the API saw.
async fn call(provider: &ClientCredentials) -> Result<String, Rejected> {
    let api = service_fn(async |request: Request<Empty<Bytes>>| {
        let token = request.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned();
        Ok::<_, Infallible>(Response::new(token))
    });
    let answer = BearerLayer::new(provider.clone()).layer(api).oneshot(Request::new(Empty::new())).await;
    answer.map(Response::into_body).map_err(|error| find_rejection(&error).unwrap().clone())
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_loses_nobody() {
    let (world, builder) = setup();
    let provider = builder.build().unwrap();
    let leader = tokio::spawn({
        let provider = provider.clone();
        async move { call(&provider).await }
    });
    tokio::task::yield_now().await;
    let followers = tokio::spawn({
        let provider = provider.clone();
        async move { futures_util::future::join_all((0..100).map(|_| call(&provider))).await }
    });
    tokio::task::yield_now().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    let answers = followers.await.unwrap();
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("Bearer t1")));
    assert_eq!(world.lock().unwrap().asked, 1);
}

#[tokio::test(start_paused = true)]
async fn renewed_ahead_of_time_so_that_nobody_waits() {
    let (world, builder) = setup();
    let provider = builder.build().unwrap();
    assert_eq!(call(&provider).await.as_deref(), Ok("Bearer t1"));
    // An hour of one call per second: however slow the issuer, no call waits.
    world.lock().unwrap().slow = Duration::from_secs(4);
    let mut longest = Duration::ZERO;
    for _ in 0..3_600 {
        let before = tokio::time::Instant::now();
        assert!(call(&provider).await.is_ok());
        longest = longest.max(before.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(longest, Duration::ZERO);
    // Every 540 seconds of 600, and the first.
    assert_eq!(world.lock().unwrap().asked, 7);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_noticed_while_the_token_lives() {
    let (world, builder) = setup();
    let provider = builder.build().unwrap();
    assert!(call(&provider).await.is_ok());
    world.lock().unwrap().down = true;
    for _ in 0..599 {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(call(&provider).await.as_deref(), Ok("Bearer t1"));
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    let Err(Rejected::TokenUnavailable { retry_after }) = call(&provider).await else { panic!("no refusal") };
    assert!(
        retry_after >= Duration::from_secs(1) && retry_after <= Duration::from_secs(32),
        "{retry_after:?}"
    );
    // The issuer is not hammered: pauses of 1, 2, 4 … 32 seconds.
    let asked = world.lock().unwrap().asked;
    assert!(asked <= 8, "{asked}");
    world.lock().unwrap().down = false;
    tokio::time::advance(Duration::from_secs(32)).await;
    assert!(call(&provider).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn how_the_client_proves_who_it_is() {
    let (world, builder) = setup();
    assert!(call(&builder.scope("a b").build().unwrap()).await.is_ok());
    let (_, builder) = (
        &world,
        ClientCredentials::builder(
            "https://issuer.example/token".parse().unwrap(),
            "or:ders",
            "s&=ä",
            issuer(&world),
        ),
    );
    let posted = builder.auth_method(AuthMethod::Post).audience("api").build().unwrap();
    assert!(call(&posted).await.is_ok());
    let forms = std::mem::take(&mut world.lock().unwrap().forms);
    // RFC 6749 §2.3.1.
    let basic = "Basic b3JkZXJzOnMzY3IzdC1zM2NyM3Q=".to_owned();
    assert_eq!(forms[0], (Some(basic), "grant_type=client_credentials&scope=a+b".into()));
    let form = "grant_type=client_credentials&audience=api&client_id=or%3Aders&client_secret=s%26%3D%C3%A4";
    assert_eq!(forms[1], (None, form.into()));
}

#[tokio::test(start_paused = true)]
async fn each_scope_adds_to_what_is_asked_for() {
    let asked = async |change: fn(Builder) -> Builder| {
        let (world, builder) = setup();
        assert!(call(&change(builder).build().unwrap()).await.is_ok());
        let (_, form) = world.lock().unwrap().forms.pop().unwrap();
        form.strip_prefix("grant_type=client_credentials").unwrap().to_owned()
    };
    assert_eq!(asked(|builder| builder).await, "");
    assert_eq!(asked(|builder| builder.scope("")).await, "");
    assert_eq!(asked(|builder| builder.scope("read").scope("write")).await, "&scope=read+write");
    assert_eq!(asked(|builder| builder.scope(" a:b  c ").scope("d")).await, "&scope=a%3Ab+c+d");
}

#[tokio::test(start_paused = true)]
async fn one_change_to_an_accepted_answer_is_a_failure() {
    let good = r#"{"access_token":"abc","token_type":"Bearer","expires_in":600}"#;
    let asked = async |answer: &'static str| {
        let (world, builder) = setup();
        world.lock().unwrap().answer = Some(answer);
        call(&builder.build().unwrap()).await
    };
    assert_eq!(asked(good).await.as_deref(), Ok("Bearer abc"));
    for bad in [
        r#"{"access_token":"a c","token_type":"Bearer","expires_in":600}"#,
        r#"{"access_token":"abc\r\nX: y","token_type":"Bearer","expires_in":600}"#,
        r#"{"access_token":"","token_type":"Bearer","expires_in":600}"#,
        r#"{"access_token":"abc","token_type":"mac","expires_in":600}"#,
        r#"{"access_token":"abc","expires_in":600}"#,
        r#"{"access_token":"abc","token_type":"Bearer","expires_in":-1}"#,
        r#"{"access_token":"abc","token_type":"Bearer","expires_in":600"#,
        r#"{"token_type":"Bearer","expires_in":600}"#,
        "",
    ] {
        let refused = asked(bad).await;
        assert_eq!(refused, Err(Rejected::TokenUnavailable { retry_after: Duration::from_secs(1) }), "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_are_not_shown() {
    let (_, builder) = setup();
    let shown = format!("{builder:?}");
    let provider = builder.build().unwrap();
    call(&provider).await.unwrap();
    let fixed = StaticToken::new("s3cr3t-s3cr3t").unwrap();
    let token = AccessToken::new("s3cr3t-s3cr3t").unwrap();
    let layer = BearerLayer::new(fixed.clone());
    let service = layer.layer(());
    let all = format!("{shown} {provider:?} {fixed:?} {token:?} {:?} {layer:?} {service:?}", token.header());
    assert!(!all.contains("s3cr3t") && !all.contains("t1"), "{all}");
    assert_eq!(token.header(), "Bearer s3cr3t-s3cr3t");
}

#[test]
fn settings_that_cannot_work() {
    let field = |change: fn(Builder) -> Builder| {
        change(setup().1).build().map(drop).map_err(|error| error.field().to_owned())
    };
    assert_eq!(field(|builder| builder.scope("read")), Ok(()));
    for wrong in ["re\"ad", "re\\ad", "réad", "read\nwrite"] {
        assert_eq!(setup().1.scope(wrong).build().unwrap_err().field(), "scope", "{wrong}");
    }
    assert_eq!(field(|builder| builder.fetch_timeout(Duration::ZERO)), Err("fetch_timeout".into()));
    assert_eq!(field(|builder| builder.max_body(1)), Ok(()));
    assert_eq!(field(|builder| builder.max_body(0)), Err("max_body".into()));
    let world = Shared::default();
    let relative = ClientCredentials::builder("/token".parse().unwrap(), "orders", "s", issuer(&world));
    assert_eq!(relative.build().unwrap_err().field(), "uri");
    let nobody = ClientCredentials::builder("https://i.example/t".parse().unwrap(), "", "s", issuer(&world));
    assert_eq!(nobody.build().unwrap_err().field(), "id");
    assert_eq!(StaticToken::new("a b").unwrap_err().field(), "token");
}

/// The life of a token begins when it was asked for, because nobody knows when on the way it was made.
#[tokio::test(start_paused = true)]
async fn a_life_begins_with_the_question() {
    // Ten seconds, of which four are gone when the token comes; renewed at five, dead at ten.
    for (after, asked) in [(900, 1), (1_100, 2)] {
        let (world, builder) = setup();
        {
            let mut world = world.lock().unwrap();
            world.slow = Duration::from_secs(4);
            world.answer = Some(r#"{"access_token":"abc","token_type":"Bearer","expires_in":10}"#);
        }
        let provider = builder.build().unwrap();
        assert!(call(&provider).await.is_ok());
        tokio::time::advance(Duration::from_millis(after)).await;
        assert!(call(&provider).await.is_ok());
        tokio::time::sleep(Duration::from_millis(4_200)).await;
        assert_eq!(world.lock().unwrap().asked, asked, "{after} ms after it came");
    }
    let (world, builder) = setup();
    {
        let mut world = world.lock().unwrap();
        world.slow = Duration::from_secs(4);
        world.answer = Some(r#"{"access_token":"abc","token_type":"Bearer","expires_in":10}"#);
    }
    let provider = builder.build().unwrap();
    assert!(call(&provider).await.is_ok());
    world.lock().unwrap().down = true;
    tokio::time::advance(Duration::from_millis(5_900)).await;
    assert!(call(&provider).await.is_ok());
    tokio::time::advance(Duration::from_millis(200)).await;
    assert!(matches!(call(&provider).await, Err(Rejected::TokenUnavailable { .. })));
}

/// An issuer that gives the same token again has none that could help.
#[tokio::test(start_paused = true)]
async fn a_call_is_not_repeated_with_the_token_that_was_rejected() {
    let (world, builder) = setup();
    world.lock().unwrap().answer = Some(r#"{"access_token":"abc","token_type":"Bearer","expires_in":600}"#);
    let provider = builder.build().unwrap();
    let calls = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&calls);
    let api = service_fn(move |_: Request<Empty<Bytes>>| {
        *counter.lock().unwrap() += 1;
        std::future::ready(Ok::<_, Infallible>(Response::builder().status(401).body(()).unwrap()))
    });
    let client = BearerLayer::new(provider.clone()).layer(api);
    let answer = client.oneshot(Request::new(Empty::new())).await.unwrap();
    assert_eq!((answer.status(), *calls.lock().unwrap()), (StatusCode::UNAUTHORIZED, 1));
    assert_eq!(world.lock().unwrap().asked, 2, "one that might have been another");
    // The same where a provider answers at once.
    #[derive(Clone)]
    struct Stubborn(AccessToken);
    impl tower_auth::client::TokenProvider for Stubborn {
        fn token(&self, _: &http::request::Parts) -> tower_auth::client::TokenAnswer {
            tower_auth::client::TokenAnswer::Ready(Ok(self.0.clone()))
        }
        fn rejected(&self, _: &AccessToken) -> bool {
            true
        }
    }
    let counter = Arc::clone(&calls);
    let api = service_fn(move |_: Request<Empty<Bytes>>| {
        *counter.lock().unwrap() += 1;
        std::future::ready(Ok::<_, Infallible>(Response::builder().status(401).body(()).unwrap()))
    });
    let client = BearerLayer::new(Stubborn(AccessToken::new("abc").unwrap())).layer(api);
    let answer = client.oneshot(Request::new(Empty::new())).await.unwrap();
    assert_eq!((answer.status(), *calls.lock().unwrap()), (StatusCode::UNAUTHORIZED, 2));
}

/// A token that one caller gives back goes to those who waited for it all the same: each finds out for itself.
#[tokio::test(start_paused = true)]
async fn a_token_given_back_is_not_taken_from_those_who_waited() {
    use tower_auth::client::{TokenAnswer, TokenProvider};
    let (world, builder) = setup();
    let provider = builder.build().unwrap();
    let (parts, ()) = Request::new(()).into_parts();
    let pending = || match provider.token(&parts) {
        TokenAnswer::Pending(pending) => pending,
        other => panic!("{other:?}"),
    };
    let (first, second) = (pending(), pending());
    let token = first.await.unwrap();
    assert!(provider.rejected(&token));
    assert_eq!(second.await.unwrap(), token);
    assert!(provider.rejected(&token), "another may be had");
    assert!(pending().await.unwrap() != token);
    assert_eq!(world.lock().unwrap().asked, 2);
}

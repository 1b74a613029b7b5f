//! One more attempt after a token was rejected.
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::{
    BearerLayer, ClientCredentials, Never, Rejected, StaticToken, UpTo, find_rejection,
};

/// An issuer of numbered tokens and an API that accepts some of them.
#[derive(Default)]
struct World {
    issued: u32,
    issuer_down: bool,
    calls: Vec<String>,
    bodies: Vec<Bytes>,
    accepted: Option<&'static str>,
    challenge: Option<&'static str>,
}

type Shared = Arc<Mutex<World>>;

fn issuer(
    world: &Shared,
) -> impl tower::Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let world = Arc::clone(world);
    service_fn(move |_: Request<Full<Bytes>>| {
        let world = Arc::clone(&world);
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut world = world.lock().unwrap();
            world.issued += 1;
            let json =
                format!(r#"{{"access_token":"t{}","token_type":"Bearer","expires_in":600}}"#, world.issued);
            let mut response = Response::new(Full::<Bytes>::from(json));
            if world.issuer_down {
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
            Ok::<_, Infallible>(response)
        }
    })
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// What client stacks have: a boxed body that is made of nothing or of bytes.
#[derive(Default)]
struct AnyBody(Option<Body>);

impl From<Bytes> for AnyBody {
    fn from(bytes: Bytes) -> Self {
        Self(Some(Full::new(bytes).boxed_unsync()))
    }
}

impl http_body::Body for AnyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Some(body) => std::pin::Pin::new(body).poll_frame(cx),
            None => std::task::Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.as_ref().map_or_else(|| http_body::SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

fn api(
    world: &Shared,
) -> impl tower::Service<Request<AnyBody>, Response = Response<()>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let world = Arc::clone(world);
    service_fn(move |request: Request<AnyBody>| {
        let world = Arc::clone(&world);
        async move {
            let token = request.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut world = world.lock().unwrap();
            let mut response = Response::new(());
            if world.accepted != Some(&token) {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                if let Some(challenge) = world.challenge {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
                }
            }
            world.calls.push(token);
            world.bodies.push(body);
            Ok::<_, Infallible>(response)
        }
    })
}

fn setup(accepted: &'static str) -> (Shared, ClientCredentials) {
    let world = Shared::default();
    world.lock().unwrap().accepted = Some(accepted);
    let url = "https://issuer.example/token".parse().unwrap();
    let provider = ClientCredentials::builder(url, "orders", "secret", issuer(&world)).build().unwrap();
    (world, provider)
}

/// How many tokens were issued, and how many calls the API had.
fn counted(world: &Shared) -> (u32, usize) {
    let world = world.lock().unwrap();
    (world.issued, world.calls.len())
}

fn get() -> Request<AnyBody> {
    Request::new(AnyBody::default())
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_replaced_once_however_many_saw_it() {
    let (world, provider) = setup("Bearer t1");
    let service = BearerLayer::new(provider).layer(api(&world));
    assert_eq!(service.clone().oneshot(get()).await.unwrap().status(), StatusCode::OK);
    // The issuer's keys changed, say: the API wants a newer token.
    world.lock().unwrap().accepted = Some("Bearer t2");
    let calls = (0..1_000).map(|_| service.clone().oneshot(get()));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status() == StatusCode::OK));
    assert_eq!(world.lock().unwrap().issued, 2);
    assert_eq!(world.lock().unwrap().calls.len(), 2_001);
}

#[tokio::test(start_paused = true)]
async fn an_api_that_rejects_every_token_does_not_loop() {
    let (world, provider) = setup("Bearer never");
    let service = BearerLayer::new(provider).layer(api(&world));
    for _ in 0..100 {
        assert_eq!(service.clone().oneshot(get()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    // The first call was repeated with a second token; that one is kept although it is rejected too.
    assert_eq!(counted(&world), (2, 101));
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(service.oneshot(get()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(counted(&world), (3, 103));
}

#[tokio::test(start_paused = true)]
async fn only_a_challenge_that_blames_the_token_is_answered() {
    for (challenge, attempts) in [
        (None, 2),
        (Some("Bearer realm=\"x\""), 2),
        (Some("Bearer error=\"invalid_token\""), 2),
        (Some("Bearer error=\"insufficient_scope\""), 1),
        (Some("Basic realm=\"x\""), 1),
    ] {
        let (world, provider) = setup("Bearer t2");
        world.lock().unwrap().challenge = challenge;
        let answer = BearerLayer::new(provider).layer(api(&world)).oneshot(get()).await.unwrap();
        assert_eq!(answer.status() == StatusCode::OK, attempts == 2, "{challenge:?}");
        assert_eq!(world.lock().unwrap().calls.len(), attempts, "{challenge:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_are_repeated_up_to_a_limit() {
    let long = Bytes::from(vec![b'x'; 101]);
    let post = |bytes: Bytes| Request::post("/").body(AnyBody::from(bytes)).unwrap();
    for (body, attempts) in [(Bytes::from_static(b"short"), 2), (long.slice(..100), 2), (long, 1)] {
        let (world, provider) = setup("Bearer t2");
        let service = BearerLayer::new(provider).replay(UpTo(100)).layer(api(&world));
        let answer = service.oneshot(post(body.clone())).await.unwrap();
        assert_eq!(answer.status() == StatusCode::OK, attempts == 2);
        assert_eq!(world.lock().unwrap().bodies, vec![body; attempts]);
    }
    // By default only requests without a body are, and with `Never` not even those.
    let (world, provider) = setup("Bearer t2");
    let service = BearerLayer::new(provider.clone()).layer(api(&world));
    assert_eq!(service.oneshot(post(Bytes::from_static(b"short"))).await.unwrap().status(), 401);
    let service = BearerLayer::new(provider).replay(Never).layer(api(&world));
    assert_eq!(service.oneshot(get()).await.unwrap().status(), 401);
    assert_eq!(world.lock().unwrap().calls.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn streams_pass_through_and_are_sent_once() {
    let (world, provider) = setup("Bearer t2");
    let frames = ["one ", "two"].map(|part| Ok(http_body::Frame::data(Bytes::from_static(part.as_bytes()))));
    let stream = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    let service = BearerLayer::new(provider).replay(UpTo(1_000)).layer(api(&world));
    let request = Request::post("/").body(AnyBody(Some(stream))).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.lock().unwrap().bodies, [Bytes::from_static(b"one two")]);
}

#[tokio::test(start_paused = true)]
async fn without_another_token_the_first_answer_stands() {
    let (world, provider) = setup("Bearer t1");
    let service = BearerLayer::new(provider).layer(api(&world));
    assert_eq!(service.clone().oneshot(get()).await.unwrap().status(), StatusCode::OK);
    {
        let mut world = world.lock().unwrap();
        (world.accepted, world.issuer_down) = (Some("Bearer t3"), true);
    }
    assert_eq!(service.clone().oneshot(get()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // The rejected token is gone, so the next call says that there is none.
    let error = service.clone().oneshot(get()).await.unwrap_err();
    assert!(matches!(find_rejection(&error), Some(Rejected::TokenUnavailable { .. })));
    // The error and its sources say each thing once.
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let said: Vec<_> = causes.map(ToString::to_string).collect();
    assert_eq!(said, ["the call was not made", "no access token could be obtained"]);
    let fixed = BearerLayer::new(StaticToken::new("t9").unwrap()).layer(api(&world));
    assert_eq!(fixed.oneshot(get()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.lock().unwrap().calls, ["Bearer t1", "Bearer t1", "Bearer t9"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_ones_own_is_kept_and_never_repeated() {
    let (world, provider) = setup("Bearer t1");
    let service = BearerLayer::new(provider).layer(api(&world));
    let mut request = get();
    request.headers_mut().insert(header::AUTHORIZATION, "Bearer mine".parse().unwrap());
    assert_eq!(service.oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(counted(&world), (0, 1));
}

/// What cannot be repeated as it is, is sent once as it came: announced trailers, gRPC.
#[tokio::test(start_paused = true)]
async fn trailers_and_grpc_are_sent_once() {
    let post = |name: &'static str, value: &'static str| {
        Request::post("/").header(name, value).body(AnyBody::from(Bytes::from_static(b"short"))).unwrap()
    };
    for (name, value, attempts) in [
        ("content-type", "application/json", 2),
        ("trailer", "x-checksum", 1),
        ("content-type", "application/grpc", 1),
        ("content-type", "application/grpc+proto", 1),
    ] {
        let (world, provider) = setup("Bearer t2");
        let service = BearerLayer::new(provider).replay(UpTo(100)).layer(api(&world));
        let answer = service.oneshot(post(name, value)).await.unwrap();
        assert_eq!(answer.status() == StatusCode::OK, attempts == 2, "{name}: {value}");
        assert_eq!(world.lock().unwrap().bodies, vec![Bytes::from_static(b"short"); attempts], "{value}");
    }
}

/// A body that says one length and has another.
struct Liar(Vec<http_body::Frame<Bytes>>);

impl http_body::Body for Liar {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop().map(Ok))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(5)
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_not_what_they_say_are_refused() {
    let data = |text: &'static str| http_body::Frame::data(Bytes::from_static(text.as_bytes()));
    let trailers = || http_body::Frame::trailers(http::HeaderMap::new());
    for (frames, good) in [
        (vec![data("12345")], true),
        (vec![data("45"), data("123")], true),
        (vec![data("123456")], false),
        (vec![data("456"), data("123")], false),
        (vec![data("1234")], false),
        (vec![], false),
        (vec![trailers(), data("12345")], false),
    ] {
        let (world, provider) = setup("Bearer t1");
        let service = BearerLayer::new(provider).replay(UpTo(100)).layer(api(&world));
        let body = AnyBody(Some(Liar(frames).boxed_unsync()));
        let sent = service.oneshot(Request::post("/").body(body).unwrap()).await;
        if good {
            assert_eq!(sent.unwrap().status(), StatusCode::OK);
            assert_eq!(world.lock().unwrap().bodies, [Bytes::from_static(b"12345")]);
        } else {
            let error = sent.unwrap_err();
            assert_eq!(find_rejection(&error), Some(&Rejected::Body));
            assert!(world.lock().unwrap().calls.is_empty(), "nothing was sent");
        }
    }
}

//! A token endpoint that is broken or malicious: whatever it answers, calls end in time, memory is bounded, and it is not
//! asked all the time.
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::{BearerLayer, ClientCredentials, Rejected, find_rejection};

use crate::support::Pieces;

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    location: Option<&'static str>,
    piece: Bytes,
    pieces: usize,
    apart: Duration,
    announced: Option<u64>,
}

impl Answer {
    fn new(body: impl Into<Bytes>) -> Self {
        let (status, location, apart, announced) = (StatusCode::OK, None, Duration::ZERO, None);
        Self { status, location, piece: body.into(), pieces: 1, apart, announced }
    }

    fn tells(expires_in: &str) -> Self {
        Self::new(format!(r#"{{"access_token":"abc","token_type":"Bearer","expires_in":{expires_in}}}"#))
    }
}

struct Asked {
    places: Arc<Mutex<Vec<String>>>,
    pieces: Arc<Mutex<usize>>,
}

fn provider(answer: Answer) -> (ClientCredentials, Asked) {
    let asked = Asked { places: Arc::default(), pieces: Arc::default() };
    let (places, given) = (Arc::clone(&asked.places), Arc::clone(&asked.pieces));
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        places.lock().unwrap().push(request.uri().to_string());
        let Answer { status, location, piece, pieces, apart, announced } = answer.clone();
        let mut body = Pieces::new(pieces, piece, apart);
        (body.given, body.announced) = (Arc::clone(&given), announced);
        let mut response = Response::new(body);
        *response.status_mut() = status;
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location.parse().unwrap());
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let url = "https://issuer.example/token".parse().unwrap();
    (ClientCredentials::builder(url, "orders", "secret", service).build().unwrap(), asked)
}

/// What an API sees, or why it sees nothing.
async fn call(provider: &ClientCredentials) -> Result<String, Rejected> {
    let api = service_fn(async |request: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(
            request.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned(),
        ))
    });
    let sent = BearerLayer::new(provider.clone()).layer(api).oneshot(Request::new(Empty::new())).await;
    sent.map(Response::into_body).map_err(|error| find_rejection(&error).unwrap().clone())
}

/// A good answer of this length, which nobody announces.
fn padded(length: usize) -> Answer {
    let mut text = Answer::tells("600").piece.to_vec();
    text.resize(length, b' ');
    Answer::new(text)
}

fn bad_answers() -> Vec<(&'static str, Answer)> {
    let good = Answer::tells("600");
    let status = |status, location| Answer { status, location, ..good.clone() };
    let mib = Bytes::from(vec![b' '; 1 << 20]);
    let text = |text: &'static str| Answer::new(text);
    vec![
        ("a redirect elsewhere", status(StatusCode::TEMPORARY_REDIRECT, Some("https://evil.example/token"))),
        ("a redirect to http", status(StatusCode::FOUND, Some("http://issuer.example/token"))),
        ("401", status(StatusCode::UNAUTHORIZED, None)),
        ("400", status(StatusCode::BAD_REQUEST, None)),
        ("429", status(StatusCode::TOO_MANY_REQUESTS, None)),
        ("201", status(StatusCode::CREATED, None)),
        ("100 MiB", Answer { piece: mib.clone(), pieces: 100, ..good.clone() }),
        ("a byte too many", padded(64 * 1024 + 1)),
        ("100 MiB announced", Answer { announced: Some(100 << 20), ..good.clone() }),
        ("100 MiB in one piece", Answer::new(vec![b'{'; 100 << 20])),
        (
            "a byte a second",
            Answer { pieces: 10_000, piece: " ".into(), apart: Duration::from_secs(1), ..good.clone() },
        ),
        ("silence", Answer { apart: Duration::from_secs(86_400), ..good.clone() }),
        ("pieces of nothing without end", Answer { piece: Bytes::new(), pieces: usize::MAX, ..good.clone() }),
        ("HTML", text("<!doctype html>")),
        ("an array", text(r#"[{"access_token":"abc","token_type":"Bearer"}]"#)),
        ("a number for a token", text(r#"{"access_token":7,"token_type":"Bearer"}"#)),
        ("an object for a token", text(r#"{"access_token":{"a":"abc"},"token_type":"Bearer"}"#)),
        ("null for a token", text(r#"{"access_token":null,"token_type":"Bearer"}"#)),
        ("null for a type", text(r#"{"access_token":"abc","token_type":null}"#)),
        ("two tokens", text(r#"{"access_token":"abc","access_token":"def","token_type":"Bearer"}"#)),
        ("an error with 200", text(r#"{"error":"invalid_client"}"#)),
        ("nested without end", Answer::new("[".repeat(60_000))),
        ("a life of zero", Answer::tells("0")),
        ("a negative life", Answer::tells("-600")),
        ("a life in words", Answer::tells("\"600s\"")),
        ("an empty life", Answer::tells("\"\"")),
        ("a negative life in digits", Answer::tells("\"-600\"")),
        ("a life after a space", Answer::tells("\" 600\"")),
        ("a life of zero in digits", Answer::tells("\"0\"")),
        ("a negative fraction of a life", Answer::tells("-0.5")),
        ("a fraction of a second", Answer::tells("0.9")),
        ("a life beyond numbers", Answer::tells("1e400")),
        ("a life of true", Answer::tells("true")),
        ("an array of lives", Answer::tells("[600]")),
    ]
}

/// Each is a refusal after at most the timeout, followed by a pause in which nobody asks.
#[tokio::test(start_paused = true)]
async fn answers_that_are_no_token() {
    for good in [Answer::tells("600"), padded(64 * 1024)] {
        assert_eq!(call(&provider(good).0).await.as_deref(), Ok("Bearer abc"));
    }
    for (name, bad) in bad_answers() {
        let (provider, asked) = provider(bad);
        let start = tokio::time::Instant::now();
        let refused = call(&provider).await;
        assert_eq!(
            refused,
            Err(Rejected::TokenUnavailable { retry_after: Duration::from_secs(1) }),
            "{name}"
        );
        assert!(start.elapsed() <= Duration::from_millis(5_001), "{name}: {:?}", start.elapsed());
        for _ in 0..1_000 {
            assert!(call(&provider).await.is_err(), "{name}");
        }
        assert_eq!(*asked.places.lock().unwrap(), ["https://issuer.example/token"], "{name}");
        // Of a body that is too long no more is taken than shows that it is.
        assert!(*asked.pieces.lock().unwrap() <= 10_000, "{name}: {} pieces", asked.pieces.lock().unwrap());
    }
}

/// A day at most, five minutes where nothing is said. A string of digits and a fraction are not what RFC 6749 has, but
/// what issuers send that have no number at hand.
#[tokio::test(start_paused = true)]
async fn lives_are_bounded() {
    let silent = || Answer::new(r#"{"access_token":"abc","token_type":"Bearer"}"#);
    for (answer, life) in [
        (Answer::tells("18446744073709551615"), 86_400),
        (Answer::tells("86401"), 86_400),
        (Answer::tells("18446744073709551616"), 86_400),
        (Answer::tells("\"99999999999999999999\""), 86_400),
        (Answer::tells("600"), 600),
        (Answer::tells("\"600\""), 600),
        (Answer::tells("600.9"), 600),
        (Answer::tells("1"), 1),
        (Answer::tells("null"), 300),
        (silent(), 300),
    ] {
        let (provider, asked) = provider(answer);
        let asked = || asked.places.lock().unwrap().len();
        assert!(call(&provider).await.is_ok());
        // Renewed a minute before the end, or after half of a short life, and not before.
        let ahead = Duration::from_secs(60).min(Duration::from_secs(life) / 2);
        tokio::time::advance(Duration::from_secs(life) - ahead - Duration::from_millis(10)).await;
        assert!(call(&provider).await.is_ok());
        tokio::task::yield_now().await;
        assert_eq!(asked(), 1, "{life}");
        tokio::time::advance(Duration::from_millis(10)).await;
        assert!(call(&provider).await.is_ok());
        tokio::task::yield_now().await;
        assert_eq!(asked(), 2, "{life}");
    }
}

/// The issuer answers 401 to us and the API to the token: one retry, one token in half a minute, no loop.
#[tokio::test(start_paused = true)]
async fn refusals_on_both_sides_do_not_loop() {
    let (provider, asked) = provider(Answer::tells("600"));
    let calls = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&calls);
    let api = service_fn(move |_: Request<Empty<Bytes>>| {
        *counter.lock().unwrap() += 1;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let service = BearerLayer::new(provider).layer(api);
    for _ in 0..1_000 {
        let answer = service.clone().oneshot(Request::new(Empty::new())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        tokio::time::advance(Duration::from_millis(60)).await;
    }
    // The issuer gives the same token each time, so that not even one call is repeated.
    let asked = asked.places.lock().unwrap().len();
    assert!((2..=4).contains(&asked), "{asked} token requests in a minute");
    assert_eq!(*calls.lock().unwrap(), 1_000);
}

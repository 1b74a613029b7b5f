//! Issuers that hang, move, exaggerate or never stop: nobody waits for them who has keys, and memory stays bounded.
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Empty;
use tower::service_fn;
use tower_auth::keys::KeySet;
use tower_auth::{AuthError, Authenticator, Issuer, RemoteJwks, TokenFault};

use crate::support::{CLAIMS, ED_X, Pieces, clock, ed25519};

fn document(kids: &[&str]) -> Bytes {
    let key = |kid: &&str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{ED_X}"}}"#);
    format!(r#"{{"keys":[{}]}}"#, kids.iter().map(key).collect::<Vec<_>>().join(",")).into()
}

/// What an issuer does when it is asked.
#[derive(Clone)]
struct Behaviour {
    /// How long it takes.
    takes: Duration,
    piece: Bytes,
    pieces: usize,
    etag: Option<&'static str>,
    cache_control: Option<&'static str>,
    /// What it says where its keys are.
    jwks_uri: &'static str,
}

impl Behaviour {
    fn new(piece: impl Into<Bytes>) -> Self {
        let (takes, piece) = (Duration::from_millis(10), piece.into());
        Self {
            takes,
            piece,
            pieces: 1,
            etag: None,
            cache_control: None,
            jwks_uri: "https://issuer.example/a",
        }
    }
}

type Seen = Arc<Mutex<Vec<(String, HeaderMap)>>>;
type Now = Arc<Mutex<Behaviour>>;
type Http = tower::util::BoxCloneSyncService<Request<Empty<Bytes>>, Response<Pieces>, Infallible>;

fn service(now: &Now, seen: &Seen) -> Http {
    let (now, seen) = (Arc::clone(now), Arc::clone(seen));
    Http::new(service_fn(move |request: Request<Empty<Bytes>>| {
        seen.lock().unwrap().push((request.uri().to_string(), request.headers().clone()));
        let now = now.lock().unwrap().clone();
        async move {
            tokio::time::sleep(now.takes).await;
            let Behaviour { piece, pieces, etag, cache_control, jwks_uri, .. } = now;
            if request.uri().path().starts_with("/.well-known/") {
                let text = format!(r#"{{"issuer":"https://issuer.example","jwks_uri":"{jwks_uri}"}}"#);
                return Ok(Response::new(Pieces::new(1, text.into(), Duration::ZERO)));
            }
            let mut response = Response::new(Pieces::new(pieces, piece, Duration::ZERO));
            if let Some(etag) = etag {
                response.headers_mut().insert(header::ETAG, etag.parse().unwrap());
                if request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| known == etag) {
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                    *response.body_mut() = Pieces::new(0, Bytes::new(), Duration::ZERO);
                }
            }
            if let Some(value) = cache_control {
                response.headers_mut().insert(header::CACHE_CONTROL, value.parse().unwrap());
            }
            Ok(response)
        }
    }))
}

fn authenticator(remote: RemoteJwks<Http>) -> Authenticator {
    let issuer = Issuer::remote("https://issuer.example", remote);
    Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap()
}

fn setup(
    behaviour: Behaviour,
    change: impl FnOnce(RemoteJwks<Http>) -> RemoteJwks<Http>,
) -> (Now, Seen, Authenticator) {
    let (now, seen) = (Arc::new(Mutex::new(behaviour)), Seen::default());
    let remote = RemoteJwks::new("https://issuer.example/a".parse().unwrap(), service(&now, &seen));
    let auth = authenticator(change(remote));
    (now, seen, auth)
}

fn unavailable<T>(result: &Result<T, AuthError>) -> bool {
    matches!(result, Err(AuthError::KeysUnavailable { .. }))
}

/// A day in which the issuer takes requests and never answers: nobody who has a token of a known key ever waits.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_for_a_day_holds_nobody_up() {
    let (now, seen, auth) =
        setup(Behaviour::new(document(&["one"])), |remote| remote.stale_for(Duration::from_secs(86_400)));
    let one = ed25519("one", CLAIMS);
    assert!(auth.verify(&one).await.is_ok());
    now.lock().unwrap().takes = Duration::from_secs(1_000_000);
    let mut slowest = Duration::ZERO;
    for second in 0..86_400 {
        tokio::time::advance(Duration::from_secs(1)).await;
        let start = tokio::time::Instant::now();
        assert!(auth.verify(&one).await.is_ok(), "second {second}");
        slowest = slowest.max(start.elapsed());
        tokio::task::yield_now().await;
    }
    assert_eq!(slowest, Duration::ZERO);
    // A try after each pause of half a minute and five seconds of patience.
    let asked = seen.lock().unwrap().len();
    assert!((2_000..=86_400 / 30).contains(&asked), "{asked} fetches");
    // With a token of a new key they do wait, for one fetch at most, and hear that nobody knows.
    let start = tokio::time::Instant::now();
    assert!(unavailable(&auth.verify(&ed25519("new", CLAIMS)).await));
    assert!(start.elapsed() <= Duration::from_millis(10_002), "{:?}", start.elapsed());
    now.lock().unwrap().takes = Duration::ZERO;
    tokio::time::advance(Duration::from_secs(40)).await;
    assert!(auth.verify(&one).await.is_ok());
}

/// Somebody who comes once in ten minutes asks an issuer that may be back, and does not live on old keys without trying.
#[tokio::test(start_paused = true)]
async fn who_comes_seldom_waits_for_the_keys_of_an_issuer_that_is_back() {
    let (now, _, auth) = setup(Behaviour::new(document(&["one"])), |remote| remote);
    let one = ed25519("one", CLAIMS);
    assert!(auth.verify(&one).await.is_ok());
    now.lock().unwrap().piece = Bytes::from_static(b"none");
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(auth.verify(&one).await.is_ok(), "the last good set");
    now.lock().unwrap().piece = document(&["two"]);
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(auth.verify(&one).await.unwrap_err(), TokenFault::UnknownKey.into(), "removed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn documents_without_measure() {
    let good = document(&["one"]);
    let mut million = b"{\"keys\":[".to_vec();
    million.extend_from_slice(&good[9..good.len() - 2]);
    for _ in 0..1_000_000 {
        million.extend_from_slice(b",{\"kty\":\"AKP\"}");
    }
    million.extend_from_slice(b"]}");
    let million = Bytes::from(million);
    let many = |piece: &Bytes, pieces| Behaviour { pieces, ..Behaviour::new(piece.clone()) };
    let empty = Bytes::new();
    let mib = Bytes::from(vec![b' '; 1 << 20]);
    let one = ed25519("one", CLAIMS);
    for (name, behaviour) in [
        ("a million keys", many(&million, 1)),
        ("100 MiB", many(&mib, 100)),
        ("pieces of nothing without end", many(&empty, usize::MAX)),
    ] {
        let (now, _, auth) = setup(behaviour, |remote| remote);
        assert!(unavailable(&auth.verify(&one).await), "{name}");
        *now.lock().unwrap() = Behaviour::new(good.clone());
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(auth.verify(&one).await.is_ok(), "{name}");
    }
    // Who allows so much gets as many keys as they allow, and the rest counted.
    let (_, _, auth) = setup(many(&million, 1), |remote| remote.max_body(1 << 25));
    assert!(auth.verify(&one).await.is_ok());
    let set = KeySet::from_jwks(&million).unwrap();
    assert_eq!((set.len(), set.refused()), (1, 1_000_000));
    // Some pieces of nothing do no harm.
    let (now, _, auth) = setup(many(&empty, 999), |remote| remote);
    assert!(unavailable(&auth.verify(&one).await), "nothing but nothing");
    *now.lock().unwrap() = Behaviour::new(good);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(auth.verify(&one).await.is_ok());
}

/// The tag of a document is of its place: when the keys move, the new place is asked without it, although it may use the
/// same text.
#[tokio::test(start_paused = true)]
async fn keys_that_move_are_read_at_their_new_place() {
    let behaviour = Behaviour { etag: Some("\"1\""), ..Behaviour::new(document(&["one"])) };
    let (now, seen) = (Arc::new(Mutex::new(behaviour)), Seen::default());
    let remote = RemoteJwks::discover("https://issuer.example", service(&now, &seen));
    let auth = authenticator(remote.refresh_every(Duration::from_secs(100)));
    let (one, two) = (ed25519("one", CLAIMS), ed25519("two", CLAIMS));
    assert!(auth.verify(&one).await.is_ok());
    tokio::time::advance(Duration::from_secs(101)).await;
    assert!(auth.verify(&one).await.is_ok(), "not modified");
    {
        let mut now = now.lock().unwrap();
        (now.jwks_uri, now.piece) = ("https://issuer.example/b", document(&["two"]));
    }
    tokio::time::advance(Duration::from_secs(101)).await;
    assert!(auth.verify(&two).await.is_ok());
    assert_eq!(auth.verify(&one).await.unwrap_err(), TokenFault::UnknownKey.into());
    let tags: Vec<(String, bool)> = seen
        .lock()
        .unwrap()
        .iter()
        .filter(|(uri, _)| !uri.contains(".well-known"))
        .map(|(uri, headers)| (uri.clone(), headers.contains_key(header::IF_NONE_MATCH)))
        .collect();
    let expected = [("a", false), ("a", true), ("b", false)];
    let expected: Vec<_> = expected.map(|(at, tag)| (format!("https://issuer.example/{at}"), tag)).into();
    assert_eq!(tags[..3], expected);
}

/// `Cache-Control` may shorten the life of a set to half a minute and never lengthen it.
#[tokio::test(start_paused = true)]
async fn what_the_issuer_says_about_time() {
    for (said, life) in
        [(None, 300), (Some("max-age=120"), 120), (Some("max-age=86400"), 300), (Some("no-store"), 30)]
    {
        let behaviour = Behaviour { cache_control: said, ..Behaviour::new(document(&["one"])) };
        let (now, _, auth) = setup(behaviour, |remote| remote);
        let one = ed25519("one", CLAIMS);
        assert!(auth.verify(&one).await.is_ok());
        now.lock().unwrap().piece = document(&["two"]);
        // Removed, and refused after its life at the latest, though nobody came before.
        tokio::time::advance(Duration::from_secs(life)).await;
        assert_eq!(auth.verify(&one).await.unwrap_err(), TokenFault::UnknownKey.into(), "{said:?}");
    }
}

/// Who says "never" in a setting gets that, and no arithmetic that ends the fetch.
#[tokio::test(start_paused = true)]
async fn settings_without_measure() {
    let (_, seen, auth) = setup(Behaviour::new(document(&["one"])), |remote| {
        let remote =
            remote.refresh_every(Duration::MAX).stale_for(Duration::MAX).fetch_timeout(Duration::MAX);
        remote.unknown_kid_burst(1, Duration::MAX)
    });
    for _ in 0..3 {
        assert!(auth.verify(&ed25519("one", CLAIMS)).await.is_ok());
        let unknown = auth.verify(&ed25519("two", CLAIMS)).await.unwrap_err();
        assert_eq!(unknown, TokenFault::UnknownKey.into());
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
}

//! Sets of keys: large ones, chained ones, ones that change, and issuers that are gone for long.
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::keys::{Algorithm, ChainedKeys, KeySet, KeySource, Lookup};
use tower_auth::verify::{Backend, verify_jws};
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, RemoteJwks, StaticKeys, TokenFault};

use crate::attacks::{ED_PUBLIC, P256_PUBLIC, P384_PUBLIC, RSA_PKCS1, RSA_PUBLIC, backends};
use crate::support::{CLAIMS, ED_X, SECRET, clock, ed25519, token};

/// Which ids the issuer's document has; `None` is an issuer that is gone.
type Kids = Arc<Mutex<Option<Vec<String>>>>;

#[derive(Clone)]
struct Idp {
    kids: Kids,
    fetches: Arc<AtomicU32>,
}

impl Idp {
    fn new(kids: &[&str]) -> Self {
        let kids = Some(kids.iter().map(|kid| (*kid).to_owned()).collect());
        Self { kids: Arc::new(Mutex::new(kids)), fetches: Arc::default() }
    }

    fn set(&self, kids: Option<&[&str]>) {
        *self.kids.lock().unwrap() = kids.map(|kids| kids.iter().map(|kid| (*kid).to_owned()).collect());
    }

    fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::Relaxed)
    }

    fn remote(&self, change: impl FnOnce(Remote) -> Remote) -> Remote {
        let idp = self.clone();
        let answer: Answer = Arc::new(move || {
            idp.fetches.fetch_add(1, Ordering::Relaxed);
            let kids = idp.kids.lock().unwrap().clone();
            let key = |kid: String| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{ED_X}"}}"#);
            let keys: Option<Vec<String>> = kids.map(|kids| kids.into_iter().map(key).collect());
            let status = if keys.is_some() { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
            let body = format!(r#"{{"keys":[{}]}}"#, keys.unwrap_or_default().join(","));
            Response::builder().status(status).body(Full::from(body)).unwrap()
        });
        change(RemoteJwks::new("https://issuer.example/jwks".parse().unwrap(), Service(answer)))
    }

    fn authenticator(&self, change: impl FnOnce(Remote) -> Remote) -> Authenticator {
        let issuer = Issuer::remote("https://issuer.example", self.remote(change));
        Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap()
    }
}

type Answer = Arc<dyn Fn() -> Response<Full<Bytes>> + Send + Sync>;
type Remote = RemoteJwks<Service>;

#[derive(Clone)]
struct Service(Answer);

impl tower::Service<Request<Empty<Bytes>>> for Service {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        let answer = Arc::clone(&self.0);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(answer())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_without_the_issuer() {
    let idp = Idp::new(&["one"]);
    let auth = idp.authenticator(|remote| remote.stale_for(Duration::from_secs(86_400)));
    let one = ed25519("one", CLAIMS);
    assert!(auth.verify(&one).await.is_ok());
    idp.set(None);
    for minute in 0..24 * 60 {
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(auth.verify(&one).await.is_ok(), "minute {minute}");
    }
    // At most one attempt in 30 seconds.
    assert!(idp.fetches() <= 24 * 120 + 2, "{} fetches", idp.fetches());
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(matches!(auth.verify(&one).await, Err(AuthError::KeysUnavailable { .. })), "stale no longer");
    idp.set(Some(&["one"]));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(auth.verify(&one).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_without_the_issuer_is_503() {
    let idp = Idp::new(&["one"]);
    idp.set(None);
    let inner = service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = AuthLayer::new(idp.authenticator(|remote| remote)).layer(inner);
    let send = async || {
        let request =
            Request::builder().header(header::AUTHORIZATION, format!("Bearer {}", ed25519("one", CLAIMS)));
        service.clone().oneshot(request.body(Empty::new()).unwrap()).await.unwrap()
    };
    for _ in 0..1_000 {
        let response = send().await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers()[header::RETRY_AFTER].to_str().unwrap().parse::<u32>().unwrap() >= 1);
        assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
    assert!(idp.fetches() <= 2, "{} fetches", idp.fetches());
    idp.set(Some(&["one"]));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(send().await.status(), StatusCode::OK);
}

/// The known id is used between all of them, and never waits.
#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_invented_ids_in_a_minute() {
    let idp = Idp::new(&["one"]);
    let source = idp.remote(|remote| remote.refresh_every(Duration::from_secs(300))).build().unwrap();
    let look = |kid: &str, waited| source.lookup(Some(kid), Algorithm::EdDsa, waited);
    let Lookup::Wait(first) = look("one", false) else { panic!("nothing is there yet") };
    let issuer = Issuer::new("i", Arc::clone(&source));
    drop((first, issuer));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(idp.fetches(), 1);
    let (mut waits, seed) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    for number in 0..100_000_u64 {
        if number % 1_000 == 0 && number > 0 {
            tokio::time::sleep(Duration::from_millis(590)).await;
        }
        let invented = format!("{:x}", (number + 1).wrapping_mul(seed));
        match look(&invented, false) {
            Lookup::Keys(keys) => assert!(!keys.has(Some(&invented), Algorithm::EdDsa)),
            Lookup::Wait(_) => waits += 1,
            other => panic!("{other:?}"),
        }
        assert!(matches!(look("one", false), Lookup::Keys(keys) if keys.has(Some("one"), Algorithm::EdDsa)));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!((1..=3).contains(&(idp.fetches() - 1)), "{} fetches", idp.fetches() - 1);
    println!("{waits} of 100,000 waited for {} fetches", idp.fetches() - 1);
}

/// Old and new tokens by turns while the issuer goes from one key to the next, a hundred times.
#[tokio::test(start_paused = true)]
async fn rotation_refuses_nobody() {
    let idp = Idp::new(&["k0"]);
    let auth = idp.authenticator(|remote| remote.refresh_every(Duration::from_secs(300)));
    let mut old = ed25519("k0", CLAIMS);
    assert!(auth.verify(&old).await.is_ok());
    for round in 1..=100 {
        let (before, now) = (format!("k{}", round - 1), format!("k{round}"));
        idp.set(Some(&[&before, &now]));
        let new = ed25519(&now, CLAIMS);
        // The first tokens of the new key come at once, from many callers.
        let callers = futures_util::future::join_all((0..10).map(|_| auth.verify(&new))).await;
        assert!(callers.iter().all(Result::is_ok), "round {round}: {callers:?}");
        assert!(auth.verify(&old).await.is_ok(), "round {round}");
        // The old key goes, and its tokens within one refresh, although they were verified before.
        idp.set(Some(&[&now]));
        tokio::time::advance(Duration::from_secs(300)).await;
        let refused = auth.verify(&old).await.unwrap_err();
        assert_eq!(refused, TokenFault::UnknownKey.into(), "round {round}");
        assert!(auth.verify(&new).await.is_ok());
        tokio::time::advance(Duration::from_secs(60)).await;
        old = new;
    }
}

#[tokio::test(start_paused = true)]
async fn one_good_key_among_a_thousand() {
    let bad = [
        r#"{"kty":"OKP","crv":"Ed448","x":"AA"}"#,
        r#"{"kty":"AKP","alg":"ML-DSA-65","pub":"AA"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#,
        r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
        "7",
        "null",
        r#"{"kty":["RSA"]}"#,
        r#"{"kid":"one","kid":"one"}"#,
    ];
    let good = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"one","x":"{ED_X}"}}"#);
    for place in [0, 500, 999] {
        let keys: Vec<&str> =
            (0..1_000).map(|n| if n == place { &good } else { bad[n % bad.len()] }).collect();
        let set = KeySet::from_jwks(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap();
        assert_eq!((set.len(), set.refused()), (1, 999));
        assert!(verify_jws(&ed25519("one", CLAIMS), &set, Backend::default()).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn more_keys_than_allowed_are_left_out() {
    let kids: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
    let kids: Vec<&str> = kids.iter().map(String::as_str).collect();
    let auth = Idp::new(&kids).authenticator(|remote| remote.max_keys(40));
    assert!(auth.verify(&ed25519("k39", CLAIMS)).await.is_ok());
    assert_eq!(auth.verify(&ed25519("k40", CLAIMS)).await.unwrap_err(), TokenFault::UnknownKey.into());
    for wrong in [0, 10_001] {
        let remote = Idp::new(&[]).remote(|remote| remote.max_keys(wrong));
        assert_eq!(remote.build().err().unwrap().field(), "max_keys");
    }
}

#[tokio::test(start_paused = true)]
async fn chained_keys() {
    let idp = Idp::new(&["fetched"]);
    let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"own","x":"{ED_X}"}}"#);
    let own = StaticKeys::jwk(jwk.as_bytes()).unwrap();
    for first in [true, false] {
        let fetched = idp.remote(|remote| remote).build().unwrap();
        let chain = if first {
            ChainedKeys::new(own.clone()).then(fetched)
        } else {
            ChainedKeys::new(fetched).then(own.clone())
        };
        let issuer = Issuer::new("https://issuer.example", chain);
        let auth = Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap();
        let before = idp.fetches();
        assert!(auth.verify(&ed25519("own", CLAIMS)).await.is_ok());
        assert_eq!(idp.fetches(), before, "a key that is there causes no fetch");
        assert!(auth.verify(&ed25519("fetched", CLAIMS)).await.is_ok());
        for _ in 0..5 {
            let unknown = auth.verify(&ed25519("other", CLAIMS)).await.unwrap_err();
            assert_eq!(unknown, TokenFault::UnknownKey.into());
        }
        assert_eq!(idp.fetches(), before + 2);
    }
    idp.set(None);
    let chain = ChainedKeys::new(own).then(idp.remote(|remote| remote).build().unwrap());
    let issuer = Issuer::new("https://issuer.example", chain);
    let auth = Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap();
    assert!(auth.verify(&ed25519("own", CLAIMS)).await.is_ok());
    let unknown = auth.verify(&ed25519("other", CLAIMS)).await.unwrap_err();
    assert!(matches!(unknown, AuthError::KeysUnavailable { .. }), "nobody knows: {unknown:?}");
    let none = Authenticator::builder().issuer(Issuer::new("i", ChainedKeys::default())).audience("api");
    let refused = none.wall_clock(clock).build().unwrap().verify(&token(CLAIMS)).await.unwrap_err();
    assert_eq!(refused, TokenFault::UnknownKey.into());
}

/// A key without an id would fit every token of its algorithm; it is for those that nobody else has a key for.
#[tokio::test(start_paused = true)]
async fn a_key_without_an_id_is_the_last_resort_of_a_chain() {
    let verifier = |chain: ChainedKeys| {
        let issuer = Issuer::new("https://issuer.example", chain);
        Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock).build().unwrap()
    };
    let both = |idp: &Idp, first: bool, own: StaticKeys| {
        let fetched = idp.remote(|remote| remote).build().unwrap();
        verifier(if first {
            ChainedKeys::new(own).then(fetched)
        } else {
            ChainedKeys::new(fetched).then(own)
        })
    };
    for first in [true, false] {
        let idp = Idp::new(&["fetched"]);
        let other = StaticKeys::pem(Algorithm::EdDsa, ED_PUBLIC.as_bytes()).unwrap();
        let auth = both(&idp, first, other);
        assert!(auth.verify(&ed25519("fetched", CLAIMS)).await.is_ok(), "also before anything was fetched");
        assert_eq!(idp.fetches(), 1);
        // Used, and of no use.
        let refused = auth.verify(&ed25519("nowhere", CLAIMS)).await.unwrap_err();
        assert_eq!(refused, TokenFault::Signature.into());

        let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{ED_X}"}}"#);
        let own = StaticKeys::jwk(jwk.as_bytes()).unwrap();
        for up in [true, false] {
            let idp = Idp::new(&["fetched"]);
            if !up {
                idp.set(None);
            }
            let auth = both(&idp, first, own.clone());
            for _ in 0..100 {
                assert!(auth.verify(&ed25519("mine", CLAIMS)).await.is_ok(), "{first} {up}");
            }
            assert!(idp.fetches() <= 2, "{}", idp.fetches());
        }
    }
}

#[test]
fn a_chain_vouches_for_what_its_sources_do() {
    let keys = [RSA_PUBLIC, RSA_PKCS1].map(|pem| StaticKeys::pem(Algorithm::Rs256, pem.as_bytes()).unwrap());
    let chain = ChainedKeys::new(keys[0].clone()).then(keys[1].clone());
    let generation = |keys: &StaticKeys| (0..100_000).find(|number| keys.vouches_for(*number)).unwrap();
    for keys in &keys {
        assert!(chain.vouches_for(generation(keys)));
    }
    assert!(!chain.vouches_for(u64::MAX) && !ChainedKeys::default().vouches_for(0));
}

#[test]
fn keys_in_der() {
    use base64::Engine;
    let der = |pem: &str| {
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        base64::engine::general_purpose::STANDARD.decode(body).unwrap()
    };
    for (algorithm, pem) in [
        (Algorithm::Rs256, RSA_PUBLIC),
        (Algorithm::Ps512, RSA_PKCS1),
        (Algorithm::Es256, P256_PUBLIC),
        (Algorithm::Es384, P384_PUBLIC),
        (Algorithm::EdDsa, ED_PUBLIC),
    ] {
        let good = der(pem);
        assert_eq!(StaticKeys::der(algorithm, &good).unwrap().set().len(), 1, "{algorithm:?}");
        let cut = &good[..good.len() - 1];
        let long = [&good[..], &[0]].concat();
        for bad in [cut, &long, pem.as_bytes(), b""] {
            assert_eq!(StaticKeys::der(algorithm, bad).unwrap_err().field(), "der", "{algorithm:?}");
        }
        assert_eq!(StaticKeys::der(Algorithm::Hs256, &good).unwrap_err().field(), "der");
    }
    assert_eq!(StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap().set().len(), 1);
}

/// A modulus of as many bytes, of nothing but ones.
fn rsa(kid: &str, bytes: usize) -> String {
    let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
    format!(r#"{{"kty":"RSA","kid":"{kid}","alg":"RS256","n":"{n}","e":"AQAB"}}"#)
}

/// 4096 bits and one byte more: what every backend takes, and what only aws-lc-rs does.
const LENGTHS: [usize; 2] = [512, 513];

#[test]
fn a_key_that_the_backend_does_not_take_is_refused_when_it_is_loaded() {
    for backend in backends() {
        let build = |keys: &dyn Fn() -> ChainedKeys| {
            let issuer = Issuer::new("https://issuer.example", keys());
            Authenticator::builder().issuer(issuer).audience("api").backend(backend).build().map(drop)
        };
        let outcomes = LENGTHS.map(|bytes| {
            let jwk = StaticKeys::jwk(rsa("a", bytes).as_bytes()).unwrap();
            let set = format!(r#"{{"keys":[{},{}]}}"#, rsa("a", 256), rsa("b", bytes));
            let jwks = StaticKeys::jwks(set.as_bytes()).unwrap();
            let one = build(&|| ChainedKeys::new(jwk.clone()));
            assert_eq!(
                build(&|| ChainedKeys::new(StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap())
                    .then(jwks.clone())),
                one
            );
            one
        });
        assert_eq!(outcomes[0], Ok(()), "{backend:?}");
        if format!("{backend:?}") == "RustCrypto" {
            let error = outcomes[1].as_ref().unwrap_err();
            assert_eq!(error.field(), "backend");
            assert!(error.to_string().contains("more than 4096 bits"), "{error}");
        } else {
            assert_eq!(outcomes[1], Ok(()));
        }
    }
}

/// Fetched, it is left out like any other key that cannot be used.
#[tokio::test(start_paused = true)]
async fn a_fetched_key_that_the_backend_does_not_take_is_not_known() {
    for backend in backends() {
        let faults = LENGTHS.map(|bytes| async move {
            let answer: Answer = Arc::new(move || {
                let ed = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"{ED_X}"}}"#);
                Response::new(Full::from(format!(r#"{{"keys":[{},{ed}]}}"#, rsa("rsa", bytes))))
            });
            let remote = RemoteJwks::new("https://issuer.example/jwks".parse().unwrap(), Service(answer));
            let issuer = Issuer::remote("https://issuer.example", remote);
            let builder = Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock);
            let auth = builder.backend(backend).build().unwrap();
            assert!(auth.verify(&ed25519("ed", CLAIMS)).await.is_ok());
            let signed =
                [r#"{"alg":"RS256","kid":"rsa"}"#, CLAIMS].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
            let signature = URL_SAFE_NO_PAD.encode(vec![1; bytes]);
            auth.verify(&format!("{signed}.{signature}")).await.unwrap_err()
        });
        let [short, long] = faults;
        assert_eq!(short.await, TokenFault::Signature.into(), "{backend:?}");
        let own = format!("{backend:?}") == "RustCrypto";
        let expected = if own { TokenFault::UnknownKey } else { TokenFault::Signature };
        assert_eq!(long.await, expected.into(), "{backend:?}");
    }
}

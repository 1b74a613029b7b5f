//! Attacks by order and time: what was verified once is asked again.
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_auth::keys::{Algorithm, KeySource, Lookup};
use tower_auth::{AuthError, AuthLayer, Authenticator, Issuer, StaticKeys, TokenFault};

use crate::attacks::{
    ED, ED_JWK, ED_PUBLIC, HEADER, assert_accepted, assert_refused, backends, forge, good, hs, send, with,
};
use crate::support::{CLAIMS, NOW, SECRET, clock};

thread_local! {
    static TIME: Cell<u64> = const { Cell::new(NOW) };
}

fn movable() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(TIME.get())
}

fn hmac() -> StaticKeys {
    StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap()
}

fn fields(token: &str) -> Vec<Vec<u8>> {
    vec![format!("Bearer {token}").into_bytes()]
}

#[tokio::test]
async fn time_is_asked_at_every_use() {
    let token = fields(&hs(HEADER, CLAIMS.replace("\"sub\"", "\"nbf\":1800000000,\"sub\"")));
    for backend in backends() {
        let authenticator = Authenticator::builder()
            .issuer(Issuer::new("https://issuer.example", hmac()))
            .audience("api")
            .realm("example")
            .backend(backend)
            .wall_clock(movable);
        let layer = AuthLayer::new(authenticator.build().unwrap());
        for (at, fault) in [
            (NOW, None),
            (NOW + 359, None),
            (NOW + 360, Some(TokenFault::Expired)),
            // A clock that steps back makes it good again, and one that steps far back makes it too young.
            (NOW, None),
            (NOW - 60, None),
            (NOW - 61, Some(TokenFault::NotYetValid)),
            (NOW, None),
            (0, Some(TokenFault::NotYetValid)),
            (u64::from(u32::MAX) * 2, Some(TokenFault::Expired)),
            (NOW, None),
        ] {
            TIME.set(at);
            let (response, what) = (send(&layer, &token).await, format!("at {at}"));
            match fault {
                None => assert_accepted(&response, &what),
                Some(fault) => assert_refused(&response, &AuthError::InvalidToken(fault), &what),
            }
        }
    }
}

#[tokio::test]
async fn one_token_at_two_audiences() {
    let token = fields(&good());
    for backend in backends() {
        let layer = |audience| {
            let authenticator = Authenticator::builder()
                .issuer(Issuer::new("https://issuer.example", hmac()))
                .audience(audience)
                .realm("example")
                .backend(backend)
                .wall_clock(clock);
            AuthLayer::new(authenticator.build().unwrap())
        };
        let (api, other) = (layer("api"), layer("other"));
        for _ in 0..3 {
            assert_accepted(&send(&api, &token).await, "the audience");
            assert_refused(&send(&other, &token).await, &TokenFault::Audience.into(), "another");
        }
    }
}

#[tokio::test]
async fn revocation_reaches_tokens_that_were_verified_before() {
    let token = fields(&good());
    for backend in backends() {
        let revoked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&revoked);
        let authenticator = Authenticator::builder()
            .issuer(Issuer::new("https://issuer.example", hmac()))
            .audience("api")
            .realm("example")
            .backend(backend)
            .wall_clock(clock)
            .revoked(move |facts| facts.subject() == Some("alice") && asked.load(Ordering::SeqCst));
        let layer = AuthLayer::new(authenticator.build().unwrap());
        assert_accepted(&send(&layer, &token).await, "before");
        revoked.store(true, Ordering::SeqCst);
        assert_refused(&send(&layer, &token).await, &TokenFault::Revoked.into(), "after");
        revoked.store(false, Ordering::SeqCst);
        assert_accepted(&send(&layer, &token).await, "taken back");
    }
}

/// One `kid` at two issuers: the issuer that `iss` names must have the key, whoever else has it.
#[tokio::test]
async fn a_key_of_one_issuer_signs_nothing_for_another() {
    let key = |jwk: &str| StaticKeys::jwk(with(r#""kid":"a""#, jwk).as_bytes()).unwrap();
    for backend in backends() {
        let authenticator = Authenticator::builder()
            .issuer(Issuer::new("https://issuer.example", key(ED_JWK)))
            .issuer(Issuer::new("https://second.example", key(crate::attacks::P256_JWK)))
            .audience("api")
            .realm("example")
            .backend(backend)
            .wall_clock(clock);
        let layer = AuthLayer::new(authenticator.build().unwrap());
        let token = |algorithm: Algorithm, pem: &str, claims: &str| {
            let header = format!(r#"{{"alg":"{}","kid":"a"}}"#, algorithm.name());
            fields(&forge(algorithm, pem.as_bytes(), header, claims))
        };
        let second = CLAIMS.replace("issuer.example", "second.example");
        let (ed, p256) = (Algorithm::EdDsa, Algorithm::Es256);
        for _ in 0..2 {
            assert_accepted(&send(&layer, &token(ed, ED, CLAIMS)).await, "first");
            assert_accepted(&send(&layer, &token(p256, crate::attacks::P256, &second)).await, "second");
            for (changed, what) in [
                (token(ed, ED, &second), "the first's key for the second"),
                (token(p256, crate::attacks::P256, CLAIMS), "the second's key for the first"),
            ] {
                assert_refused(&send(&layer, &changed).await, &TokenFault::UnknownKey.into(), what);
            }
        }
    }
}

/// What a header led to at one issuer, or before the key of this name was another, says nothing: tokens of each with one
/// header, none of them seen before.
#[tokio::test]
async fn one_header_for_two_secrets() {
    let secrets: [&[u8]; 2] = [SECRET, &[8; 32]];
    let names = ["https://issuer.example", "https://second.example"];
    for backend in backends() {
        let keys = secrets.map(|secret| StaticKeys::hmac(Algorithm::Hs256, secret).unwrap());
        let current = Arc::new(Mutex::new(keys[0].clone()));
        let authenticator = |issuers: Vec<Issuer>| {
            let mut issuers = issuers.into_iter();
            let builder = Authenticator::builder().issuer(issuers.next().unwrap());
            let builder = issuers.fold(builder, tower_auth::AuthenticatorBuilder::issuer);
            AuthLayer::new(
                builder.audience("api").realm("example").backend(backend).wall_clock(clock).build().unwrap(),
            )
        };
        let two = authenticator(vec![
            Issuer::new(names[0], keys[0].clone()),
            Issuer::new(names[1], keys[1].clone()),
        ]);
        let changing = authenticator(vec![Issuer::new(names[0], Changing(Arc::clone(&current)))]);
        let mut number = 0;
        let mut token = |secret: usize, issuer: usize| {
            number += 1;
            let claims =
                CLAIMS.replace(names[0], names[issuer]).replacen('{', &format!(r#"{{"number":{number},"#), 1);
            fields(&forge(Algorithm::Hs256, secrets[secret], HEADER, claims))
        };
        for round in 0..6 {
            let (one, other) = (round % 2, 1 - round % 2);
            *current.lock().unwrap() = keys[one].clone();
            for (layer, issuer) in [(&two, one), (&changing, 0)] {
                assert_accepted(&send(layer, &token(one, issuer)).await, "its own");
                assert_refused(
                    &send(layer, &token(other, issuer)).await,
                    &TokenFault::Signature.into(),
                    "another's",
                );
            }
        }
    }
}

struct Changing(Arc<Mutex<StaticKeys>>);

impl KeySource for Changing {
    fn lookup(&self, kid: Option<&str>, algorithm: Algorithm, waited: bool) -> Lookup {
        self.0.lock().unwrap().lookup(kid, algorithm, waited)
    }
}

/// What is kept is kept by all of the token's bytes: nothing that shares a part of them is taken for it.
#[tokio::test]
async fn tokens_like_one_that_was_verified() {
    let token = good();
    let keys = || StaticKeys::pem(Algorithm::EdDsa, ED_PUBLIC.as_bytes()).unwrap();
    for backend in backends() {
        let layer = crate::attacks::Keys::Hs256.layer(backend);
        assert_accepted(&send(&layer, &fields(&token)).await, "kept");
        for position in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            let response = send(&layer, &fields(&changed)).await;
            assert_eq!(response.status(), 401, "byte {position} changed");
        }
        assert_accepted(&send(&layer, &fields(&token)).await, "still kept");
        // The same bytes at an authenticator with other keys are a token like any other.
        let authenticator = Authenticator::builder()
            .issuer(Issuer::new("https://issuer.example", keys()))
            .audience("api")
            .realm("example")
            .backend(backend)
            .wall_clock(clock);
        let other = AuthLayer::new(authenticator.build().unwrap());
        assert_refused(&send(&other, &fields(&token)).await, &TokenFault::UnknownKey.into(), "other keys");
    }
}

/// Valid tokens that are used once do not drive out the one in use.
#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_flood_of_valid_tokens_leaves_those_in_use() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let authenticator = Authenticator::builder()
        .issuer(Issuer::new("https://issuer.example", hmac()))
        .audience("api")
        .wall_clock(clock)
        // Room for about a hundred.
        .cache_bytes(128 * 1024);
    let layer = AuthLayer::new(authenticator.build().unwrap());
    let token = fields(&good());
    for _ in 0..50 {
        assert_accepted(&send(&layer, &token).await, "in use");
    }
    let hits = || {
        let counters = snapshotter.snapshot().into_vec();
        let of = |result: &str| {
            counters.iter().find_map(|(key, _, _, value)| {
                let hit = key.key().labels().any(|label| label.value() == result);
                match (hit, value) {
                    (true, DebugValue::Counter(count)) => Some(*count),
                    _ => None,
                }
            })
        };
        of("hit").unwrap_or(0)
    };
    hits();
    for number in 0..2_000 {
        let other = hs(HEADER, CLAIMS.replace("\"sub\"", &format!("\"jti\":\"{number}\",\"sub\"")));
        assert_accepted(&send(&layer, &fields(&other)).await, "once");
        if number % 10 == 0 {
            assert_accepted(&send(&layer, &token).await, "in use");
        }
    }
    let kept = hits();
    assert!(kept >= 190, "{kept} of 200 uses found the token");
}

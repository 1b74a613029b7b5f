//! Authentication beside jsonwebtoken's `decode`, tower-oauth2-resource-server and jwt-authorizer.
//!
//! `cargo bench --features auth --bench auth [-- FILTER]`. Rounds are interleaved: each contestant runs a few batches per
//! round, one after the other; the figures are medians of CPU time. "at once" is the first batch, which finds in the caches
//! of the processor what the contestant before has left; "then" is the last, as in a server that has nobody else's
//! authentication to do in between. Requests are made outside of what is timed; answers are read to the end and dropped
//! inside. Everybody gets the same tokens, the same eight fields and one extension, the same issuer, audience
//! and leeway, and the same claims type; who was called is asserted while it runs. aws-lc-rs computes the signatures for
//! tower-auth, jsonwebtoken and tower-oauth2-resource-server; jwt-authorizer 0.15 depends on jsonwebtoken 9 and ring.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use cpu_time::ThreadTime;
use http::{HeaderValue, Request, Response, StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use jwt_authorizer::{IntoLayer, JwtAuthorizer};
use peers::{Bare, Body, allocated, allocations, calls, count_allocations, request};
use serde::{Deserialize, Serialize};
use tower::{Layer, Service, ServiceExt};
use tower_auth::keys::{Algorithm as Ours, KeySet};
use tower_auth::verify::{Backend, verify_jws};
use tower_auth::{AuthLayer, Authenticator, Issuer, StaticKeys};
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;
use tower_oauth2_resource_server::validation::ClaimsValidationSpec;

#[global_allocator]
static COUNTING: peers::Counting = peers::Counting;

const BATCH: usize = 64;
const ROUNDS: usize = 300;
/// A table takes no longer.
const LONGEST: Duration = Duration::from_secs(20);
/// Batches of one contestant one after the other.
const STRETCH: usize = 4;
/// One of so many rounds counts allocations instead of time.
const COUNTED: usize = 10;
const ISSUER: &str = "https://issuer.example";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../../tower-auth/tests/it/keys/", $name))
    };
}

/// What a provider puts into an access token (RFC 9068 §2.2), and one claim of the application.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    client_id: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    scope: String,
    tenant: String,
}

fn claims(number: u64) -> Claims {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Claims {
        iss: ISSUER.into(),
        aud: "api".into(),
        sub: format!("248289761001-{number}"),
        client_id: "s6BhdRkqt3".into(),
        exp: now + 86_400,
        nbf: now,
        iat: now,
        jti: format!("dbe39bf3a3ba4238a513f51d6e1691c4-{number}"),
        scope: "openid profile orders:read orders:write".into(),
        tenant: "north".into(),
    }
}

/// One algorithm with its keys, as everybody wants them.
struct Setup {
    algorithm: Algorithm,
    ours: Ours,
    encoding: EncodingKey,
    decoding: DecodingKey,
    jwks: Option<String>,
    pem: &'static str,
}

fn jwks(jwk: &str, algorithm: &str) -> Option<String> {
    Some(format!(r#"{{"keys":[{}]}}"#, jwk.replacen('{', &format!(r#"{{"kid":"a","alg":"{algorithm}","#), 1)))
}

fn setups() -> Vec<Setup> {
    let rsa = (key!("rsa.pem"), key!("rsa.pub.pem"));
    let ec = (key!("p256.pem"), key!("p256.pub.pem"));
    let ed = (key!("ed25519.pem"), key!("ed25519.pub.pem"));
    vec![
        Setup {
            algorithm: Algorithm::HS256,
            ours: Ours::Hs256,
            encoding: EncodingKey::from_secret(SECRET),
            decoding: DecodingKey::from_secret(SECRET),
            jwks: None,
            pem: "",
        },
        Setup {
            algorithm: Algorithm::RS256,
            ours: Ours::Rs256,
            encoding: EncodingKey::from_rsa_pem(rsa.0.as_bytes()).unwrap(),
            decoding: DecodingKey::from_rsa_pem(rsa.1.as_bytes()).unwrap(),
            jwks: jwks(key!("rsa.jwk.json"), "RS256"),
            pem: rsa.1,
        },
        Setup {
            algorithm: Algorithm::EdDSA,
            ours: Ours::EdDsa,
            encoding: EncodingKey::from_ed_pem(ed.0.as_bytes()).unwrap(),
            decoding: DecodingKey::from_ed_pem(ed.1.as_bytes()).unwrap(),
            jwks: jwks(key!("ed25519.jwk.json"), "EdDSA"),
            pem: ed.1,
        },
        Setup {
            algorithm: Algorithm::ES256,
            ours: Ours::Es256,
            encoding: EncodingKey::from_ec_pem(ec.0.as_bytes()).unwrap(),
            decoding: DecodingKey::from_ec_pem(ec.1.as_bytes()).unwrap(),
            jwks: jwks(key!("p256.jwk.json"), "ES256"),
            pem: ec.1,
        },
    ]
}

impl Setup {
    fn token(&self, number: u64) -> String {
        let header =
            Header { kid: Some("a".into()), typ: Some("at+jwt".into()), ..Header::new(self.algorithm) };
        encode(&header, &claims(number), &self.encoding).unwrap()
    }

    fn authenticator(&self, cache_bytes: u64) -> Authenticator<Claims> {
        let keys = match &self.jwks {
            Some(jwks) => StaticKeys::jwks(jwks.as_bytes()).unwrap(),
            None => StaticKeys::hmac(self.ours, SECRET).unwrap(),
        };
        let builder = Authenticator::builder().issuer(Issuer::new(ISSUER, keys)).audience("api");
        builder.cache_bytes(cache_bytes).claims().build().unwrap()
    }
}

/// A contestant: runs one batch; nanoseconds of CPU time, allocations and bytes allocated, each for one.
type Run = Box<dyn FnMut() -> (f64, u64, u64)>;

fn measured(batch: usize, what: impl FnOnce()) -> (f64, u64, u64) {
    let (count, bytes, begun) = (allocations(), allocated(), ThreadTime::now());
    what();
    let taken = begun.elapsed().as_nanos() as f64 / batch as f64;
    let (count, bytes) = (allocations() - count, allocated() - bytes);
    (taken, count / batch as u64, bytes / batch as u64)
}

fn bearing(token: &str) -> Request<Body> {
    let mut request = request("/orders/7");
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    request
}

/// Ready, call, await, the whole body, drop.
fn serve<S, B>(mut service: S, mut next: impl FnMut() -> Request<Body> + 'static, status: StatusCode) -> Run
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body,
{
    Box::new(move || {
        let requests: Vec<Request<Body>> = (0..BATCH).map(|_| next()).collect();
        let called = calls();
        let result = measured(BATCH, || {
            let mut cx = Context::from_waker(Waker::noop());
            for request in requests {
                assert!(service.poll_ready(&mut cx).is_ready());
                let Poll::Ready(Ok(response)) = pin!(service.call(black_box(request))).poll(&mut cx) else {
                    panic!("nothing in here waits")
                };
                assert_eq!(response.status(), status);
                let mut body = pin!(response.into_body());
                while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
                    assert!(frame.is_ok());
                }
            }
        });
        let reached = if status == StatusCode::OK { BATCH as u64 } else { 0 };
        assert_eq!(calls() - called, reached, "who was called");
        result
    })
}

/// A function of a token.
fn each<T>(tokens: Arc<Vec<String>>, mut run: impl FnMut(&str) -> T + 'static) -> Run {
    let mut at = 0;
    Box::new(move || {
        measured(BATCH, || {
            for _ in 0..BATCH {
                at = (at + 1) % tokens.len();
                black_box(run(black_box(&tokens[at])));
            }
        })
    })
}

/// Every token in turn, by steps that leave no order for a cache to guess.
fn scattered(tokens: Arc<Vec<String>>) -> impl FnMut() -> Request<Body> {
    let mut at = 0;
    move || {
        at = (at + 7_919) % tokens.len();
        bearing(&tokens[at])
    }
}

struct Row(String, Run);

fn report(title: &str, filter: Option<&str>, rows: Vec<Row>) {
    if filter.is_some_and(|filter| !title.contains(filter)) {
        return;
    }
    let (names, mut runs): (Vec<String>, Vec<Run>) =
        rows.into_iter().map(|Row(name, run)| (name, run)).unzip();
    let mut first: Vec<Vec<(f64, u64, u64)>> = vec![Vec::new(); runs.len()];
    let (mut last, mut counted) = (first.clone(), first.clone());
    let begun = Instant::now();
    for round in 0..ROUNDS {
        // Tokens that are all new must all be signed.
        if begun.elapsed() > LONGEST {
            break;
        }
        // Counting takes as much time as the allocation does: no round does both.
        let counts = round % COUNTED == 0;
        count_allocations(counts);
        for (number, run) in runs.iter_mut().enumerate() {
            let results: Vec<_> = (0..STRETCH).map(|_| run()).collect();
            // The first ones warm up.
            match (round >= ROUNDS / 30, counts) {
                (true, true) => counted[number].push(results[STRETCH - 1]),
                (true, false) => {
                    first[number].push(results[0]);
                    last[number].push(results[STRETCH - 1]);
                }
                (false, _) => {}
            }
        }
    }
    count_allocations(true);
    println!("\n{title}");
    println!(
        "  {:<50} {:>9} {:>10} {:>9} {:>10} {:>7} {:>7}",
        "", "at once", "over first", "then", "over first", "allocs", "bytes"
    );
    let median = |results: &mut Vec<(f64, u64, u64)>| {
        results.sort_by(|a, b| a.0.total_cmp(&b.0));
        results[results.len() / 2]
    };
    // What a signature takes differs from round to round by more than what is done besides: only one round compares.
    let over_first = |results: &[Vec<(f64, u64, u64)>]| -> Vec<f64> {
        let differences =
            results.iter().map(|all| all.iter().zip(&results[0]).map(|(a, b)| (a.0 - b.0, 0, 0)));
        differences.map(|all| median(&mut all.collect()).0).collect()
    };
    let (first_over, last_over) = (over_first(&first), over_first(&last));
    let first: Vec<_> = first.iter_mut().map(median).collect();
    let last: Vec<_> = last.iter_mut().map(median).collect();
    let counted: Vec<_> = counted.iter_mut().map(median).collect();
    for (number, name) in names.iter().enumerate() {
        let (at_once, then) = (first[number].0, last[number].0);
        let ((_, count, bytes), (_, base_count, base_bytes)) = (counted[number], counted[0]);
        println!(
            "  {name:<50} {at_once:>9.0} {:>10.0} {then:>9.0} {:>10.0} {:>7} {:>7}",
            first_over[number],
            last_over[number],
            count.saturating_sub(base_count),
            bytes.saturating_sub(base_bytes)
        );
    }
}

/// Tokens that were verified before.
fn hits(filter: Option<&str>) {
    for setup in setups() {
        for count in [1_usize, 100, 10_000] {
            // Without a cache the number of tokens changes nothing; only one algorithm runs all sizes.
            if count != 100 && setup.algorithm != Algorithm::RS256 {
                continue;
            }
            let tokens: Arc<Vec<String>> =
                Arc::new((0..count as u64).map(|number| setup.token(number)).collect());
            let authenticator = setup.authenticator(256 << 20);
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..3 {
                for token in tokens.iter() {
                    let Poll::Ready(result) = pin!(authenticator.verify(token)).poll(&mut cx) else {
                        panic!()
                    };
                    assert_eq!(result.unwrap().claims().tenant, "north");
                }
            }
            let next = || scattered(Arc::clone(&tokens));
            let layer = AuthLayer::new(authenticator);
            let mut rows = vec![
                Row("bare service".into(), serve(Bare, next(), StatusCode::OK)),
                Row("tower-auth, hit".into(), serve(layer.layer(Bare), next(), StatusCode::OK)),
            ];
            rows.extend(rivals(&setup, &tokens));
            report(&format!("hit: {:?}, {count} tokens", setup.algorithm), filter, rows);
        }
    }
}

fn rivals(setup: &Setup, tokens: &Arc<Vec<String>>) -> Vec<Row> {
    let next = || scattered(Arc::clone(tokens));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut rows = Vec::new();
    if let Some(jwks) = &setup.jwks {
        let spec = ClaimsValidationSpec::new().iss(ISSUER).exp(true).nbf(true).aud(&vec!["api".into()]);
        let tenant =
            TenantConfiguration::static_builder(jwks.as_str()).claims_validation(spec).build().unwrap();
        let server = OAuth2ResourceServer::<Claims>::builder().add_tenant(tenant);
        let layer = runtime.block_on(server.build()).unwrap().into_layer();
        rows.push(Row(
            "tower-oauth2-resource-server 0.12".into(),
            serve(layer.layer(Bare), next(), StatusCode::OK),
        ));
    }
    let pem = setup.pem;
    let builder = match setup.algorithm {
        Algorithm::HS256 => JwtAuthorizer::<Claims>::from_secret(std::str::from_utf8(SECRET).unwrap()),
        Algorithm::RS256 => JwtAuthorizer::from_rsa_pem_text(pem),
        Algorithm::ES256 => JwtAuthorizer::from_ec_pem_text(pem),
        _ => JwtAuthorizer::from_ed_pem_text(pem),
    };
    let validation = jwt_authorizer::Validation::new().iss(&[ISSUER]).aud(&["api"]).nbf(true).leeway(60);
    let authorizer = runtime.block_on(builder.validation(validation).build()).unwrap();
    rows.push(Row(
        "jwt-authorizer 0.15".into(),
        serve(
            authorizer.into_layer().layer(Wrapped).map_response(|Answer(response)| response),
            next(),
            StatusCode::OK,
        ),
    ));
    rows
}

/// [`Bare`] with an answer that an error of jwt-authorizer can become.
#[derive(Clone)]
struct Wrapped;

struct Answer(Response<Body>);

impl From<jwt_authorizer::AuthError> for Answer {
    fn from(error: jwt_authorizer::AuthError) -> Self {
        panic!("refused: {error:?}")
    }
}

impl Service<Request<Body>> for Wrapped {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Bare.call(request).into_inner().map(Answer))
    }
}

/// Token to typed claims, signature included; beside the bare signature check.
fn tokens(filter: Option<&str>) {
    for setup in setups() {
        let tokens: Arc<Vec<String>> = Arc::new((0..100).map(|number| setup.token(number)).collect());
        let (algorithm, decoding) = (setup.algorithm, setup.decoding.clone());
        let parts = split(&tokens);
        let raw: Vec<Vec<u8>> = parts.iter().map(|(_, signature)| unbase64(signature)).collect();
        let provider = &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
        let (mut at, key) = (0, decoding.clone());
        let bare = each(Arc::clone(&tokens), move |_| {
            at = (at + 1) % parts.len();
            let verifier = (provider.verifier_factory)(&algorithm, &key).unwrap();
            assert!(verifier.verify(parts[at].0.as_bytes(), &raw[at]).is_ok());
        });
        let (mut at, parts) = (0, split(&tokens));
        let raw: Vec<Vec<u8>> = parts.iter().map(|(_, signature)| unbase64(signature)).collect();
        let is_good = kept(algorithm, &decoding);
        let prepared = each(Arc::clone(&tokens), move |_| {
            at = (at + 1) % parts.len();
            assert!(is_good(parts[at].0.as_bytes(), &raw[at]));
        });
        let (mut at, key, parts) = (0, decoding.clone(), split(&tokens));
        let least = each(Arc::clone(&tokens), move |_| {
            at = (at + 1) % parts.len();
            let verifier = (provider.verifier_factory)(&algorithm, &key).unwrap();
            let (signed, signature) = &parts[at];
            assert!(verifier.verify(signed.as_bytes(), &unbase64(signature)).is_ok());
            let payload = unbase64(signed.split_once('.').unwrap().1);
            serde_json::from_slice::<Claims>(&payload).unwrap()
        });
        let authenticator = setup.authenticator(0);
        let ours = each(Arc::clone(&tokens), move |token| {
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(result) = pin!(authenticator.verify(token)).poll(&mut cx) else { panic!() };
            assert_eq!(result.unwrap().claims().tenant, "north");
        });
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["api"]);
        validation.set_issuer(&[ISSUER]);
        validation.validate_nbf = true;
        let theirs = each(Arc::clone(&tokens), move |token| {
            let data = decode::<Claims>(token, &decoding, &validation).unwrap();
            assert_eq!(data.claims.tenant, "north");
        });
        let rows = vec![
            Row("signature alone".into(), bare),
            Row("signature alone, its key kept ready".into(), prepared),
            Row("signature, base64 and serde_json, no rules".into(), least),
            Row("tower-auth, verify without a cache".into(), ours),
            Row("jsonwebtoken 11.1, decode".into(), theirs),
        ];
        report(&format!("token to claims: {algorithm:?}, {} bytes", tokens[0].len()), filter, rows);
    }
}

/// aws-lc-rs itself, with a key that was read before.
fn kept(algorithm: Algorithm, key: &DecodingKey) -> Box<dyn Fn(&[u8], &[u8]) -> bool> {
    let key = key.try_get_as_bytes().unwrap();
    let public: &'static dyn VerificationAlgorithm = match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::EdDSA => &ED25519,
        _ => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            return Box::new(move |message, tag| hmac::verify(&key, message, tag).is_ok());
        }
    };
    let key = ParsedPublicKey::new(public, key).unwrap();
    Box::new(move |message, signature| key.verify_sig(message, signature).is_ok())
}

/// What is signed, and the signature.
fn split(tokens: &[String]) -> Vec<(String, String)> {
    let split = |token: &String| token.rsplit_once('.').map(|(one, two)| (one.into(), two.into())).unwrap();
    tokens.iter().map(split).collect()
}

fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The whole layer with tokens it has never seen, which it verifies and keeps.
fn misses(filter: Option<&str>) {
    for setup in setups() {
        let setup = Arc::new(setup);
        let fresh = |base: u64| {
            let (setup, mut number) = (Arc::clone(&setup), base << 32);
            move || {
                number += 1;
                bearing(&setup.token(number))
            }
        };
        let without = AuthLayer::new(setup.authenticator(0));
        let keeping = AuthLayer::new(setup.authenticator(16 << 20));
        let other = AuthLayer::new(setup.authenticator(16 << 20));
        let rows = vec![
            Row("bare service".into(), serve(Bare, fresh(1), StatusCode::OK)),
            Row("tower-auth, no cache".into(), serve(without.layer(Bare), fresh(2), StatusCode::OK)),
            Row("tower-auth, miss and insert".into(), serve(keeping.layer(Bare), fresh(3), StatusCode::OK)),
            Row("tower-auth, second use".into(), second_use(&other, Arc::clone(&setup))),
            Row("moka 0.12 alone, insert of token and claims".into(), moka_alone(setup.token(0))),
        ];
        report(&format!("miss: {:?}, every token new", setup.algorithm), filter, rows);
    }
}

/// What a cache that is told of every token does, without a layer: tokens of the same size as the others', in a cache of the
/// same bytes, which is full.
fn moka_alone(like: String) -> Run {
    type Entry = Arc<(String, Claims)>;
    let cache: moka::sync::Cache<u64, Entry> = moka::sync::Cache::builder()
        .max_capacity(16 << 20)
        .weigher(|_, entry: &Entry| entry.0.len() as u32 * 4 + 512)
        .build();
    let (mut number, mut full) = (0, false);
    Box::new(move || {
        let rounds = if full { 1 } else { 100 };
        full = true;
        let mut result = (0.0, 0, 0);
        for _ in 0..rounds {
            let entries: Vec<Entry> =
                (0..BATCH as u64).map(|more| Arc::new((like.clone(), claims(number + more)))).collect();
            result = measured(BATCH, || {
                for entry in entries {
                    number += 1;
                    cache.insert(number, black_box(entry));
                }
            });
        }
        result
    })
}

/// The use of a token that lets it stay, after its first, which is not timed.
fn second_use(layer: &AuthLayer<Claims>, setup: Arc<Setup>) -> Run {
    let used = Rc::new(RefCell::new(VecDeque::new()));
    let (again, mut number) = (Rc::clone(&used), 4 << 32);
    let fresh = move || {
        number += 1;
        let token = setup.token(number);
        used.borrow_mut().push_back(token.clone());
        bearing(&token)
    };
    let mut first = serve(layer.layer(Bare), fresh, StatusCode::OK);
    let next = move || bearing(&again.borrow_mut().pop_front().unwrap());
    let mut second = serve(layer.layer(Bare), next, StatusCode::OK);
    Box::new(move || {
        first();
        second()
    })
}

/// What does not get through.
fn refusals(filter: Option<&str>) {
    let setup = setups().swap_remove(1);
    let good = setup.token(0);
    for (name, token) in [
        ("of 1 MiB", "A".repeat(1 << 20)),
        ("of 1 MiB behind a good one", format!("{good}{}", "A".repeat(1 << 20))),
        ("of 15 KiB without dots", "A".repeat(15 << 10)),
        ("with a wrong signature", format!("{}AAAA", &good[..good.len() - 4])),
        ("of an unknown key", good.replacen(good.split('.').next().unwrap(), &unknown(), 1)),
    ] {
        let request = bearing(&token);
        let next = move || request.clone();
        let layer = AuthLayer::new(setup.authenticator(16 << 20));
        let rows = vec![
            Row("bare service".into(), serve(Bare, next.clone(), StatusCode::OK)),
            Row("tower-auth, refusal".into(), serve(layer.layer(Bare), next, StatusCode::UNAUTHORIZED)),
        ];
        report(&format!("refused: a token {name}"), filter, rows);
    }
}

fn unknown() -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"b","typ":"at+jwt"}"#)
}

/// One key among 10,000, by its id, against one alone: the whole of `verify_jws` with HS256.
fn keys(filter: Option<&str>) {
    let set = |count: usize| {
        let keys: Vec<String> = (0..count)
            .map(|number| {
                format!(r#"{{"kty":"oct","kid":"key-{number}","alg":"HS256","k":"{}"}}"#, secret(number))
            })
            .collect();
        KeySet::from_jwks(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
    };
    let tokens = |count: u64| {
        let tokens = (0..10_000_u64).map(|number| {
            let key = number * 7_919 % count;
            let header = Header { kid: Some(format!("key-{key}")), ..Header::new(Algorithm::HS256) };
            encode(&header, &claims(number), &EncodingKey::from_secret(&unbase64(&secret(key as usize))))
                .unwrap()
        });
        Arc::new(tokens.collect::<Vec<_>>())
    };
    let rows = [1_usize, 100, 10_000].map(|count| {
        let set = set(count);
        assert_eq!(set.len(), count);
        let run = each(tokens(count as u64), move |token| {
            assert!(verify_jws(token, &set, Backend::default()).is_ok());
        });
        Row(format!("{count} keys"), run)
    });
    report("key lookup, 10,000 tokens", filter, rows.into());
}

fn secret(number: usize) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{number:064}"))
}

fn main() {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let filter = filter.as_deref();
    for part in [hits, tokens, misses, refusals, keys] {
        part(filter);
    }
}

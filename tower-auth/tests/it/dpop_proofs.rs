//! Proofs made by hand: RFC 9449 §4.3 point by point, from a request that is accepted; thumbprints of RFC 7638.
use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::authenticator::state::Set;
use tower_auth::dpop::{DpopPolicy, MemoryReplayStore, ReplayStore};
use tower_auth::keys::Algorithm;
use tower_auth::layer::source::{BearerHeader, Cookie, FirstOf};
use tower_auth::{
    AuthError, AuthLayer, Authenticator, AuthenticatorBuilder, Claims, Issuer, StaticKeys, TokenFault,
};

use crate::attacks::{ED, ED_JWK, LONG, P256, P256_JWK, P384, P384_JWK, RSA, RSA_JWK, forge, with, x_of};
use crate::support::{CLAIMS, NOW, SECRET, clock, token};

/// A member of a JWK.
fn member(jwk: &str, name: &str) -> String {
    let rest = jwk.split_once(&format!("\"{name}\":\"")).unwrap().1;
    rest[..rest.find('"').unwrap()].to_owned()
}

fn sha256(text: &str) -> String {
    #[cfg(feature = "aws-lc-rs")]
    use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
    #[cfg(not(feature = "aws-lc-rs"))]
    use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
    let hash = jsonwebtoken::jwk::ThumbprintHash::SHA256;
    B64.encode((DEFAULT_PROVIDER.key_utils.compute_digest)(text.as_bytes(), hash).unwrap())
}

/// RFC 7638 §3.2: the required members, in lexical order, and nothing else.
fn thumbprint(jwk: &str) -> String {
    let get = |name: &str| member(jwk, name);
    sha256(&match get("kty").as_str() {
        "RSA" => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, get("e"), get("n")),
        "EC" => format!(r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#, get("crv"), get("x"), get("y")),
        _ => format!(r#"{{"crv":"{}","kty":"OKP","x":"{}"}}"#, get("crv"), get("x")),
    })
}

fn bound_to(thumbprint: &str) -> String {
    token(&CLAIMS.replace("\"sub\"", &format!("\"cnf\":{{\"jkt\":\"{thumbprint}\"}},\"sub\"")))
}

fn layer() -> AuthLayer {
    layer_of(|builder| builder)
}

type Builder = AuthenticatorBuilder<Claims, Set, Set>;

fn layer_of(change: impl FnOnce(Builder) -> Builder) -> AuthLayer {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let issuer = Issuer::new("https://issuer.example", keys);
    let builder = Authenticator::builder().issuer(issuer).audience("api").wall_clock(clock);
    let auth = change(builder).build().unwrap();
    AuthLayer::new(auth).dpop(DpopPolicy::builder("https://api.example".parse().unwrap()).build().unwrap())
}

/// The header and the claims of a proof, each as text, and what signs them.
#[derive(Clone)]
struct Proof {
    header: String,
    claims: String,
    algorithm: Algorithm,
    key: Vec<u8>,
}

impl Proof {
    fn new(algorithm: Algorithm, key: &str, jwk: &str, token: &str, id: usize) -> Self {
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"{}","jwk":{}}}"#, algorithm.name(), jwk.trim());
        let claims = format!(
            r#"{{"jti":"id-{id}","htm":"GET","htu":"https://api.example/a","iat":{NOW},"ath":"{}"}}"#,
            sha256(token)
        );
        Self { header, claims, algorithm, key: key.as_bytes().to_vec() }
    }

    fn text(&self) -> String {
        forge(self.algorithm, &self.key, &self.header, &self.claims)
    }
}

async fn send(layer: &AuthLayer, token: &str, proof: &str) -> Response<()> {
    send_as(layer, &[format!("DPoP {token}")], None, proof).await
}

async fn send_as(layer: &AuthLayer, fields: &[String], cookie: Option<&str>, proof: &str) -> Response<()> {
    let inner = service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let mut request = Request::get("/a?b").header("dpop", proof);
    for field in fields {
        request = request.header(header::AUTHORIZATION, field);
    }
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    layer.layer(inner).oneshot(request.body(Empty::new()).unwrap()).await.unwrap().map(drop)
}

fn error(response: &Response<()>) -> Option<AuthError> {
    response.extensions().get().cloned()
}

/// RFC 7638 §3.1: the key of the example has the thumbprint that the RFC prints; as the key of a proof, for which nobody
/// has the private half, it gets as far as its signature.
#[tokio::test]
async fn the_example_of_rfc_7638() {
    const RFC: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
    assert_eq!(thumbprint(RFC), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let token = bound_to("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let proof = Proof::new(Algorithm::Rs256, RSA, RFC, &token, 0);
    let refused = error(&send(&layer(), &token, &proof.text()).await);
    assert_eq!(refused, Some(AuthError::InvalidProof("The signature of the DPoP proof is not valid")));
}

/// RFC 9449 §4.1 and §6.2 and §7.1: the proof of figure 12 with the token of figure 13, about which the issuer says what
/// figure 11 has; and the proof for a token endpoint of figure 2, which is none for this request.
#[cfg(feature = "introspection")]
#[tokio::test]
async fn the_examples_of_rfc_9449() {
    const HEADER: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
    const RESOURCE: &str = "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    const ENDPOINT: &str = "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjY1Mjk2fQ.pAqut2IRDm_De6PR93SYmGBPXpwrAk90e8cP2hjiaG5QsGSuKDYW7_X620BxqhvYC8ynrrvZLTk41mSRroapUA";
    const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    const ANSWER: &str = r#"{"active":true,"sub":"someone@example.com","iss":"https://server.example.com","nbf":1562262611,"exp":1562266216,"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}"#;
    let endpoint = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(ANSWER)))
    });
    let uri = "https://server.example.com/introspect".parse().unwrap();
    let introspection = tower_auth::introspection::Introspection::builder(uri, "api", "secret", endpoint);
    let auth = Authenticator::builder()
        .introspect(introspection.build().unwrap())
        .danger_any_audience()
        .wall_clock(|| UNIX_EPOCH + Duration::from_secs(1_562_262_619))
        .build()
        .unwrap();
    let policy = DpopPolicy::builder("https://resource.example.org".parse().unwrap()).build().unwrap();
    let layer = AuthLayer::new(auth).dpop(policy);
    let send = async |payload: &str| {
        let inner = service_fn(async |request: Request<Empty<Bytes>>| {
            let verified = request
                .extensions()
                .get::<tower_auth::Verified>()
                .and_then(tower_auth::Verified::subject)
                .map(str::to_owned);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(verified.unwrap_or_default())))
        });
        let request = Request::get("/protectedresource")
            .header(header::AUTHORIZATION, format!("DPoP {TOKEN}"))
            .header("dpop", format!("{HEADER}.{payload}"));
        layer.layer(inner).oneshot(request.body(Empty::new()).unwrap()).await.unwrap()
    };
    let answer = send(RESOURCE).await;
    assert_eq!((answer.status(), answer.extensions().get::<AuthError>()), (StatusCode::OK, None));
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    assert_eq!(body, "someone@example.com");
    // Its signature is good, too: what is wrong with it is the request.
    let refused = send(ENDPOINT).await;
    let expected = AuthError::InvalidProof("The DPoP proof is for another method");
    assert_eq!(refused.extensions().get(), Some(&expected));
}

/// What a token is bound to is the thumbprint of the key in the proof, for each kind of key, whatever else its JWK says
/// and in whatever order.
#[tokio::test]
async fn tokens_are_bound_to_rfc_7638_thumbprints() {
    let layer = layer();
    let shuffled = |jwk: &str| {
        let mut members: Vec<&str> = jwk.trim().trim_matches(['{', '}']).split(',').collect();
        members.reverse();
        with(r#""kid":"any","use":"sig""#, &format!("{{{}}}", members.join(",")))
    };
    let keys = [
        (Algorithm::Rs256, RSA, RSA_JWK),
        (Algorithm::Ps256, RSA, RSA_JWK),
        (Algorithm::Es256, P256, P256_JWK),
        (Algorithm::Es384, P384, P384_JWK),
        (Algorithm::EdDsa, ED, ED_JWK),
    ];
    for (id, (algorithm, key, jwk)) in keys.into_iter().enumerate() {
        let token = bound_to(&thumbprint(jwk));
        for (further, jwk) in [jwk.to_owned(), shuffled(jwk)].into_iter().enumerate() {
            let proof = Proof::new(algorithm, key, &jwk, &token, 10 * id + further);
            let answer = send(&layer, &token, &proof.text()).await;
            assert_eq!((answer.status(), error(&answer)), (StatusCode::OK, None), "{algorithm:?} {jwk}");
        }
        // The name that the header gives its key is nobody's business, also where the key has another one.
        for (further, jwk) in [jwk.to_owned(), shuffled(jwk)].into_iter().enumerate() {
            let mut proof = Proof::new(algorithm, key, &jwk, &token, 10 * id + 3 + further);
            replace(&mut proof, r#"{"typ""#, r#"{"kid":"other","typ""#);
            assert_eq!(send(&layer, &token, &proof.text()).await.status(), StatusCode::OK, "{algorithm:?}");
        }
        // `Ed25519` is the newer name of the same (RFC 9864 §2.2), which newer clients sign by.
        if algorithm == Algorithm::EdDsa {
            let mut proof = Proof::new(algorithm, key, jwk, &token, 10 * id + 5);
            replace(&mut proof, "EdDSA", "Ed25519");
            assert_eq!(send(&layer, &token, &proof.text()).await.status(), StatusCode::OK);
        }
        // Bound to another key: good proof, good token, wrong pair.
        let other = bound_to(&thumbprint(if id == 2 { P384_JWK } else { P256_JWK }));
        let proof = Proof::new(algorithm, key, jwk, &other, 10 * id + 2);
        let refused = error(&send(&layer, &other, &proof.text()).await);
        assert_eq!(refused, Some(AuthError::InvalidToken(TokenFault::SenderConstrained)), "{algorithm:?}");
    }
}

type Change = fn(&mut Proof);

/// RFC 9449 §4.3, points 2 to 7: the header of the proof.
const HEADERS: [(&str, Change, &str); 26] = [
    ("typ of another kind", |p| replace(p, "dpop+jwt", "at+jwt"), "The DPoP proof is of another type"),
    ("typ in another case", |p| replace(p, "dpop+jwt", "DPoP+jwt"), "The DPoP proof is of another type"),
    ("no typ", |p| replace(p, r#""typ":"dpop+jwt","#, ""), "The DPoP proof is of another type"),
    (
        "typ of the wrong type",
        |p| replace(p, r#""dpop+jwt""#, r#"["dpop+jwt"]"#),
        "The DPoP proof is malformed",
    ),
    ("alg none", |p| replace(p, "ES256", "none"), "The DPoP proof is malformed"),
    ("no alg", |p| replace(p, r#""alg":"ES256","#, ""), "The DPoP proof is malformed"),
    ("alg in another case", |p| replace(p, "ES256", "es256"), "The DPoP proof is malformed"),
    (
        "alg of another curve",
        |p| replace(p, "ES256", "ES384"),
        "The signature of the DPoP proof is not valid",
    ),
    (
        "signed by a secret",
        |p| {
            replace(p, "ES256", "HS256");
            (p.algorithm, p.key) = (Algorithm::Hs256, LONG.to_vec());
        },
        "The DPoP proof is not signed by a key pair",
    ),
    (
        "a secret in place of the key",
        |p| {
            let jwk = jwk_of(p);
            replace(p, &jwk, &format!(r#"{{"kty":"oct","k":"{}"}}"#, B64.encode(LONG)));
        },
        "The DPoP proof brings a private key",
    ),
    (
        "no key",
        |p| {
            let jwk = jwk_of(p);
            replace(p, &format!(r#","jwk":{jwk}"#), "");
        },
        "The DPoP proof brings no key",
    ),
    (
        "null for a key",
        |p| {
            let jwk = jwk_of(p);
            replace(p, &jwk, "null");
        },
        "The DPoP proof brings no key",
    ),
    (
        "a text for a key",
        |p| {
            let jwk = jwk_of(p);
            replace(p, &jwk, "\"key\"");
        },
        "The DPoP proof is malformed",
    ),
    (
        "private member d",
        |p| replace(p, r#""jwk":{"#, r#""jwk":{"d":"AAAA","#),
        "The DPoP proof brings a private key",
    ),
    (
        "private member p",
        |p| replace(p, r#""jwk":{"#, r#""jwk":{"p":"AAAA","#),
        "The DPoP proof brings a private key",
    ),
    (
        "private member q",
        |p| replace(p, r#""jwk":{"#, r#""jwk":{"q":"AAAA","#),
        "The DPoP proof brings a private key",
    ),
    (
        "private member dp",
        |p| replace(p, r#""jwk":{"#, r#""jwk":{"dp":"AAAA","#),
        "The DPoP proof brings a private key",
    ),
    (
        "private member dq",
        |p| replace(p, r#""jwk":{"#, r#""jwk":{"dq":"AAAA","#),
        "The DPoP proof brings a private key",
    ),
    (
        "private member qi",
        |p| replace(p, r#""jwk":{"#, r#""jwk":{"qi":"AAAA","#),
        "The DPoP proof brings a private key",
    ),
    (
        "private member oth",
        |p| replace(p, r#""jwk":{"#, r#""jwk":{"oth":[],"#),
        "The DPoP proof brings a private key",
    ),
    (
        "private member k",
        |p| replace(p, r#""jwk":{"#, r#""jwk":{"k":"AAAA","#),
        "The DPoP proof brings a private key",
    ),
    (
        "a key for encryption",
        |p| replace(p, r#""jwk":{"#, r#""jwk":{"use":"enc","#),
        "The key of the DPoP proof is not accepted",
    ),
    (
        "a coordinate that is no point of the key",
        |p| {
            let x = x_of(P256_JWK);
            replace(p, &x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        },
        "The signature of the DPoP proof is not valid",
    ),
    ("crit", |p| replace(p, r#"{"typ""#, r#"{"crit":["exp"],"typ""#), "The DPoP proof is malformed"),
    ("the key twice", |p| replace(p, r#"{"typ""#, r#"{"jwk":{},"typ""#), "The DPoP proof is malformed"),
    ("b64", |p| replace(p, r#"{"typ""#, r#"{"b64":false,"typ""#), "The DPoP proof is malformed"),
];

fn replace(proof: &mut Proof, from: &str, to: &str) {
    let changed = proof.header.replacen(from, to, 1);
    assert_ne!(changed, proof.header, "{from}");
    proof.header = changed;
}

fn jwk_of(proof: &Proof) -> String {
    let rest = proof.header.split_once(r#""jwk":"#).unwrap().1;
    rest[..=rest.find('}').unwrap()].to_owned()
}

/// Points 8 to 12: the claims.
const CLAIM_CHANGES: [(&str, &str, &str, &str); 14] = [
    ("another method", "GET", "POST", "The DPoP proof is for another method"),
    ("another host", "api.example", "evil.example", "The DPoP proof is for another URI"),
    ("another port", "api.example", "api.example:8443", "The DPoP proof is for another URI"),
    ("no port at all", "api.example", "api.example:99999", "The DPoP proof is for another URI"),
    ("another path", "/a\"", "/b\"", "The DPoP proof is for another URI"),
    ("another scheme", "https:", "http:", "The DPoP proof is for another URI"),
    ("no URI", r#""htu":"https://api.example/a","#, "", "A claim of the DPoP proof is missing"),
    ("no method", r#""htm":"GET","#, "", "A claim of the DPoP proof is missing"),
    ("no id", r#""jti":"id-1","#, "", "A claim of the DPoP proof is missing"),
    ("no time", r#""iat":1800000000,"#, "", "A claim of the DPoP proof is missing"),
    ("too old", "1800000000", "1799999929", "The DPoP proof is too old or from the future"),
    ("from the future", "1800000000", "1800000011", "The DPoP proof is too old or from the future"),
    ("another token", r#""ath":""#, r#""ath":"A"#, "The DPoP proof is for another token"),
    ("a claim twice", r#"{"jti""#, r#"{"jti":"x","jti""#, "The DPoP proof is malformed"),
];

#[tokio::test]
async fn one_change_to_an_accepted_proof_is_refused() {
    let layer = layer();
    let token = bound_to(&thumbprint(P256_JWK));
    let good = |id| Proof::new(Algorithm::Es256, P256, P256_JWK, &token, id);
    let check = async |name: &str, text: &str, reason: &'static str| {
        let answer = send(&layer, &token, text).await;
        let expected = (StatusCode::UNAUTHORIZED, Some(AuthError::InvalidProof(reason)));
        assert_eq!((answer.status(), error(&answer)), expected, "{name}");
        let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
        assert!(
            challenge.starts_with(r#"DPoP realm="api", error="invalid_dpop_proof", "#),
            "{name}: {challenge}"
        );
        assert!(challenge.contains(r#"algs="ES256"#), "{name}: {challenge}");
    };
    for (id, (name, change, reason)) in HEADERS.into_iter().enumerate() {
        let mut proof = good(100 + id);
        assert_eq!(send(&layer, &token, &proof.text()).await.status(), StatusCode::OK, "{name}");
        change(&mut proof);
        check(name, &proof.text(), reason).await;
    }
    for (name, from, to, reason) in CLAIM_CHANGES {
        let mut proof = good(1);
        let changed = proof.claims.replacen(from, to, 1);
        assert_ne!(changed, proof.claims, "{name}");
        proof.claims = changed;
        check(name, &proof.text(), reason).await;
    }
    // None of them has spent the id.
    let proof = good(1).text();
    for (name, bad) in [
        ("cut", proof[..proof.len() - 4].to_owned()),
        ("without a signature", proof[..=proof.rfind('.').unwrap()].to_owned()),
        ("no JWS", "proof".to_owned()),
        ("empty", String::new()),
        ("too long", format!("{proof}{}", "A".repeat(16 * 1024))),
    ] {
        let answer = send(&layer, &token, &bad).await;
        assert!(matches!(error(&answer), Some(AuthError::InvalidProof(_))), "{name}");
    }
    assert_eq!(send(&layer, &token, &proof).await.status(), StatusCode::OK);
    // The edges of the time are accepted.
    for (id, iat) in [(200, NOW - 70), (201, NOW + 10)] {
        let mut proof = good(id);
        proof.claims = proof.claims.replace(&NOW.to_string(), &iat.to_string());
        assert_eq!(send(&layer, &token, &proof.text()).await.status(), StatusCode::OK, "{iat}");
    }
}

/// Whoever has no token can have proofs verified: not with keys that make that dear.
#[tokio::test]
async fn a_proof_by_a_key_that_is_dear_to_verify_is_refused_unseen() {
    let token = bound_to(&thumbprint(RSA_JWK));
    let good = Proof::new(Algorithm::Rs256, RSA, RSA_JWK, &token, 0);
    assert_eq!(send(&layer(), &token, &good.text()).await.status(), StatusCode::OK);
    let seen = "The signature of the DPoP proof is not valid";
    let unseen = "The key of the DPoP proof is not accepted";
    let modulus = |bytes: usize| B64.encode(vec![0xff; bytes]);
    for (name, value, expected) in [
        ("n", modulus(512), seen),
        ("n", modulus(513), unseen),
        ("n", modulus(1_024), unseen),
        ("e", B64.encode([1, 0, 3]), unseen),
        ("e", B64.encode([0xff; 4]), unseen),
    ] {
        let mut bad = good.clone();
        replace(&mut bad, &member(RSA_JWK, name), &value);
        let refused = send(&layer(), &token, &bad.text()).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(error(&refused), Some(AuthError::InvalidProof(expected)), "{name} {}", value.len());
    }
}

/// A good proof says nothing about the certificate that a token is bound to besides (RFC 8705 §3).
#[tokio::test]
async fn a_proof_is_not_enough_for_a_token_bound_to_a_certificate_too() {
    let token = bound_to(&thumbprint(P256_JWK));
    let proof = |token: &str, id| Proof::new(Algorithm::Es256, P256, P256_JWK, token, id).text();
    assert_eq!(send(&layer(), &token, &proof(&token, 1)).await.status(), StatusCode::OK);
    let jkt = format!(r#""cnf":{{"jkt":"{}""#, thumbprint(P256_JWK));
    let both = crate::support::token(&CLAIMS.replace(
        "\"sub\"",
        &format!(r#"{jkt},"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}},"sub""#),
    ));
    let answer = send(&layer(), &both, &proof(&both, 2)).await;
    assert_eq!(error(&answer), Some(AuthError::InvalidToken(TokenFault::SenderConstrained)));
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let behind = || layer_of(Builder::danger_ignore_certificate_binding);
    assert_eq!(send(&behind(), &both, &proof(&both, 3)).await.status(), StatusCode::OK);
    // As a bearer token it stays refused.
    let bearer = send_as(&behind(), &[format!("Bearer {both}")], None, "").await;
    assert_eq!(error(&bearer), Some(AuthError::InvalidToken(TokenFault::SenderConstrained)));
}

/// Proofs are verified by the backend of the authenticator, whichever it is.
#[tokio::test]
async fn each_backend_verifies_proofs() {
    for backend in crate::attacks::backends() {
        let layer = layer_of(|builder| builder.backend(backend));
        let keys = [
            (Algorithm::Rs256, RSA, RSA_JWK),
            (Algorithm::Es256, P256, P256_JWK),
            (Algorithm::EdDsa, ED, ED_JWK),
        ];
        for (id, (algorithm, key, jwk)) in keys.into_iter().enumerate() {
            let token = bound_to(&thumbprint(jwk));
            let proof = Proof::new(algorithm, key, jwk, &token, id).text();
            assert_eq!(send(&layer, &token, &proof).await.status(), StatusCode::OK, "{backend:?}");
            let again = send(&layer, &token, &proof).await;
            let expected = Some(AuthError::InvalidProof("The DPoP proof was used before"));
            assert_eq!(error(&again), expected, "{backend:?}");
        }
    }
}

/// One way for each request, and one `Authorization`, here too.
#[tokio::test]
async fn proofs_beside_other_credentials() {
    let layer = layer().token_source(FirstOf::new(BearerHeader).or(Cookie::new("token")));
    let token = bound_to(&thumbprint(P256_JWK));
    let good = |id| Proof::new(Algorithm::Es256, P256, P256_JWK, &token, id).text();
    let dpop = format!("DPoP {token}");
    assert_eq!(
        send_as(&layer, std::slice::from_ref(&dpop), Some("a=b"), &good(1)).await.status(),
        StatusCode::OK
    );
    let plain = crate::support::token(CLAIMS);
    let cookie = format!("token={plain}");
    assert_eq!(send_as(&layer, &[], Some(&cookie), &good(2)).await.status(), StatusCode::OK);
    let twice = [dpop.clone(), format!("Bearer {plain}")];
    let reversed = [twice[1].clone(), twice[0].clone()];
    let requests: [(&str, &[String], Option<&str>); 5] = [
        ("a cookie besides", &twice[..1], Some(&cookie)),
        ("DPoP and Bearer", &twice, None),
        ("Bearer and DPoP", &reversed, None),
        ("DPoP twice", &[dpop.clone(), dpop.clone()], None),
        ("two words", &[format!("{dpop} x")], None),
    ];
    for (id, (name, fields, cookie)) in requests.into_iter().enumerate() {
        let answer = send_as(&layer, fields, cookie, &good(10 + id)).await;
        assert!(matches!(error(&answer), Some(AuthError::InvalidRequest(_))), "{name}: {:?}", error(&answer));
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{name}");
    }
}

/// Without a token both ways are offered (RFC 9449 §7.1), and after a token that is not good, too.
#[tokio::test]
async fn both_schemes_are_offered() {
    let layer = layer();
    let token = bound_to(&thumbprint(P256_JWK));
    let proof = Proof::new(Algorithm::Es256, P256, P256_JWK, &token, 1).text();
    assert_eq!(send(&layer, &token, &proof).await.status(), StatusCode::OK);
    let challenges = |answer: &Response<()>| -> Vec<String> {
        let values = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
        values.map(|value: &HeaderValue| value.to_str().unwrap().to_owned()).collect()
    };
    let algs = r#"algs="ES256 ES384 Ed25519 EdDSA RS256 PS256""#;
    let missing = send_as(&layer, &[], None, &proof).await;
    assert_eq!(
        challenges(&missing),
        [r#"Bearer realm="api""#.to_owned(), format!(r#"DPoP realm="api", {algs}"#)]
    );
    let bearer = send_as(&layer, &[format!("Bearer {token}")], None, &proof).await;
    assert_eq!(error(&bearer), Some(AuthError::InvalidToken(TokenFault::SenderConstrained)));
    let said =
        r#"error="invalid_token", error_description="The access token is bound to a key of its sender""#;
    let expected = [format!(r#"Bearer realm="api", {said}"#), format!(r#"DPoP realm="api", {said}, {algs}"#)];
    assert_eq!(challenges(&bearer), expected);
}

/// What its documentation promises: a steady stream at the default age finds room, for as long as it lasts.
#[test]
fn the_store_has_room_for_the_stream_it_promises() {
    let store = MemoryReplayStore::new(10_000);
    let id = |number: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        id
    };
    let at = |second: u64| -> SystemTime { UNIX_EPOCH + Duration::from_secs(second) };
    for second in 0..600 {
        for number in 0..140 {
            let id = id(second * 140 + number);
            assert!(store.first(id, at(second), at(second + 70)), "second {second}");
            assert!(!store.first(id, at(second), at(second + 70)), "second {second}, again");
        }
        // Still remembered in its last second.
        if second >= 70 {
            assert!(!store.first(id((second - 70) * 140), at(second), at(second + 70)), "second {second}");
        }
    }
}

//! Attacks. Each rule is a pair of requests that differ in one thing: the first is let in, the second is refused with
//! exactly this error, status and challenge. Every rule runs on each backend that is compiled in.
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use jsonwebtoken::EncodingKey;
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::keys::Algorithm;
use tower_auth::verify::Backend;
use tower_auth::{
    AuthError, AuthLayer, Authenticator, AuthenticatorBuilder, Issuer, StaticKeys, TokenFault, TokenType,
    Verified,
};

use crate::support::{CLAIMS, SECRET, clock};

pub(crate) const RSA: &str = include_str!("keys/rsa.pem");
pub(crate) const RSA_PUBLIC: &str = include_str!("keys/rsa.pub.pem");
pub(crate) const RSA_PKCS1: &str = include_str!("keys/rsa.pkcs1.pem");
pub(crate) const RSA_JWK: &str = include_str!("keys/rsa.jwk.json");
pub(crate) const OTHER_RSA: &str = include_str!("keys/other_rsa.pem");
pub(crate) const P256: &str = include_str!("keys/p256.pem");
pub(crate) const P256_PUBLIC: &str = include_str!("keys/p256.pub.pem");
pub(crate) const P256_JWK: &str = include_str!("keys/p256.jwk.json");
pub(crate) const P384: &str = include_str!("keys/p384.pem");
pub(crate) const P384_PUBLIC: &str = include_str!("keys/p384.pub.pem");
pub(crate) const P384_JWK: &str = include_str!("keys/p384.jwk.json");
pub(crate) const ED: &str = include_str!("keys/ed25519.pem");
pub(crate) const ED_PUBLIC: &str = include_str!("keys/ed25519.pub.pem");
pub(crate) const ED_JWK: &str = include_str!("keys/ed25519.jwk.json");
/// Long enough for every HMAC.
pub(crate) const LONG: &[u8] = &[7; 64];

pub(crate) fn backends() -> Vec<Backend> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        Backend::AwsLcRs,
        #[cfg(feature = "rust-crypto")]
        Backend::RustCrypto,
    ]
}

/// `jwk` with further members in front.
pub(crate) fn with(members: &str, jwk: &str) -> String {
    jwk.replacen('{', &format!("{{{members},"), 1)
}

/// The signature of `text` by the private key of that algorithm above, or by `secret`.
pub(crate) fn signature(algorithm: Algorithm, key: &[u8], text: &[u8]) -> Vec<u8> {
    #[cfg(feature = "aws-lc-rs")]
    use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
    #[cfg(not(feature = "aws-lc-rs"))]
    use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
    let (encoding, theirs) = match algorithm.name() {
        name if name.starts_with("HS") => (EncodingKey::from_secret(key), name),
        name if name.starts_with("ES") => (EncodingKey::from_ec_pem(key).unwrap(), name),
        "EdDSA" => (EncodingKey::from_ed_pem(key).unwrap(), "EdDSA"),
        name => (EncodingKey::from_rsa_pem(key).unwrap(), name),
    };
    let signer = (DEFAULT_PROVIDER.signer_factory)(&theirs.parse().unwrap(), &encoding).unwrap();
    signer.try_sign(text).unwrap()
}

/// A token of any header and payload with a good signature.
pub(crate) fn forge(
    algorithm: Algorithm,
    key: &[u8],
    header: impl AsRef<[u8]>,
    payload: impl AsRef<[u8]>,
) -> String {
    let signed = format!("{}.{}", B64.encode(header), B64.encode(payload));
    let signature = B64.encode(signature(algorithm, key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// What an authenticator of the rules has for keys and settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Keys {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Ps256,
    Es256,
    Es384,
    EdDsa,
    /// An RSA, two P-256 and an Ed25519 key with the ids `rsa`, `ec`, `ec2`, `ed`, without `alg`.
    Set,
    /// Only `at+jwt`.
    Strict,
    /// Tokens at most ten minutes old.
    MaxAge,
    /// Two issuers, with HMAC and Ed25519.
    Two,
    Optional,
}

impl Keys {
    fn builder(self) -> AuthenticatorBuilder<tower_auth::Claims, tower_auth::authenticator::state::Set> {
        let keys = match self {
            Self::Hs256 | Self::Strict | Self::MaxAge | Self::Optional | Self::Two => {
                StaticKeys::hmac(Algorithm::Hs256, SECRET)
            }
            Self::Hs384 => StaticKeys::hmac(Algorithm::Hs384, LONG),
            Self::Hs512 => StaticKeys::hmac(Algorithm::Hs512, LONG),
            Self::Rs256 => StaticKeys::pem(Algorithm::Rs256, RSA_PUBLIC.as_bytes()),
            Self::Ps256 => StaticKeys::pem(Algorithm::Ps256, RSA_PKCS1.as_bytes()),
            Self::Es256 => StaticKeys::pem(Algorithm::Es256, P256_PUBLIC.as_bytes()),
            Self::Es384 => StaticKeys::pem(Algorithm::Es384, P384_PUBLIC.as_bytes()),
            Self::EdDsa => StaticKeys::pem(Algorithm::EdDsa, ED_PUBLIC.as_bytes()),
            Self::Set => {
                let second = P256_JWK.replace(&x_of(P256_JWK), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
                let keys = [
                    with(r#""kid":"rsa""#, RSA_JWK),
                    with(r#""kid":"ec""#, P256_JWK),
                    with(r#""kid":"ec2""#, &second),
                    with(r#""kid":"ed""#, ED_JWK),
                ];
                StaticKeys::jwks(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
            }
        };
        let builder = Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys.unwrap()));
        match self {
            Self::Strict => builder.token_type(TokenType::AccessToken),
            Self::MaxAge => builder.max_age(std::time::Duration::from_secs(600)),
            Self::Two => builder.issuer(Issuer::new(
                "https://second.example",
                StaticKeys::pem(Algorithm::EdDsa, ED_PUBLIC.as_bytes()).unwrap(),
            )),
            _ => builder,
        }
    }

    pub(crate) fn layer(self, backend: Backend) -> AuthLayer {
        let authenticator = self.builder().audience("api").realm("example").backend(backend);
        let layer = AuthLayer::new(authenticator.wall_clock(clock).build().unwrap());
        if self == Self::Optional { layer.optional() } else { layer }
    }
}

/// The value of `x` in a JWK of the test keys.
pub(crate) fn x_of(jwk: &str) -> String {
    let rest = jwk.split_once(r#""x":""#).unwrap().1;
    rest[..rest.find('"').unwrap()].to_owned()
}

/// The `Authorization` fields of a request.
pub(crate) type Fields = Vec<Vec<u8>>;

pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) keys: Keys,
    pub(crate) accepted: Fields,
    pub(crate) changed: Fields,
    pub(crate) error: AuthError,
}

impl Rule {
    /// Two tokens, each in a request of its own.
    pub(crate) fn token(
        name: &'static str,
        keys: Keys,
        accepted: &str,
        changed: &str,
        fault: TokenFault,
    ) -> Self {
        let fields = |token: &str| vec![format!("Bearer {token}").into_bytes()];
        let (accepted, changed) = (fields(accepted), fields(changed));
        Self { name, keys, accepted, changed, error: AuthError::InvalidToken(fault) }
    }
}

async fn hello(request: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let verified = request.extensions().get::<Verified>();
    Ok(Response::new(Full::from(verified.and_then(Verified::subject).unwrap_or("nobody").to_owned())))
}

pub(crate) async fn send(layer: &AuthLayer, fields: &Fields) -> Response<Bytes> {
    let mut request = Request::new(Empty::new());
    for field in fields {
        // `from_bytes` admits what a server would pass on; the rest never reaches a layer.
        request.headers_mut().append(header::AUTHORIZATION, HeaderValue::from_bytes(field).unwrap());
    }
    let (parts, body) = layer.layer(service_fn(hello)).oneshot(request).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

/// Whoever was let in.
pub(crate) fn assert_accepted(response: &Response<Bytes>, what: &str) {
    let error = response.extensions().get::<AuthError>();
    assert_eq!((response.status(), error), (StatusCode::OK, None), "{what}: not accepted");
    assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE), "{what}");
    assert_eq!(response.body(), "alice", "{what}");
}

/// The exact error, its status, and the challenge of RFC 6750 §3.
pub(crate) fn assert_refused(response: &Response<Bytes>, error: &AuthError, what: &str) {
    let (status, code) = match error {
        AuthError::MissingToken => (StatusCode::UNAUTHORIZED, None),
        AuthError::InvalidToken(_) => (StatusCode::UNAUTHORIZED, Some("invalid_token")),
        AuthError::InvalidRequest(_) => (StatusCode::BAD_REQUEST, Some("invalid_request")),
        other => panic!("{other:?} is not among the rules"),
    };
    assert_eq!(response.extensions().get(), Some(error), "{what}");
    assert_eq!(response.status(), status, "{what}");
    let challenge = match code {
        None => r#"Bearer realm="example""#.to_owned(),
        Some(code) => format!(r#"Bearer realm="example", error="{code}", error_description="{error}""#),
    };
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], challenge, "{what}");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store", "{what}");
    assert_ne!(response.body(), "alice", "{what}: got through");
}

/// Runs the rules on each backend.
pub(crate) async fn run(rules: &[Rule]) {
    for backend in backends() {
        let mut layers: HashMap<Keys, AuthLayer> = HashMap::new();
        for rule in rules {
            let layer = layers.entry(rule.keys).or_insert_with(|| rule.keys.layer(backend));
            let what = format!("{} ({backend:?})", rule.name);
            assert_ne!(rule.accepted, rule.changed, "{what}: changes nothing");
            assert_accepted(&send(layer, &rule.accepted).await, &what);
            assert_refused(&send(layer, &rule.changed).await, &rule.error, &what);
            // The refusal has left nothing behind that would refuse the good one.
            assert_accepted(&send(layer, &rule.accepted).await, &what);
        }
    }
}

/// HS256 with the claims everybody accepts.
pub(crate) fn hs(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    forge(Algorithm::Hs256, SECRET, header, payload)
}

pub(crate) const HEADER: &str = r#"{"alg":"HS256","typ":"at+jwt"}"#;

/// The token everybody accepts.
pub(crate) fn good() -> String {
    hs(HEADER, CLAIMS)
}

#[test]
fn at_least_two_hundred_distinct_rules() {
    let rules = [
        crate::attacks_header::rules(),
        crate::attacks_kid::rules(),
        crate::attacks_confusion::rules(),
        crate::attacks_signature::rules(),
        crate::attacks_claims::rules(),
        crate::attacks_json::rules(),
        crate::attacks_transport::rules(),
    ];
    let keys = crate::attacks_keys::rules().len();
    let names: HashSet<&str> = rules.iter().flatten().map(|rule| rule.name).collect();
    let total: usize = rules.iter().map(Vec::len).sum();
    assert_eq!(names.len(), total, "each rule has a name of its own");
    println!("{total} rules for tokens, {keys} for keys");
    assert!(total + keys >= 200, "{total} and {keys}");
}

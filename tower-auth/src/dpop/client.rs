//! The client side: a key pair, and a proof for each request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use jsonwebtoken::EncodingKey;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{ALGORITHM, NONCE, PROOF, hash, random, random_bytes, seconds};
use crate::client::{Bodiless, Buffering, Rejected, Replay, Replayable};
use crate::error::ConfigError;
use crate::policy::challenge::{Credentials, credentials_of};
use crate::policy::dpop::normalised;
use crate::verify::Backend;

/// Nonces of so many servers are remembered.
const MAX_NONCES: usize = 64;

/// An ES256 key pair that tokens are bound to, with the nonces servers asked for. A cheap handle; the key never leaves
/// it.
#[derive(Clone)]
pub struct DpopKey {
    shared: Arc<Key>,
}

struct Key {
    pair: EncodingKey,
    /// The public key as the header of each proof has it.
    header: String,
    thumbprint: String,
    /// By origin (RFC 9449 §8: nonces of one server are not for another).
    nonces: Mutex<Vec<(String, String)>>,
}

impl DpopKey {
    /// A new key pair, for the life of this process. Tokens bound to it die with it.
    ///
    /// # Errors
    ///
    /// When the backend makes no key.
    pub fn generate() -> Result<Self, ConfigError> {
        // PKCS#8 (RFC 5208 §5) around an `ECPrivateKey` (RFC 5915 §3) on P-256 without its public key.
        let mut der = vec![0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
        der.extend([6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20]);
        der.extend(random_bytes::<32>());
        Self::from_pair(EncodingKey::from_ec_der(&der), "generate")
    }

    /// A key pair on P-256 in PEM (PKCS#8), for tokens that outlive this process.
    ///
    /// # Errors
    ///
    /// When this is no such key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ConfigError> {
        let pair =
            EncodingKey::from_ec_pem(pem).map_err(|_| ConfigError::new("from_pem", "not a private key"))?;
        Self::from_pair(pair, "from_pem")
    }

    fn from_pair(pair: EncodingKey, field: &'static str) -> Result<Self, ConfigError> {
        let unusable = || ConfigError::new(field, "not a key on P-256 that the backend accepts");
        let (x, y) = Backend::default().public_point(&pair).ok_or_else(unusable)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let thumbprint = hash(jwk.as_bytes(), Backend::default());
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"{}","jwk":{jwk}}}"#, ALGORITHM.name());
        Ok(Self { shared: Arc::new(Key { pair, header, thumbprint, nonces: Mutex::default() }) })
    }

    /// What tokens are bound to: `jkt` (RFC 9449 §6.1).
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.shared.thumbprint
    }

    /// A proof for this request (RFC 9449 §4.2). `None` when its URI is not absolute.
    fn proof(&self, parts: &Parts, nonce: Option<&str>, now: SystemTime) -> Option<HeaderValue> {
        let uri = normalised(&parts.uri)?;
        let text = |text: &str| serde_json::to_string(text).ok();
        let mut claims = format!(
            r#"{{"jti":"{}","htm":{},"htu":{},"iat":{}"#,
            random(),
            text(parts.method.as_str())?,
            text(&uri)?,
            seconds(now)
        );
        if let Credentials::Token(token) = bound_token(parts) {
            claims.push_str(&format!(r#","ath":"{}""#, hash(token.as_bytes(), Backend::default())));
        }
        if let Some(nonce) = nonce {
            claims.push_str(&format!(r#","nonce":{}"#, text(nonce)?));
        }
        claims.push('}');
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(&self.shared.header), URL_SAFE_NO_PAD.encode(claims));
        let signature = Backend::default().sign(&self.shared.pair, ALGORITHM, signed.as_bytes())?;
        HeaderValue::try_from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))).ok()
    }

    fn nonce(&self, origin: &str) -> Option<String> {
        let nonces = self.shared.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.iter().find(|(known, _)| known == origin).map(|(_, nonce)| nonce.clone())
    }

    /// Keeps the nonce an answer brought; whether it did.
    fn learn(&self, origin: &str, headers: &HeaderMap) -> bool {
        // RFC 9449 §8.1: NQCHAR, which is visible ASCII without quote and backslash.
        let fit = |nonce: &&str| {
            (1..=256).contains(&nonce.len())
                && nonce.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
        };
        let Some(nonce) = headers.get(NONCE).and_then(|value| value.to_str().ok()).filter(fit) else {
            return false;
        };
        let mut nonces = self.shared.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.retain(|(known, _)| known != origin);
        if nonces.len() == MAX_NONCES {
            nonces.remove(0);
        }
        nonces.push((origin.to_owned(), nonce.to_owned()));
        true
    }
}

impl fmt::Debug for DpopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpopKey").field("thumbprint", &self.thumbprint()).finish_non_exhaustive()
    }
}

/// Puts a proof on every request. Around the service that [`ClientCredentials`](crate::client::ClientCredentials) asks
/// for tokens, with [`dpop`](crate::client::ClientCredentialsBuilder::dpop) said there, and below
/// [`BearerLayer`](crate::client::BearerLayer), with the same key. A server that asks for a nonce gets one more attempt
/// with it, if the request can be repeated; the nonce is remembered for the next ones. Requests whose URI is not absolute
/// go without a proof.
#[derive(Debug, Clone)]
pub struct DpopLayer<Y = Bodiless> {
    key: DpopKey,
    replay: Y,
    clock: fn() -> SystemTime,
}

impl DpopLayer {
    /// Proofs by this key; requests without a body are repeated when a nonce is asked for.
    #[must_use]
    pub fn new(key: DpopKey) -> Self {
        Self { key, replay: Bodiless, clock: SystemTime::now }
    }
}

impl<Y> DpopLayer<Y> {
    /// Which requests may be repeated with a nonce; a token endpoint needs [`UpTo`](crate::client::UpTo) some bytes.
    #[must_use]
    pub fn replay<Z>(self, replay: Z) -> DpopLayer<Z> {
        DpopLayer { key: self.key, replay, clock: self.clock }
    }

    /// The wall clock for `iat`. `SystemTime::now` by default.
    #[must_use]
    pub fn wall_clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.clock = clock;
        self
    }
}

impl<S, Y: Clone> Layer<S> for DpopLayer<Y> {
    type Service = Dpop<S, Y>;

    fn layer(&self, inner: S) -> Dpop<S, Y> {
        Dpop { inner, layer: self.clone() }
    }
}

/// The service of [`DpopLayer`].
#[derive(Debug, Clone)]
pub struct Dpop<S, Y = Bodiless> {
    inner: S,
    layer: DpopLayer<Y>,
}

/// What makes proofs.
#[derive(Clone)]
struct Prover {
    key: DpopKey,
    clock: fn() -> SystemTime,
    origin: String,
    /// Whether the request brings a bound token, so that it is for a resource and not for a token endpoint.
    with_token: bool,
}

impl Prover {
    fn prove<B>(&self, mut parts: Parts, body: B) -> Request<B> {
        let nonce = self.key.nonce(&self.origin);
        if let Some(proof) = self.key.proof(&parts, nonce.as_deref(), (self.clock)()) {
            parts.headers.insert(PROOF, proof);
        }
        Request::from_parts(parts, body)
    }

    /// RFC 9449 §8 (token endpoint: 400 with the error in the body) and §9 (401 with a challenge).
    fn must_repeat<R>(&self, response: &Response<R>) -> bool {
        let before = self.key.nonce(&self.origin);
        let learned = self.key.learn(&self.origin, response.headers());
        let asked = match response.status() {
            // Of a resource a 400 is about the request itself.
            StatusCode::BAD_REQUEST => !self.with_token,
            StatusCode::UNAUTHORIZED => crate::policy::unauthorized::asks_for_nonce(
                response.headers().get_all(header::WWW_AUTHENTICATE),
            ),
            _ => false,
        };
        learned && asked && self.key.nonce(&self.origin) != before
    }
}

impl<S, Y, B, R> Service<Request<B>> for Dpop<S, Y>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    Y: Replay<B>,
{
    type Response = Response<R>;
    type Error = crate::client::Error<S::Error>;
    type Future = DpopFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(crate::client::Error::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let origin = parts.uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
        let (key, clock) = (self.layer.key.clone(), self.layer.clock);
        let with_token = matches!(bound_token(&parts), Credentials::Token(_));
        let prover = Prover { key, clock, origin: origin.unwrap_or_default(), with_token };
        let state = match self.layer.replay.copy(&parts, body) {
            Replayable::No(body) => {
                State::First { future: self.inner.call(prover.prove(parts, body)), prover, again: None }
            }
            Replayable::Yes { first, second } => send(&mut self.inner, prover, parts, (first, second)),
            Replayable::After(reading) => {
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                State::Reading { reading, held: Some((service, prover, parts)) }
            }
        };
        DpopFuture { state }
    }
}

/// What `Authorization: DPoP` holds, if that is what there is.
fn bound_token(parts: &Parts) -> Credentials<'_> {
    let value = parts.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    credentials_of("DPoP", value)
}

fn send<S, B, R>(service: &mut S, prover: Prover, parts: Parts, bodies: (B, B)) -> State<S, B, S::Future>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    let again = Some((service.clone(), parts.clone(), bodies.1));
    State::First { future: service.call(prover.prove(parts, bodies.0)), prover, again }
}

pin_project! {
    /// The future of [`Dpop`].
    pub struct DpopFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    #[allow(clippy::large_enum_variant, reason = "boxing would cost every request an allocation")]
    enum State<S, B, F> {
        Reading { reading: Buffering<B>, held: Option<(S, Prover, Parts)> },
        First { #[pin] future: F, prover: Prover, again: Option<(S, Parts, B)> },
        // The proof is made when the service is ready: it must not grow old before.
        Ready { service: S, prover: Prover, held: Option<(Parts, B)> },
        Last { #[pin] future: F, prover: Prover },
        Refused { rejected: Option<Rejected> },
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for DpopFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DpopFuture")
    }
}

impl<S, B, R> Future for DpopFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Output = Result<Response<R>, crate::client::Error<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        use crate::client::Error;
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Reading { reading, held } => {
                    let bodies = ready!(reading.as_mut().poll(cx));
                    let Some((mut service, prover, parts)) = held.take() else { return Poll::Pending };
                    match bodies {
                        Ok(bodies) => send(&mut service, prover, parts, bodies),
                        Err(rejected) => State::Refused { rejected: Some(rejected) },
                    }
                }
                StateProj::First { future, prover, again } => {
                    let response = ready!(future.poll(cx)).map_err(Error::Inner)?;
                    match (prover.must_repeat(&response), again.take()) {
                        (true, Some((service, parts, body))) => {
                            State::Ready { service, prover: prover.clone(), held: Some((parts, body)) }
                        }
                        _ => return Poll::Ready(Ok(response)),
                    }
                }
                StateProj::Ready { service, prover, held } => {
                    ready!(service.poll_ready(cx)).map_err(Error::Inner)?;
                    let Some((parts, body)) = held.take() else { return Poll::Pending };
                    State::Last { future: service.call(prover.prove(parts, body)), prover: prover.clone() }
                }
                StateProj::Last { future, prover } => {
                    let response = ready!(future.poll(cx)).map_err(Error::Inner)?;
                    prover.key.learn(&prover.origin, response.headers());
                    return Poll::Ready(Ok(response));
                }
                StateProj::Refused { rejected } => match rejected.take() {
                    Some(rejected) => return Poll::Ready(Err(Error::Rejected(rejected))),
                    None => return Poll::Pending,
                },
            };
            state.set(next);
        }
    }
}

//! Tokens, clocks and bodies for the tests.
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use jsonwebtoken::{Algorithm, EncodingKey};

pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const CLAIMS: &str = r#"{"iss":"https://issuer.example","aud":"api","sub":"alice","exp":1800000300,"iat":1800000000,"scope":"read write"}"#;
/// RFC 8037 A.1.
pub(crate) const ED_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
pub(crate) const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

pub(crate) fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

#[cfg(feature = "aws-lc-rs")]
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
#[cfg(not(feature = "aws-lc-rs"))]
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

fn sign(header: &str, claims: &str, algorithm: Algorithm, key: &EncodingKey) -> String {
    let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
    let signer = (DEFAULT_PROVIDER.signer_factory)(&algorithm, key).unwrap();
    let signature = signer.try_sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", B64.encode(signature))
}

pub(crate) fn hs256(header: &str, claims: &str) -> String {
    sign(header, claims, Algorithm::HS256, &EncodingKey::from_secret(SECRET))
}

pub(crate) fn token(claims: &str) -> String {
    hs256(r#"{"alg":"HS256","typ":"at+jwt"}"#, claims)
}

pub(crate) fn ed25519(kid: &str, claims: &str) -> String {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend(B64.decode(ED_D).unwrap());
    let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#);
    sign(&header, claims, Algorithm::EdDSA, &EncodingKey::from_ed_der(&der))
}

/// A body in pieces of one size, each some time after the one before.
pub(crate) struct Pieces {
    left: usize,
    piece: Bytes,
    apart: Duration,
    sleep: Pin<Box<tokio::time::Sleep>>,
    /// How many were asked for.
    pub(crate) given: Arc<Mutex<usize>>,
    /// The length that it says it has.
    pub(crate) announced: Option<u64>,
}

impl Pieces {
    pub(crate) fn new(count: usize, piece: Bytes, apart: Duration) -> Self {
        let sleep = Box::pin(tokio::time::sleep(apart));
        Self { left: count, piece, apart, sleep, given: Arc::default(), announced: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.apart.is_zero() {
            std::task::ready!(self.sleep.as_mut().poll(cx));
            let next = tokio::time::Instant::now() + self.apart;
            self.sleep.as_mut().reset(next);
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        *self.given.lock().unwrap() += 1;
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// All that is logged at any level while this runs.
#[cfg(feature = "tracing")]
pub(crate) async fn logged(work: impl Future) -> String {
    use std::io::Write;
    use std::sync::LazyLock;

    use tracing::{Dispatch, subscriber::NoSubscriber};

    // While there is one subscriber alone, `tracing` asks whichever thread comes by a line first whether anybody wants it,
    // and a thread that does not listen says no for all.
    static OTHERS: LazyLock<[Dispatch; 2]> =
        LazyLock::new(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::default())));
    LazyLock::force(&OTHERS);

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    work.await;
    drop(guard);
    let log = sink.0.lock().unwrap().clone();
    String::from_utf8(log).unwrap()
}

//! Tokens that others mint are accepted, and of tokens changed by chance nothing is accepted that they all refuse.
//!
//! `TOWER_AUTH_NODE` names a folder with npm's `jose`, `TOWER_AUTH_PYTHON` one with `pyjwt[crypto]` and `authlib`; where
//! they are not set, both are installed below the target folder, once.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::{Value, json};
use tower_auth::keys::Algorithm;
use tower_auth::verify::Backend;
use tower_auth::{Authenticator, Issuer, StaticKeys};

const CLAIMS: &str = r#"{"iss":"https://issuer.example","aud":"api","sub":"alice","exp":1800000300,"iat":1800000000,"scope":"read write"}"#;
const SECRET: [u8; 64] = [7; 64];

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../it/keys/", $name))
    };
}

/// The folder that `variable` names, or one of our own after running `install` with it as its last argument.
fn folder(variable: &str, name: &str, probe: &str, install: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = std::env::var_os(variable) {
        return folder.into();
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !folder.join(probe).exists() {
        let mut command = Command::new(install[0]);
        command.args(&install[1..]).arg(&folder).stdout(Stdio::null());
        // The network may fail once.
        let installed = (0..3).any(|_| command.status().is_ok_and(|status| status.success()));
        assert!(installed, "{install:?} failed; or set {variable}");
    }
    folder
}

/// Another implementation, a line for a line.
struct Oracle {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut oracle = Self { child, input, output: BufReader::new(output) };
        let keys: serde_json::Map<String, Value> =
            ALGORITHMS.iter().map(|(algorithm, _)| (algorithm.name().to_owned(), jwk(*algorithm))).collect();
        assert_eq!(oracle.ask(&[json!({ "jwks": keys })]), ["ok"]);
        oracle
    }

    fn node() -> Self {
        let install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "jose@6", "--prefix"];
        let folder = folder("TOWER_AUTH_NODE", "auth-node", "node_modules/jose", &install);
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/differential.mjs")).arg(folder);
        Self::start(command)
    }

    fn python() -> Self {
        let packages = ["pyjwt[crypto]==2.*", "authlib==1.*"];
        let install = ["python3", "-m", "pip", "install", "--quiet", packages[0], packages[1], "--target"];
        let folder = folder("TOWER_AUTH_PYTHON", "auth-python", "jwt", &install);
        let mut command = Command::new("python3");
        command.arg("-W").arg("ignore").env("PYTHONPATH", folder);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/differential.py"));
        Self::start(command)
    }

    fn ask(&mut self, lines: &[Value]) -> Vec<String> {
        let mut answers = Vec::new();
        // Few enough at once that neither pipe fills up.
        for some in lines.chunks(16) {
            for line in some {
                writeln!(self.input, "{line}").unwrap();
            }
            self.input.flush().unwrap();
            for _ in some {
                let mut answer = String::new();
                self.output.read_line(&mut answer).unwrap();
                assert!(answer.ends_with('\n'), "the other side has gone");
                answers.push(answer.trim_end().to_owned());
            }
        }
        answers
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ALGORITHMS: [(Algorithm, &str); 12] = [
    (Algorithm::Hs256, ""),
    (Algorithm::Hs384, ""),
    (Algorithm::Hs512, ""),
    (Algorithm::Rs256, key!("rsa.pem")),
    (Algorithm::Rs384, key!("rsa.pem")),
    (Algorithm::Rs512, key!("rsa.pem")),
    (Algorithm::Ps256, key!("rsa.pem")),
    (Algorithm::Ps384, key!("rsa.pem")),
    (Algorithm::Ps512, key!("rsa.pem")),
    (Algorithm::Es256, key!("p256.pem")),
    (Algorithm::Es384, key!("p384.pem")),
    (Algorithm::EdDsa, key!("ed25519.pem")),
];

fn jwk(algorithm: Algorithm) -> Value {
    let text = match algorithm.name() {
        name if name.starts_with("HS") => return json!({ "kty": "oct", "k": B64.encode(SECRET) }),
        "ES256" => key!("p256.jwk.json"),
        "ES384" => key!("p384.jwk.json"),
        "EdDSA" => key!("ed25519.jwk.json"),
        _ => key!("rsa.jwk.json"),
    };
    serde_json::from_str(text).unwrap()
}

fn authenticator(algorithm: Algorithm, backend: Backend) -> Authenticator {
    let mut key = jwk(algorithm);
    key["alg"] = algorithm.name().into();
    let keys = StaticKeys::jwk(key.to_string().as_bytes()).unwrap();
    Authenticator::builder()
        .issuer(Issuer::new("https://issuer.example", keys))
        .audience("api")
        .backend(backend)
        // Nothing is to be remembered: every token is looked at whole.
        .cache_bytes(0)
        .wall_clock(|| UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .build()
        .unwrap()
}

fn backends() -> Vec<Backend> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        Backend::AwsLcRs,
        #[cfg(feature = "rust-crypto")]
        Backend::RustCrypto,
    ]
}

fn mint(oracle: &mut Oracle, by: &str) -> Vec<(Algorithm, String)> {
    let claims: Value = serde_json::from_str(CLAIMS).unwrap();
    let ask = |(algorithm, pem): &(Algorithm, &str)| {
        let secret = if pem.is_empty() { B64.encode(SECRET) } else { String::new() };
        json!({ "mint": algorithm.name(), "by": by, "pem": pem, "secret": secret, "claims": claims })
    };
    let tokens = oracle.ask(&ALGORITHMS.iter().map(ask).collect::<Vec<_>>());
    ALGORITHMS.iter().map(|(algorithm, _)| *algorithm).zip(tokens).collect()
}

#[tokio::test]
async fn tokens_minted_by_others_are_accepted() {
    let (mut node, mut python) = (Oracle::node(), Oracle::python());
    for (by, tokens) in [
        ("jose", mint(&mut node, "jose")),
        ("pyjwt", mint(&mut python, "pyjwt")),
        ("authlib", mint(&mut python, "authlib")),
    ] {
        for (algorithm, token) in tokens {
            for backend in backends() {
                let verified = authenticator(algorithm, backend).verify(&token).await;
                let verified =
                    verified.unwrap_or_else(|error| panic!("{by}, {algorithm:?}, {backend:?}: {error}"));
                assert_eq!((verified.subject(), verified.has_scope("write")), (Some("alice"), true));
            }
        }
    }
}

/// Random numbers enough for this (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

const PIECES: [&str; 16] = [
    "\"exp\":1800000300",
    "\"nbf\":1",
    "\"aud\":[\"api\"]",
    "\"alg\":\"none\"",
    "\"crit\":[]",
    "null",
    "\"\"",
    "{}",
    "[]",
    "1e9",
    "\\u0061",
    ",",
    "}",
    "\u{e9}",
    "\"kid\":1",
    "\"iat\":1800000000.5",
];

/// A change to the text of the header, of the claims, or of the token; text is signed again half of the time.
fn mutate(chance: &mut Chance, token: &str, sign: impl Fn(&str) -> Vec<u8>) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let which = chance.below(4);
    if which >= 2 {
        let mut bytes = token.to_owned().into_bytes();
        for _ in 0..=chance.below(2) {
            change(chance, &mut bytes);
        }
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let mut text = B64.decode(parts[which]).unwrap();
    for _ in 0..=chance.below(2) {
        change(chance, &mut text);
    }
    let mut encoded = [parts[0].to_owned(), parts[1].to_owned()];
    encoded[which] = B64.encode(text);
    let signed = encoded.join(".");
    let signature = if chance.below(2) == 0 { parts[2].to_owned() } else { B64.encode(sign(&signed)) };
    format!("{signed}.{signature}")
}

fn change(chance: &mut Chance, bytes: &mut Vec<u8>) {
    let at = chance.below(bytes.len().max(1)).min(bytes.len());
    match chance.below(5) {
        0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 => bytes.insert(at, b"\"{}[],:.=-_ A0\0\xff"[chance.below(16)]),
        3 => {
            let end = (at + chance.below(12)).min(bytes.len());
            let copied = bytes[at..end].to_vec();
            let to = chance.below(bytes.len() + 1);
            bytes.splice(to..to, copied);
        }
        _ => {
            let piece = PIECES[chance.below(PIECES.len())].bytes();
            bytes.splice(at..at, piece);
        }
    }
}

fn hmac(text: &str) -> Vec<u8> {
    #[cfg(feature = "aws-lc-rs")]
    use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
    #[cfg(not(feature = "aws-lc-rs"))]
    use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
    let key = jsonwebtoken::EncodingKey::from_secret(&SECRET);
    let signer = (DEFAULT_PROVIDER.signer_factory)(&jsonwebtoken::Algorithm::HS256, &key).unwrap();
    signer.try_sign(text.as_bytes()).unwrap()
}

/// 2,000 tokens; 100,000 with `TOWER_ASSURE`.
#[tokio::test]
async fn nothing_is_accepted_that_all_others_refuse() {
    let count = if std::env::var_os("TOWER_ASSURE").is_some() { 100_000 } else { 2_000 };
    let (mut node, mut python) = (Oracle::node(), Oracle::python());
    let minted = mint(&mut node, "jose");
    let backend = Backend::default();
    let mut chance = Chance(0x5eed);
    let (mut accepted, mut theirs, mut stricter) = (0, 0, 0);
    for round in 0..count / 1_000 {
        // Three of four by HMAC, which can be signed again here; the rest by every algorithm in turn.
        let tokens: Vec<(Algorithm, String)> = (0..1_000)
            .map(|number| {
                let (algorithm, token) = &minted[if number % 4 > 0 { 0 } else { (number / 4 + round) % 12 }];
                (*algorithm, mutate(&mut chance, token, hmac))
            })
            .collect();
        let asked: Vec<Value> = tokens
            .iter()
            .map(|(algorithm, token)| json!({ "token": token, "alg": algorithm.name() }))
            .collect();
        let (jose, pyjwt) = (node.ask(&asked), python.ask(&asked));
        for (((algorithm, token), jose), pyjwt) in tokens.iter().zip(jose).zip(pyjwt) {
            let ours = authenticator(*algorithm, backend).verify(token).await.is_ok();
            let others = jose == "1" || pyjwt == "1";
            assert!(!ours || others, "accepted here alone: {algorithm:?} {token}");
            accepted += usize::from(ours);
            theirs += usize::from(others);
            stricter += usize::from(others && !ours);
        }
    }
    println!(
        "{count} tokens: accepted here {accepted}, by one of the others {theirs}, of which refused here {stricter}"
    );
    assert!(
        accepted > count / 100 && count - accepted > count / 2,
        "the changes are neither too small nor too large"
    );
}

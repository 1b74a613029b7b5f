//! The signature step with published examples, and with classes of defects like those of the Wycheproof JOSE vectors made
//! from them: 0 false accepts, and every false reject named.
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde::Deserialize;
use serde_json::Value;
use tower_auth::keys::{Algorithm, KeySet};
use tower_auth::verify::{Backend, verify_jws};
use tower_auth::{Authenticator, Issuer, StaticKeys, TokenFault, TokenType};

use crate::attacks::{P256_JWK, RSA, RSA_PUBLIC, backends, forge, signature, with};

/// RFC 7515 appendix A.1 to A.5, RFC 7520 §4.1 to §4.4, RFC 8037 A.4: name, public key, compact JWS.
#[derive(Deserialize)]
struct Vector {
    name: String,
    key: Value,
    jws: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

/// Rejected although the RFC calls them good: P-521 is not supported, and unsecured tokens never are.
const REJECTED: [(&str, TokenFault); 3] = [
    ("RFC 7515 A.4", TokenFault::Algorithm),
    ("RFC 7515 A.5", TokenFault::Signature),
    ("RFC 7520 4.3", TokenFault::Algorithm),
];

fn rejected(name: &str) -> Option<TokenFault> {
    REJECTED.iter().find(|(rejected, _)| *rejected == name).map(|(_, fault)| *fault)
}

fn set(keys: &[String]) -> KeySet {
    KeySet::from_jwks(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
}

#[test]
fn published_examples() {
    for backend in backends() {
        let mut accepted = 0;
        for Vector { name, key, jws } in vectors() {
            let keys = set(&[key.to_string()]);
            let result = verify_jws(&jws, &keys, backend);
            if let Some(fault) = rejected(&name) {
                assert_eq!(result, Err(fault), "{name}");
                continue;
            }
            let parts: Vec<_> = jws.split('.').map(|part| B64.decode(part).unwrap()).collect();
            let verified = result.unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
            assert_eq!((verified.header, verified.payload), (parts[0].clone(), parts[1].clone()), "{name}");
            accepted += 1;
        }
        assert_eq!(accepted, 7);
    }
}

/// RFC 7519 §3.1 is RFC 7515 A.1 with claims, which expired in 2011.
#[tokio::test]
async fn the_example_of_rfc_7519() {
    let Vector { key, jws, .. } = vectors().swap_remove(0);
    let verify = async |clock| {
        let keys = StaticKeys::jwk(key.to_string().as_bytes()).unwrap();
        let builder = Authenticator::builder().issuer(Issuer::new("joe", keys)).danger_any_audience();
        builder.wall_clock(clock).build().unwrap().verify(&jws).await
    };
    let verified = verify(|| UNIX_EPOCH + Duration::from_secs(1_300_819_379)).await.unwrap();
    assert_eq!(verified.claims().all["http://example.com/is_root"], true);
    let late = verify(|| UNIX_EPOCH + Duration::from_secs(1_300_819_440)).await;
    assert_eq!(late.unwrap_err(), TokenFault::Expired.into());
}

/// The claims and the header of RFC 9068 §2.2.3.1, with a key of ours.
#[tokio::test]
async fn the_example_of_rfc_9068() {
    const HEADER: &str = r#"{"typ":"at+JWT","alg":"RS256","kid":"RjEwOwOA"}"#;
    const CLAIMS: &str = r#"{"iss": "https://authorization-server.example.com/", "sub": "5ba552d67", "aud": "https://rs.example.com/", "exp": 1639528912, "iat": 1618354090, "jti" : "dbe39bf3a3ba4238a513f51d6e1691c4", "client_id": "s6BhdRkqt3", "scope": "openid profile reademail"}"#;
    let token = forge(Algorithm::Rs256, RSA.as_bytes(), HEADER, CLAIMS);
    let keys = StaticKeys::pem(Algorithm::Rs256, RSA_PUBLIC.as_bytes()).unwrap();
    let authenticator = Authenticator::builder()
        .issuer(Issuer::new("https://authorization-server.example.com/", keys))
        .audience("https://rs.example.com/")
        .token_type(TokenType::AccessToken)
        .wall_clock(|| UNIX_EPOCH + Duration::from_secs(1_618_354_091))
        .build()
        .unwrap();
    let verified = authenticator.verify(&token).await.unwrap();
    assert_eq!(verified.client_id(), Some("s6BhdRkqt3"));
    assert_eq!(verified.token_id(), Some("dbe39bf3a3ba4238a513f51d6e1691c4"));
    assert_eq!(verified.scopes().collect::<Vec<_>>(), ["openid", "profile", "reademail"]);
}

/// Counts what was refused.
struct Tally {
    keys: KeySet,
    backend: Backend,
    refused: usize,
    accepted: Vec<String>,
}

impl Tally {
    fn refuse(&mut self, what: &str, jws: &str) {
        match verify_jws(jws, &self.keys, self.backend) {
            Err(_) => self.refused += 1,
            Ok(_) => self.accepted.push(format!("{what}: {jws}")),
        }
    }
}

/// Every example that is accepted, in every way not quite itself.
#[test]
fn modified_examples() {
    for backend in backends() {
        // One bit of every byte; of every fourth with RustCrypto, which is slow without optimization.
        let step = if cfg!(feature = "aws-lc-rs") && backend == Backend::default() { 1 } else { 4 };
        let mut refused = 0;
        for Vector { name, key, jws } in vectors().into_iter().filter(|v| rejected(&v.name).is_none()) {
            let keys = set(&[key.to_string()]);
            assert!(verify_jws(&jws, &keys, backend).is_ok(), "{name}");
            let mut tally = Tally { keys, backend, refused: 0, accepted: Vec::new() };
            modify(&mut tally, &jws, step);
            assert!(tally.accepted.is_empty(), "{name} ({backend:?}): {:?}", tally.accepted);
            refused += tally.refused;
        }
        println!("{backend:?}: {refused} modified examples, none accepted");
        assert!(refused >= 1_000, "{refused}");
    }
}

fn modify(tally: &mut Tally, jws: &str, step: usize) {
    let parts: Vec<&str> = jws.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{jws}") };
    let raw = B64.decode(signature).unwrap();
    for at in (0..raw.len()).step_by(step) {
        let mut changed = raw.clone();
        changed[at] ^= 1 << (at % 8);
        tally.refuse("signature, one bit", &format!("{header}.{payload}.{}", B64.encode(changed)));
    }
    for length in (0..raw.len()).step_by(8 * step) {
        tally.refuse("signature cut", &format!("{header}.{payload}.{}", B64.encode(&raw[..length])));
    }
    for at in (0..payload.len()).step_by(step) {
        let mut changed = payload.to_owned().into_bytes();
        changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
        let changed = String::from_utf8(changed).unwrap();
        tally.refuse("payload, one letter", &format!("{header}.{changed}.{signature}"));
    }
    for padding in ["=", "==", "===", "A", "\n", " ", "\0", "%3D", "+", "/"] {
        for changed in [
            format!("{header}{padding}.{payload}.{signature}"),
            format!("{header}.{payload}{padding}.{signature}"),
            format!("{header}.{payload}.{signature}{padding}"),
            format!("{padding}{jws}"),
        ] {
            tally.refuse("padding", &changed);
        }
    }
    for at in 1..=signature.len().min(8) {
        let (before, after) = signature.split_at(at);
        for inserted in [" ", "\r\n", "=", "!", "."] {
            tally.refuse("inserted", &format!("{header}.{payload}.{before}{inserted}{after}"));
        }
    }
    tally.refuse("detached", &format!("{header}..{signature}"));
    tally.refuse(
        "flattened",
        &format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#),
    );
    tally.refuse(
        "general",
        &format!(
            r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#
        ),
    );
}

/// `Ed25519` is the newer name of `EdDSA` with that curve (RFC 9864 §2.2): either name in the token, either in the key.
#[test]
fn both_names_of_ed25519() {
    use crate::attacks::{ED, ED_JWK};
    let sign = |alg: &str| {
        let header = format!(r#"{{"alg":"{alg}","kid":"a"}}"#);
        forge(Algorithm::EdDsa, ED.as_bytes(), header, b"any bytes")
    };
    for backend in backends() {
        for key in [r#""kid":"a","alg":"EdDSA""#, r#""kid":"a","alg":"Ed25519""#, r#""kid":"a""#] {
            let keys = set(&[with(key, ED_JWK)]);
            for name in ["EdDSA", "Ed25519"] {
                let verified = verify_jws(&sign(name), &keys, backend).unwrap();
                assert_eq!((verified.algorithm, verified.payload), (Algorithm::EdDsa, b"any bytes".to_vec()));
            }
            for name in ["Ed448", "ed25519", "EDDSA", "ESP256"] {
                assert_eq!(verify_jws(&sign(name), &keys, backend), Err(TokenFault::Algorithm), "{name}");
            }
        }
        // The name alone does not make another key one of Ed25519.
        let keys = set(&[with(r#""kid":"a""#, P256_JWK)]);
        assert_eq!(verify_jws(&sign("Ed25519"), &keys, backend), Err(TokenFault::UnknownKey));
        assert!(set(&[with(r#""alg":"Ed25519""#, P256_JWK)]).is_empty());
    }
}

/// What is wrong with the keys around a good signature.
#[test]
fn keys_beside_and_instead() {
    let sign = |header: &str| forge(Algorithm::Rs256, RSA.as_bytes(), header, b"any bytes \xff\0");
    let plain = sign(r#"{"alg":"RS256"}"#);
    let named = sign(r#"{"alg":"RS256","kid":"a"}"#);
    let rsa = crate::attacks::RSA_JWK;
    let a = |jwk: &str| with(r#""kid":"a""#, jwk);
    let other = with(r#""kid":"a""#, &rsa.replacen("\"n\":\"w", "\"n\":\"x", 1));
    assert_ne!(other, a(rsa));
    for backend in backends() {
        let good = |jws: &str, keys: &[String]| verify_jws(jws, &set(keys), backend).map(|jws| jws.payload);
        let payload = Ok(b"any bytes \xff\0".to_vec());
        assert_eq!(good(&plain, &[rsa.into()]), payload);
        assert_eq!(good(&named, &[a(rsa)]), payload);
        // A set without names answers tokens that have one: a single key in a file has none.
        assert_eq!(good(&named, &[rsa.into()]), payload);
        assert_eq!(good(&plain, &[a(rsa), P256_JWK.into()]), payload, "the only one for RS256");
        assert_eq!(good(&named, &[a(rsa), a(P256_JWK)]), payload, "one name for two kinds");
        assert_eq!(good(&named, &[a(rsa), a(rsa)]), payload, "the same key twice");
        for (name, jws, keys) in [
            ("no key", &plain, vec![]),
            ("another kind", &plain, vec![P256_JWK.to_owned()]),
            ("another name", &named, vec![with(r#""kid":"b""#, rsa)]),
            ("name in upper case", &named, vec![with(r#""kid":"A""#, rsa)]),
            ("two keys of one name", &named, vec![a(rsa), other.clone()]),
            (
                "no name, two keys",
                &plain,
                vec![a(rsa), with(r#""kid":"b""#, &other.replace("\"kid\":\"a\",", ""))],
            ),
            ("for encryption", &plain, vec![with(r#""use":"enc""#, rsa)]),
            ("for signing", &plain, vec![with(r#""key_ops":["sign"]"#, rsa)]),
            ("for RS384", &plain, vec![with(r#""alg":"RS384""#, rsa)]),
            ("for PS256", &plain, vec![with(r#""alg":"PS256""#, rsa)]),
            ("for OAEP", &plain, vec![with(r#""alg":"RSA-OAEP""#, rsa)]),
        ] {
            assert_eq!(good(jws, &keys), Err(TokenFault::UnknownKey), "{name}");
        }
    }
}

/// Secrets of every length below the hash are no keys, and longer ones are.
#[test]
fn lengths_of_secrets() {
    for (algorithm, size) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        let name = algorithm.name();
        for length in [0, 1, size - 1, size, size + 1, 2 * size, 200] {
            let secret = vec![0xa5; length];
            let jwk = format!(r#"{{"kty":"oct","alg":"{name}","k":"{}"}}"#, B64.encode(&secret));
            let keys = set(&[jwk]);
            let signed = format!("{}.", B64.encode(format!(r#"{{"alg":"{name}"}}"#)));
            let jws = format!("{signed}.{}", B64.encode(signature(algorithm, &secret, signed.as_bytes())));
            for backend in backends() {
                let result = verify_jws(&jws, &keys, backend).map(|jws| jws.payload);
                let expected = if length < size { Err(TokenFault::UnknownKey) } else { Ok(Vec::new()) };
                assert_eq!(result, expected, "{name}, {length} bytes");
            }
        }
    }
}

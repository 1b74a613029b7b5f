//! Keys taken for something else than they are: algorithms swapped, public keys used as secrets, other forms of JOSE.
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use tower_auth::TokenFault;
use tower_auth::keys::Algorithm;

use crate::attacks::{
    ED, ED_JWK, ED_PUBLIC, HEADER, Keys, LONG, OTHER_RSA, P256, P256_JWK, P256_PUBLIC, P384, RSA, RSA_JWK,
    RSA_PKCS1, RSA_PUBLIC, Rule, forge, good, hs, run, x_of,
};
use crate::support::{CLAIMS, SECRET};

pub(crate) fn signed(algorithm: Algorithm, key: &[u8]) -> String {
    forge(algorithm, key, format!(r#"{{"alg":"{}","typ":"at+jwt"}}"#, algorithm.name()), CLAIMS)
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
    STANDARD.decode(body).unwrap()
}

/// The public key of the authenticator as the secret of an HMAC.
fn secrets() -> Vec<(&'static str, Keys, &'static str, Vec<u8>)> {
    let rsa = |name, secret: Vec<u8>| (name, Keys::Rs256, "RS256", secret);
    let trimmed = RSA_PUBLIC.trim_end();
    vec![
        rsa("HS256 with the PEM", RSA_PUBLIC.into()),
        rsa("HS256 with the PEM without a last newline", trimmed.into()),
        rsa("HS256 with the PEM and two newlines", format!("{trimmed}\n\n").into()),
        rsa("HS256 with the PEM after a space", format!(" {RSA_PUBLIC}").into()),
        rsa("HS256 with the PEM and CRLF", RSA_PUBLIC.replace('\n', "\r\n").into()),
        rsa("HS256 with the PEM and a NUL", format!("{RSA_PUBLIC}\0").into()),
        rsa(
            "HS256 with the base64 of the PEM",
            trimmed.lines().filter(|l| !l.starts_with('-')).collect::<String>().into(),
        ),
        rsa("HS256 with the DER", der(RSA_PUBLIC)),
        rsa("HS256 with PKCS#1 in DER", der(RSA_PKCS1)),
        rsa("HS256 with PKCS#1 in PEM", RSA_PKCS1.into()),
        rsa("HS256 with the JWK", RSA_JWK.into()),
        rsa("HS256 with the modulus", B64.decode(modulus()).unwrap()),
        rsa("HS256 with the modulus in base64url", modulus().into()),
        ("HS256 with the PEM of P-256", Keys::Es256, "ES256", P256_PUBLIC.into()),
        ("HS256 with the DER of P-256", Keys::Es256, "ES256", der(P256_PUBLIC)),
        ("HS256 with the JWK of P-256", Keys::Es256, "ES256", P256_JWK.into()),
        ("HS256 with the PEM of Ed25519", Keys::EdDsa, "EdDSA", ED_PUBLIC.into()),
        ("HS256 with the JWK of Ed25519", Keys::EdDsa, "EdDSA", ED_JWK.into()),
        ("HS256 with the point of Ed25519", Keys::EdDsa, "EdDSA", B64.decode(x_of(ED_JWK)).unwrap()),
    ]
}

fn modulus() -> String {
    let rest = RSA_JWK.split_once(r#""n":""#).unwrap().1;
    rest[..rest.find('"').unwrap()].to_owned()
}

fn own(keys: Keys) -> (Algorithm, &'static [u8]) {
    match keys {
        Keys::Hs384 => (Algorithm::Hs384, LONG),
        Keys::Hs512 => (Algorithm::Hs512, LONG),
        Keys::Rs256 => (Algorithm::Rs256, RSA.as_bytes()),
        Keys::Ps256 => (Algorithm::Ps256, RSA.as_bytes()),
        Keys::Es256 => (Algorithm::Es256, P256.as_bytes()),
        Keys::Es384 => (Algorithm::Es384, P384.as_bytes()),
        Keys::EdDsa => (Algorithm::EdDsa, ED.as_bytes()),
        _ => (Algorithm::Hs256, SECRET),
    }
}

/// A good signature by the right key, or by one like it, with an algorithm that the key is not for.
const SWAPS: &[(&str, Keys, Algorithm, &[u8])] = &[
    ("HS512 for HS384, one secret", Keys::Hs384, Algorithm::Hs512, LONG),
    ("HS256 for HS384, one secret", Keys::Hs384, Algorithm::Hs256, LONG),
    ("HS256 for HS512, one secret", Keys::Hs512, Algorithm::Hs256, LONG),
    ("HS384 for HS512, one secret", Keys::Hs512, Algorithm::Hs384, LONG),
    ("HS384 for HS256, one secret", Keys::Hs256, Algorithm::Hs384, SECRET),
    ("HS512 for HS256, one secret", Keys::Hs256, Algorithm::Hs512, SECRET),
    ("PS256 for RS256, one key", Keys::Rs256, Algorithm::Ps256, RSA.as_bytes()),
    ("PS512 for RS256, one key", Keys::Rs256, Algorithm::Ps512, RSA.as_bytes()),
    ("RS384 for RS256, one key", Keys::Rs256, Algorithm::Rs384, RSA.as_bytes()),
    ("RS512 for RS256, one key", Keys::Rs256, Algorithm::Rs512, RSA.as_bytes()),
    ("RS256 for PS256, one key", Keys::Ps256, Algorithm::Rs256, RSA.as_bytes()),
    ("PS384 for PS256, one key", Keys::Ps256, Algorithm::Ps384, RSA.as_bytes()),
    ("ES384 for ES256", Keys::Es256, Algorithm::Es384, P384.as_bytes()),
    ("ES256 for ES384", Keys::Es384, Algorithm::Es256, P256.as_bytes()),
    ("ES256 for RS256", Keys::Rs256, Algorithm::Es256, P256.as_bytes()),
    ("RS256 for ES256", Keys::Es256, Algorithm::Rs256, RSA.as_bytes()),
    ("EdDSA for ES256", Keys::Es256, Algorithm::EdDsa, ED.as_bytes()),
    ("ES256 for EdDSA", Keys::EdDsa, Algorithm::Es256, P256.as_bytes()),
    ("RS256 for HS256", Keys::Hs256, Algorithm::Rs256, RSA.as_bytes()),
];

/// A signature of one algorithm below the name of another that the key is for.
fn renamed(keys: Keys, by: Algorithm, key: &[u8]) -> String {
    forge(by, key, format!(r#"{{"alg":"{}","typ":"at+jwt"}}"#, own(keys).0.name()), CLAIMS)
}

pub(crate) fn rules() -> Vec<Rule> {
    let good_of = |keys| {
        let (algorithm, key) = own(keys);
        signed(algorithm, key)
    };
    let mut rules = Vec::new();
    for (name, keys, _, secret) in secrets() {
        let changed = signed(Algorithm::Hs256, &secret);
        rules.push(Rule::token(name, keys, &good_of(keys), &changed, TokenFault::UnknownKey));
    }
    for (name, keys, algorithm, key) in SWAPS {
        rules.push(Rule::token(
            name,
            *keys,
            &good_of(*keys),
            &signed(*algorithm, key),
            TokenFault::UnknownKey,
        ));
    }
    for (name, keys, by, key) in [
        ("PS256 in the name of RS256", Keys::Rs256, Algorithm::Ps256, RSA.as_bytes()),
        ("RS512 in the name of RS256", Keys::Rs256, Algorithm::Rs512, RSA.as_bytes()),
        ("RS256 in the name of PS256", Keys::Ps256, Algorithm::Rs256, RSA.as_bytes()),
        ("RS256 by another key", Keys::Rs256, Algorithm::Rs256, OTHER_RSA.as_bytes()),
        ("HS256 in the name of RS256", Keys::Rs256, Algorithm::Hs256, RSA_PUBLIC.as_bytes()),
        (
            "HS512 in the name of ES256, of equal length",
            Keys::Es256,
            Algorithm::Hs512,
            P256_PUBLIC.as_bytes(),
        ),
        ("HS512 in the name of EdDSA, of equal length", Keys::EdDsa, Algorithm::Hs512, ED_PUBLIC.as_bytes()),
        ("ES256 in the name of EdDSA, of equal length", Keys::EdDsa, Algorithm::Es256, P256.as_bytes()),
        ("EdDSA in the name of ES256, of equal length", Keys::Es256, Algorithm::EdDsa, ED.as_bytes()),
        ("HS512 in the name of HS256", Keys::Hs256, Algorithm::Hs512, SECRET),
        ("HS256 by the empty secret", Keys::Hs256, Algorithm::Hs256, b""),
        ("HS256 by the word secret", Keys::Hs256, Algorithm::Hs256, b"secret"),
        (
            "HS256 by the secret and a newline",
            Keys::Hs256,
            Algorithm::Hs256,
            b"0123456789abcdef0123456789abcdef\n",
        ),
        ("HS256 by all but the last byte of the secret", Keys::Hs256, Algorithm::Hs256, &SECRET[..31]),
    ] {
        let changed = renamed(keys, by, key);
        rules.push(Rule::token(name, keys, &good_of(keys), &changed, TokenFault::Signature));
    }
    rules.extend(forms());
    rules
}

/// Other serializations, and things that are no token.
fn forms() -> Vec<Rule> {
    let good = good();
    let mut parts = good.split('.');
    let [header, payload, signature] = [(); 3].map(|()| parts.next().unwrap());
    let jwe = B64.encode(r#"{"alg":"dir","enc":"A256GCM"}"#);
    let bearer = |name, changed: String, fault| Rule::token(name, Keys::Hs256, &good, &changed, fault);
    let malformed = |name, changed: String| bearer(name, changed, TokenFault::Malformed);
    vec![
        malformed("a JWE of five parts", format!("{jwe}..AAAA.AAAA.AAAA")),
        malformed("a JWE around the token", format!("{jwe}.{header}.{payload}.{signature}.AAAA")),
        malformed("a fourth part", format!("{good}.AAAA")),
        malformed("a last dot", format!("{good}.")),
        malformed("a first dot", format!(".{good}")),
        malformed("two parts", format!("{header}.{payload}")),
        malformed("one part", header.to_owned()),
        malformed("dots alone", "..".to_owned()),
        malformed("no header", format!(".{payload}.{signature}")),
        bearer("no payload", format!("{header}..{signature}"), TokenFault::Signature),
        malformed("padded", format!("{good}=")),
        malformed("in base64 with plus", format!("{}+.{payload}.{signature}", &header[..header.len() - 1])),
        malformed("a tilde inside", format!("{header}.{payload}.~{}", &signature[1..])),
        bearer(
            "payload and header swapped",
            format!("{payload}.{header}.{signature}"),
            TokenFault::Algorithm,
        ),
        bearer(
            "header in the place of the payload",
            format!("{header}.{header}.{signature}"),
            TokenFault::Signature,
        ),
        bearer("a disclosure behind the token", format!("{good}~AAAA"), TokenFault::Malformed),
        bearer(
            "a header of its own with the old signature",
            format!("{}.{payload}.{signature}", B64.encode(HEADER.replace("at+jwt", "JWT"))),
            TokenFault::Signature,
        ),
        bearer(
            "a payload of its own with the old signature",
            format!("{header}.{}.{signature}", B64.encode(CLAIMS.replace("alice", "admin"))),
            TokenFault::Signature,
        ),
        bearer(
            "the signature of another token",
            format!("{header}.{payload}.{}", hs(HEADER, "{}").rsplit_once('.').unwrap().1),
            TokenFault::Signature,
        ),
    ]
}

#[tokio::test]
async fn refused() {
    run(&rules()).await;
}

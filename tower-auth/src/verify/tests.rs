use jsonwebtoken::EncodingKey;
#[cfg(feature = "aws-lc-rs")]
use jsonwebtoken::{AlgorithmFamily, DecodingKey};

use super::*;
use crate::keys::StaticKeys;
#[cfg(feature = "aws-lc-rs")]
use crate::policy::{der, jwk::Shape};

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../tests/it/keys/", $name)).as_bytes()
    };
}

const SECRET: &[u8] = &[7; 64];
const MESSAGE: &[u8] = b"header.payload";

/// The private key that each algorithm signs with.
fn signing_key(algorithm: Algorithm) -> EncodingKey {
    match algorithm {
        Algorithm::Es256 => EncodingKey::from_ec_pem(key!("p256.pem")).unwrap(),
        Algorithm::Es384 => EncodingKey::from_ec_pem(key!("p384.pem")).unwrap(),
        Algorithm::EdDsa => EncodingKey::from_ed_pem(key!("ed25519.pem")).unwrap(),
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => EncodingKey::from_secret(SECRET),
        _ => EncodingKey::from_rsa_pem(key!("rsa.pem")).unwrap(),
    }
}

fn signature(backend: Backend, algorithm: Algorithm) -> Vec<u8> {
    let signer = backend.provider().signer_factory;
    signer(&algorithm.to_jsonwebtoken(), &signing_key(algorithm)).unwrap().try_sign(MESSAGE).unwrap()
}

#[cfg(feature = "aws-lc-rs")]
fn public(pem: &[u8]) -> Shape {
    der::unarmour(pem).and_then(|(der, _)| der::public_key(&der)).unwrap()
}

/// Each kind of key, good and bad, in each form that jsonwebtoken has for it.
#[cfg(feature = "aws-lc-rs")]
fn keys() -> Vec<DecodingKey> {
    let Shape::Rsa { n, e } = public(key!("rsa.pub.pem")) else { panic!() };
    let Shape::Ec { x, y } = public(key!("p256.pub.pem")) else { panic!() };
    let Shape::Ed25519 { x: ed } = public(key!("ed25519.pub.pem")) else { panic!() };
    let point = [&[4], &*x, &*y].concat();
    let changed = |mut bytes: Vec<u8>| {
        *bytes.last_mut().unwrap() ^= 2;
        bytes
    };
    let of_rsa = |n: &[u8], e: &[u8]| DecodingKey::from_rsa_raw_components(n, e);
    vec![
        DecodingKey::from_secret(SECRET),
        DecodingKey::from_secret(b""),
        of_rsa(&n, &e),
        of_rsa(&changed(n.clone()), &e),
        of_rsa(&[&[0], &*n].concat(), &e),
        of_rsa(&n[..128], &e),
        of_rsa(&n[..255], &e),
        of_rsa(&n.repeat(5), &e),
        of_rsa(&n, &[]),
        of_rsa(&n, &[0]),
        of_rsa(&n, &[2]),
        of_rsa(&n, &n),
        of_rsa(&[], &e),
        DecodingKey::from_rsa_pem(key!("rsa.pub.pem")).unwrap(),
        DecodingKey::from_rsa_der(b"no key"),
        DecodingKey::from_ec_der(&point),
        DecodingKey::from_ec_der(&changed(point.clone())),
        DecodingKey::from_ec_der(&point[..64]),
        DecodingKey::from_ec_der(&point[1..]),
        DecodingKey::from_ec_der(&[]),
        DecodingKey::from_ec_pem(key!("p384.pub.pem")).unwrap(),
        DecodingKey::from_ed_der(&ed),
        DecodingKey::from_ed_der(&changed(ed.clone())),
        DecodingKey::from_ed_der(&ed[..31]),
        DecodingKey::from_ed_der(&[0xff; 32]),
        DecodingKey::from_ed_der(&[]),
    ]
}

/// Verifiers that keep their key read find good what jsonwebtoken's own find good, and nothing else.
#[cfg(feature = "aws-lc-rs")]
#[test]
fn verifiers_of_read_keys_judge_like_those_of_jsonwebtoken() {
    let own = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.verifier_factory;
    let mut signatures: Vec<Vec<u8>> = vec![Vec::new(), vec![0; 64], vec![0; 1_025]];
    for algorithm in Algorithm::ALL {
        let good = signature(Backend::AwsLcRs, algorithm);
        signatures.push(good[..good.len() - 1].to_vec());
        signatures.push([&*good, &[0]].concat());
        signatures.push(good);
    }
    let mut found_good = Vec::new();
    for algorithm in Algorithm::ALL {
        let name = algorithm.to_jsonwebtoken();
        for (number, key) in keys().iter().enumerate() {
            let ours = (Backend::AwsLcRs.provider().verifier_factory)(&name, key);
            let theirs = own(&name, key);
            if let Ok(verifier) = &ours {
                assert_eq!((verifier.algorithm(), key.family()), (name, name.family()), "with key {number}");
            }
            for signature in &signatures {
                let good = |verifier: &jsonwebtoken::errors::Result<Box<dyn JwtVerifier>>| {
                    verifier.as_ref().is_ok_and(|verifier| verifier.verify(MESSAGE, signature).is_ok())
                };
                assert_eq!(good(&ours), good(&theirs), "{name:?} with key {number}: {signature:?}");
                if good(&ours) {
                    found_good.push((name, number));
                    let other = ours.as_ref().unwrap().verify(b"header.payloae", signature);
                    assert!(other.is_err(), "{name:?} with key {number}");
                }
            }
        }
    }
    for name in Algorithm::ALL.map(Algorithm::to_jsonwebtoken) {
        // The key for it; that of RSA in two forms.
        let forms = if name.family() == AlgorithmFamily::Rsa { 2 } else { 1 };
        assert_eq!(found_good.iter().filter(|(good, _)| *good == name).count(), forms, "{name:?}");
    }
}

fn prepared() -> usize {
    PREPARED.with_borrow(Vec::len)
}

#[test]
fn a_key_is_prepared_once_and_forgotten_after_it_is_gone() {
    let backend = Backend::default();
    let of = |number: u8| StaticKeys::hmac(Algorithm::Hs256, &[number; 32]).unwrap();
    let verify = |keys: &StaticKeys| {
        let key = keys.set().select(None, Algorithm::Hs256).unwrap();
        backend.good(key, Algorithm::Hs256, MESSAGE, &vec![0; 32])
    };
    let (first, second) = (of(1), of(2));
    for _ in 0..3 {
        assert!(!verify(&first) && !verify(&second));
        assert_eq!(prepared(), 2);
    }
    drop(first);
    verify(&of(3));
    assert_eq!(prepared(), 2, "the second and the third");
    let many: Vec<StaticKeys> = (4..40).map(of).collect();
    assert!(!many.iter().chain([&second]).any(verify));
    assert_eq!(prepared(), MOST_PREPARED);
}

/// Ready for one key, it is not taken for another one, nor for another algorithm of the same key.
#[test]
fn what_is_prepared_serves_one_key_and_one_algorithm() {
    let backend = Backend::default();
    let jwk = |name| StaticKeys::jwk(name).unwrap();
    let (rsa, ed) = (jwk(key!("rsa.jwk.json")), jwk(key!("ed25519.jwk.json")));
    let other = StaticKeys::hmac(Algorithm::Hs256, &[8; 32]).unwrap();
    let secret = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let good = |keys: &StaticKeys, algorithm, signature: &Vec<u8>| {
        backend.good(keys.set().select(None, algorithm).unwrap(), algorithm, MESSAGE, signature)
    };
    let [rs, ps, hs, eddsa] = [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Hs256, Algorithm::EdDsa]
        .map(|algorithm| signature(backend, algorithm));
    for _ in 0..2 {
        assert!(good(&rsa, Algorithm::Rs256, &rs) && !good(&rsa, Algorithm::Ps256, &rs));
        assert!(good(&rsa, Algorithm::Ps256, &ps) && !good(&rsa, Algorithm::Rs256, &ps));
        assert!(good(&secret, Algorithm::Hs256, &hs) && !good(&other, Algorithm::Hs256, &hs));
        assert!(good(&ed, Algorithm::EdDsa, &eddsa));
    }
}

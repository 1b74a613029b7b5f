//! Keys that must not be taken: one that is, one thing changed, and the set without it.
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use tower_auth::keys::{Algorithm, KeySet};
use tower_auth::verify::verify_jws;
use tower_auth::{StaticKeys, TokenFault};

use crate::attacks::{
    ED_JWK, ED_PUBLIC, P256, P256_JWK, P256_PUBLIC, P384_JWK, RSA_JWK, RSA_PKCS1, RSA_PUBLIC, backends, with,
    x_of,
};
use crate::attacks_confusion::signed;

const RSA_1024: &str = include_str!("keys/rsa_1024.jwk.json");
const RSA_E3: &str = include_str!("keys/rsa_e3.jwk.json");
/// A modulus as CVE-2017-15361 makes them: 65537^12345 modulo the product of the first 101 primes, and a multiple of that.
const ROCA: &str = "jUTZZFIBakdcJhxh4Ax0s5me3Ydp7QTTEes37t1lOFL7dSLT_bNDO5zaZboFFhxggf5EOsoNTZsmWEyOZ-qYccSZDArRtVVWyzfO0ocsHTKYzXrLcnHWM9W0krRXeXVzW6TFghNmYWLBGvz7wt1LSosRlMKU6C8zuFfSChNr1Vuzz4COvLLFGqyq-TkdR-9_sT9fXNKjLDq9xHpUeO_RoG8rQ1Q7CyBoRKaMabi0j-CmX5FgQFDqe87WYrM90uAMDupXwoikDrkCxwwIwKb_u8Ckvi6Z0uay2jlrWX0ZLhvfw2nDvMJ724QCtO3yDtRkdLqzotEe2SP-L2Fcj7uhmQ";
const OCT: &str = r#"{"kty":"oct","k":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw"}"#;

fn modulus(jwk: &str) -> String {
    let rest = jwk.split_once(r#""n":""#).unwrap().1;
    rest[..rest.find('"').unwrap()].to_owned()
}

fn changed(jwk: &str, member: &str, bytes: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let start = jwk.find(&format!(r#""{member}":""#)).unwrap() + member.len() + 4;
    let end = start + jwk[start..].find('"').unwrap();
    let value = bytes(B64.decode(&jwk[start..end]).unwrap());
    format!("{}{}{}", &jwk[..start], B64.encode(value), &jwk[end..])
}

/// Name, the key that is taken, the one that is not.
pub(crate) fn rules() -> Vec<(String, String, String)> {
    let mut rules: Vec<(String, String, String)> = Vec::new();
    let keys =
        [("RSA", RSA_JWK), ("P-256", P256_JWK), ("P-384", P384_JWK), ("Ed25519", ED_JWK), ("oct", OCT)];
    for (kind, jwk) in keys {
        for (name, member) in [
            ("for encryption", r#""use":"enc""#),
            ("of use null", r#""use":null"#),
            ("of use SIG", r#""use":"SIG""#),
            ("of use a list", r#""use":["sig"]"#),
            ("for signing only", r#""key_ops":["sign"]"#),
            ("for nothing", r#""key_ops":[]"#),
            ("with operations in a string", r#""key_ops":"verify""#),
            ("with an unknown algorithm", r#""alg":"XS256""#),
            ("of algorithm none", r#""alg":"none""#),
            ("of an encryption algorithm", r#""alg":"RSA-OAEP-256""#),
            ("with algorithm null", r#""alg":null"#),
            ("with a number for an id", r#""kid":1"#),
            ("with the type twice", r#""kty":"oct""#),
            (
                "with the algorithm of another kind",
                match kind {
                    "RSA" => r#""alg":"HS256""#,
                    "P-256" => r#""alg":"ES384""#,
                    "P-384" | "Ed25519" => r#""alg":"ES256""#,
                    _ => r#""alg":"RS256""#,
                },
            ),
        ] {
            rules.push((format!("{kind} {name}"), jwk.to_owned(), with(member, jwk)));
        }
    }
    let mut rule = |name: &str, good: &str, bad: String| rules.push((name.to_owned(), good.to_owned(), bad));
    let n = modulus(RSA_JWK);
    rule("RSA of 1024 bits", RSA_JWK, RSA_1024.to_owned());
    rule(
        "RSA of 2047 bits",
        RSA_JWK,
        changed(RSA_JWK, "n", |mut n| {
            n[0] &= 0x7f;
            n
        }),
    );
    rule("RSA of 8200 bits", RSA_JWK, changed(RSA_JWK, "n", |n| [vec![0xff; 769], n].concat()));
    rule("RSA of 16384 bits", RSA_JWK, changed(RSA_JWK, "n", |n| n.repeat(8)));
    rule("RSA with a zero in front", RSA_JWK, changed(RSA_JWK, "n", |n| [vec![0], n].concat()));
    rule(
        "RSA with an even modulus",
        RSA_JWK,
        changed(RSA_JWK, "n", |mut n| {
            n[255] &= 0xfe;
            n
        }),
    );
    rule("RSA without a modulus", RSA_JWK, changed(RSA_JWK, "n", |_| Vec::new()));
    rule("RSA with exponent 3", RSA_JWK, RSA_E3.to_owned());
    for (name, e) in [
        ("1", "AQ"),
        ("2", "Ag"),
        ("3", "Aw"),
        ("0", "AA"),
        ("of nothing", ""),
        ("even", "AQAC"),
        ("with a zero in front", "AAEAAQ"),
        ("of five bytes", "AQAAAAE"),
        ("in other letters", "AQA+"),
    ] {
        rule(
            &format!("RSA with its exponent {name}"),
            RSA_JWK,
            RSA_JWK.replace(r#""AQAB""#, &format!("\"{e}\"")),
        );
    }
    rule("RSA of the ROCA kind", RSA_JWK, RSA_JWK.replace(&n, ROCA));
    rule("RSA with a padded modulus", RSA_JWK, RSA_JWK.replace(&n, &format!("{n}==")));
    rule("RSA without its exponent", RSA_JWK, RSA_JWK.replace(r#""e":"AQAB""#, r#""f":1"#));
    for (kind, jwk) in [("P-256", P256_JWK), ("P-384", P384_JWK)] {
        rule(&format!("{kind}, x one byte short"), jwk, changed(jwk, "x", |x| x[1..].to_vec()));
        rule(&format!("{kind}, y one byte long"), jwk, changed(jwk, "y", |y| [vec![0], y].concat()));
        rule(&format!("{kind}, no y"), jwk, jwk.replace(r#""y":"#, r#""z":"#));
        rule(&format!("{kind} called secp256k1"), jwk, jwk.replace(kind, "secp256k1"));
        rule(&format!("{kind} called P-521"), jwk, jwk.replace(kind, "P-521"));
        rule(&format!("{kind} without its curve"), jwk, jwk.replace("crv", "curve"));
        rule(&format!("{kind} called OKP"), jwk, jwk.replace("\"EC\"", "\"OKP\""));
    }
    rule("P-256 called P-384", P256_JWK, P256_JWK.replace("P-256", "P-384"));
    rule("P-384 called P-256", P384_JWK, P384_JWK.replace("P-384", "P-256"));
    for name in ["Ed448", "X25519", "ed25519", "P-256"] {
        rule(&format!("Ed25519 called {name}"), ED_JWK, ED_JWK.replace("Ed25519", name));
    }
    rule("Ed25519 one byte short", ED_JWK, changed(ED_JWK, "x", |x| x[1..].to_vec()));
    rule("Ed25519 one byte long", ED_JWK, changed(ED_JWK, "x", |x| [x, vec![0]].concat()));
    rule("Ed25519 empty", ED_JWK, changed(ED_JWK, "x", |_| Vec::new()));
    for (name, point) in small_order() {
        rule(&format!("Ed25519, {name}"), ED_JWK, changed(ED_JWK, "x", |_| point));
    }
    rule("oct empty", OCT, changed(OCT, "k", |_| Vec::new()));
    rule("oct of one byte", OCT, changed(OCT, "k", |k| k[..1].to_vec()));
    rule("oct of 31 bytes", OCT, changed(OCT, "k", |k| k[..31].to_vec()));
    rule(
        "oct of 32 bytes for HS512",
        OCT,
        with(r#""alg":"HS512""#, &changed(OCT, "k", |k| k[..32].to_vec())),
    );
    for (name, file) in key_files() {
        rule(&format!("oct of {name}"), OCT, changed(OCT, "k", |_| file));
    }
    rule("oct with a number for a secret", OCT, r#"{"kty":"oct","k":7}"#.to_owned());
    rule("an unknown kind", OCT, OCT.replace("oct", "AKP"));
    rule("no kind", OCT, OCT.replace("kty", "kind"));
    rules
}

/// What is public, or a file, and would be a secret by mistake: then everybody with the public key could sign.
fn key_files() -> Vec<(&'static str, Vec<u8>)> {
    let der = |pem: &str| {
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        STANDARD.decode(body).unwrap()
    };
    let lines = |pem: &str| -> String {
        pem.lines().filter(|line| !line.starts_with('-')).flat_map(|line| [line, "\n"]).collect()
    };
    vec![
        ("a public key in PEM", RSA_PUBLIC.into()),
        ("a public key of PKCS#1 in PEM", RSA_PKCS1.into()),
        ("a public key of P-256 in PEM", P256_PUBLIC.into()),
        ("a public key of Ed25519 in PEM", ED_PUBLIC.into()),
        ("a public key in PEM behind white space", format!("\r\n\t {RSA_PUBLIC}").into()),
        ("a public key in PEM behind a comment", format!("Key of the issuer\n{P256_PUBLIC}").into()),
        ("a private key in PEM", crate::attacks::P256.into()),
        ("a certificate in PEM", RSA_PUBLIC.replace("PUBLIC KEY", "CERTIFICATE").into()),
        ("a public key in DER", der(RSA_PUBLIC)),
        ("a public key of PKCS#1 in DER", der(RSA_PKCS1)),
        ("a public key of P-256 in DER", der(P256_PUBLIC)),
        ("the body of a public key in PEM", STANDARD.encode(der(RSA_PUBLIC)).into()),
        ("the lines of a public key in PEM", lines(P256_PUBLIC).into()),
        ("the body of a public key of PKCS#1 in PEM", STANDARD.encode(der(RSA_PKCS1)).into()),
        ("a JWK", RSA_JWK.into()),
        ("a set of JWKs", format!(r#"{{"keys":[{RSA_JWK}]}}"#).into()),
        ("a JWK of P-256 behind a newline", format!("\n{P256_JWK}").into()),
        ("a key of SSH", format!("ssh-ed25519 {} me@here", STANDARD.encode([7; 51])).into()),
        ("a key of SSH on P-256", format!("ecdsa-sha2-nistp256 {}", STANDARD.encode([7; 104])).into()),
    ]
}

/// Points whose multiples are few, as RFC 8032 §5.1.2 encodes them: a signature by such a key needs no private key. The
/// last ones are those whose coordinate is not reduced.
fn small_order() -> Vec<(String, Vec<u8>)> {
    let eight = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let other = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    let p = |last: u8| [vec![last], vec![0xff; 30], vec![0x7f]].concat();
    let small = |first: u8| [vec![first], vec![0; 31]].concat();
    let hex = |text: &str| -> Vec<u8> {
        (0..32).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
    };
    let points = [
        ("order 1", small(1)),
        ("order 2", p(0xec)),
        ("order 4", small(0)),
        ("order 8", hex(eight)),
        ("another of order 8", hex(other)),
        ("order 4, not reduced", p(0xed)),
        ("order 1, not reduced", p(0xee)),
    ];
    let mut all = Vec::new();
    for (name, point) in points {
        all.push((name.to_owned(), point.clone()));
        all.push((format!("{name}, sign set"), {
            let mut point = point;
            point[31] |= 0x80;
            point
        }));
    }
    all
}

#[test]
fn one_change_to_an_accepted_key_is_refused() {
    for (name, good, bad) in rules() {
        assert_ne!(good, bad, "{name}: changes nothing");
        assert!(StaticKeys::jwk(good.as_bytes()).is_ok(), "{name}: not taken");
        assert_eq!(StaticKeys::jwk(bad.as_bytes()).unwrap_err().field(), "jwk", "{name}");
        // In a set it is left out, and the one beside it works.
        let set = KeySet::from_jwks(format!(r#"{{"keys":[{bad},{P256_JWK}]}}"#).as_bytes()).unwrap();
        assert_eq!((set.len(), set.refused()), (1, 1), "{name}");
    }
}

#[test]
fn documents() {
    let token = signed(Algorithm::Es256, P256.as_bytes());
    let good = format!(r#"{{"keys":[{P256_JWK}]}}"#);
    let set = |text: &str| KeySet::from_jwks(text.as_bytes());
    for backend in backends() {
        assert!(verify_jws(&token, &set(&good).unwrap(), backend).is_ok());
        for (name, bad) in [
            ("a key alone", P256_JWK.to_owned()),
            ("an array", format!("[{P256_JWK}]")),
            ("keys an object", format!(r#"{{"keys":{P256_JWK}}}"#)),
            ("keys null", r#"{"keys":null}"#.to_owned()),
            ("keys twice", format!(r#"{{"keys":[],"keys":[{P256_JWK}]}}"#)),
            ("no keys", "{}".to_owned()),
            ("HTML", "<!doctype html><title>Sign in</title>".to_owned()),
            ("nothing", String::new()),
            ("cut short", good[..good.len() - 1].to_owned()),
            ("something after it", format!("{good}x")),
            ("a byte order mark", format!("\u{feff}{good}")),
            ("another name", good.replace("keys", "Keys")),
            ("brackets without end", format!(r#"{{"keys":{}"#, "[".repeat(100_000))),
        ] {
            assert!(set(&bad).is_err(), "{name}");
        }
        // Two different keys with one name and purpose: neither.
        let other = P256_JWK.replace(&x_of(P256_JWK), &x_of(ED_JWK));
        let named = |jwk: &str| with(r#""kid":"a""#, jwk);
        let doubtful = set(&format!(r#"{{"keys":[{},{}]}}"#, named(P256_JWK), named(&other))).unwrap();
        assert_eq!((doubtful.len(), doubtful.refused()), (0, 2));
        assert_eq!(verify_jws(&token, &doubtful, backend), Err(TokenFault::UnknownKey));
        // One name for two kinds is how some providers publish them.
        let kinds = set(&format!(r#"{{"keys":[{},{}]}}"#, named(P256_JWK), named(ED_JWK))).unwrap();
        assert!(verify_jws(&token, &kinds, backend).is_ok());
        // Without names, and two that fit: not tried one after the other.
        let nameless = set(&format!(r#"{{"keys":[{P256_JWK},{other}]}}"#)).unwrap();
        assert_eq!(verify_jws(&token, &nameless, backend), Err(TokenFault::UnknownKey));
        // The thousandth key is the good one.
        let bad = vec![r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#; 999].join(",");
        let last = set(&format!(r#"{{"keys":[{bad},{P256_JWK}]}}"#)).unwrap();
        assert_eq!((last.len(), last.refused()), (1, 999));
        assert!(verify_jws(&token, &last, backend).is_ok());
    }
    let mixed = format!(r#"{{"keys":[{P256_JWK},{OCT}]}}"#);
    assert!(StaticKeys::jwks(good.as_bytes()).is_ok());
    assert_eq!(StaticKeys::jwks(mixed.as_bytes()).unwrap_err().field(), "jwks");
    assert_eq!(StaticKeys::jwks(br#"{"keys":[]}"#).unwrap_err().field(), "jwks");
}

#[test]
fn files() {
    let pem = |algorithm, text: &str| StaticKeys::pem(algorithm, text.as_bytes());
    for (algorithm, good) in [
        (Algorithm::Rs256, RSA_PUBLIC),
        (Algorithm::Ps512, RSA_PKCS1),
        (Algorithm::Es256, P256_PUBLIC),
        (Algorithm::EdDsa, ED_PUBLIC),
    ] {
        assert!(pem(algorithm, good).is_ok());
        let body: String = good.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).unwrap();
        let armoured = |der: &[u8]| {
            let label = good.split_once("BEGIN ").unwrap().1.split_once("---").unwrap().0;
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
        };
        assert!(pem(algorithm, &armoured(&der)).is_ok());
        for (name, bad) in [
            ("one byte less", armoured(&der[..der.len() - 1])),
            ("one byte more", armoured(&[der.as_slice(), &[0]].concat())),
            ("another tag", armoured(&[&[0x31], &der[1..]].concat())),
            ("an endless length", armoured(&[&[0x30, 0x80], &der[2..]].concat())),
            ("a length of five bytes", armoured(&[&[0x30, 0x85], &der[2..]].concat())),
            ("the greatest length", armoured(&[&[0x30, 0x83, 0xff, 0xff, 0xff], &der[2..]].concat())),
            ("nothing", armoured(&[])),
            ("no armour", good.replace("-----", "")),
            ("no end", good.split_once("-----END").unwrap().0.to_owned()),
            ("called a private key", good.replace("PUBLIC", "PRIVATE")),
            (
                "called a certificate",
                good.replace("RSA PUBLIC KEY", "CERTIFICATE").replace("PUBLIC KEY", "CERTIFICATE"),
            ),
            (
                "a stray letter",
                good.replacen("\nMI", "\n*MI", 1).replacen("\nMC", "\n*MC", 1).replacen("\nMF", "\n*MF", 1),
            ),
        ] {
            assert_ne!(bad, good, "{name}");
            assert_eq!(pem(algorithm, &bad).unwrap_err().field(), "pem", "{name}");
        }
    }
    for (algorithm, wrong) in [
        (Algorithm::Es256, RSA_PUBLIC),
        (Algorithm::Rs256, P256_PUBLIC),
        (Algorithm::Es384, P256_PUBLIC),
        (Algorithm::EdDsa, P256_PUBLIC),
        (Algorithm::Es256, ED_PUBLIC),
        (Algorithm::Hs256, RSA_PUBLIC),
    ] {
        assert_eq!(pem(algorithm, wrong).unwrap_err().field(), "pem");
    }
    for (algorithm, length) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        assert!(StaticKeys::hmac(algorithm, &vec![1; length]).is_ok());
        assert_eq!(StaticKeys::hmac(algorithm, &vec![1; length - 1]).unwrap_err().field(), "hmac");
    }
    assert_eq!(StaticKeys::hmac(Algorithm::Rs256, &[1; 64]).unwrap_err().field(), "hmac");
    for (name, file) in key_files() {
        let error = StaticKeys::hmac(Algorithm::Hs256, &file).unwrap_err();
        assert!(error.to_string().contains("a key file in the place of a secret"), "{name}: {error}");
    }
    for good in
        [&b"ssh, a secret that is long enough for HS256"[..], br#"{"a":"JSON object that is no key at all"}"#]
    {
        assert!(StaticKeys::hmac(Algorithm::Hs256, good).is_ok());
    }
}

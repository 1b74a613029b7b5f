//! Signatures that are not quite one.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use tower_auth::TokenFault;
use tower_auth::keys::Algorithm;

use crate::attacks::{ED, Keys, P256, P384, RSA, Rule, assert_accepted, backends, good, run, send};
use crate::attacks_confusion::signed;

/// The order of the group of P-256 (FIPS 186-5), and that of Ed25519 (RFC 8032 §5.1), most significant byte first.
const N256: [u8; 32] = *b"\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
const L: [u8; 32] =
    *b"\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x14\xde\xf9\xde\xa2\xf7\x9c\xd6\x58\x12\x63\x1a\x5c\xf5\xd3\xed";

fn minus(from: &[u8], what: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut difference: Vec<u8> = from
        .iter()
        .zip(what)
        .rev()
        .map(|(a, b)| {
            let digit = i16::from(*a) - i16::from(*b) - borrow;
            borrow = i16::from(digit < 0);
            digit.rem_euclid(256) as u8
        })
        .collect();
    difference.reverse();
    difference
}

fn plus(one: &[u8], two: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum: Vec<u8> = one
        .iter()
        .zip(two)
        .rev()
        .map(|(a, b)| {
            let digit = u16::from(*a) + u16::from(*b) + carry;
            carry = digit >> 8;
            digit as u8
        })
        .collect();
    sum.reverse();
    sum
}

/// ECDSA-Sig-Value (RFC 3279 §2.2.3), which JWS does not use.
fn der(raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for half in raw.chunks(raw.len() / 2) {
        let mut integer = half.to_vec();
        if integer[0] >= 0x80 {
            integer.insert(0, 0);
        }
        body.extend([2, u8::try_from(integer.len()).unwrap()]);
        body.extend(integer);
    }
    [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
}

fn resigned(token: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", B64.encode(change(B64.decode(signature).unwrap())))
}

type Change = fn(Vec<u8>) -> Vec<u8>;

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

/// For every algorithm.
const ALL: &[(&str, Change)] = &[
    ("one byte less", |mut s| {
        s.pop();
        s
    }),
    ("one byte less in front", |s| s[1..].to_vec()),
    ("a NUL after", |mut s| {
        s.push(0);
        s
    }),
    ("a NUL in front", |mut s| {
        s.insert(0, 0);
        s
    }),
    ("the first bit flipped", |s| flipped(s, 0)),
    ("the last bit flipped", |s| {
        let last = s.len() - 1;
        flipped(s, last)
    }),
    ("zeros", |s| vec![0; s.len()]),
    ("ones", |s| vec![0xff; s.len()]),
    ("reversed", |mut s| {
        s.reverse();
        s
    }),
    ("twice", |s| s.repeat(2)),
    ("the first half", |mut s| {
        s.truncate(s.len() / 2);
        s
    }),
];

const ECDSA: &[(&str, Change)] = &[
    ("ES256: in DER", |s| der(&s)),
    ("ES256: r zero", |s| [&[0; 32], &s[32..]].concat()),
    ("ES256: s zero", |s| [&s[..32], &[0; 32]].concat()),
    ("ES256: r and s one", |_| [[0; 31].as_slice(), &[1], &[0; 31], &[1]].concat()),
    ("ES256: r the order", |s| [&N256, &s[32..]].concat()),
    ("ES256: s the order", |s| [&s[..32], &N256].concat()),
    ("ES256: r zero, s the order", |_| [[0; 32], N256].concat()),
    ("ES256: r and s the order", |_| [N256, N256].concat()),
    ("ES256: r and s swapped", |s| [&s[32..], &s[..32]].concat()),
    ("ES256: r negated", |s| [&minus(&N256, &s[..32]), &s[32..]].concat()),
    ("ES256: r and s in 48 bytes each", |s| [&[0; 16], &s[..32], &[0; 16], &s[32..]].concat()),
    ("ES256: r alone", |s| s[..32].to_vec()),
];

const EDDSA: &[(&str, Change)] = &[
    ("EdDSA: S plus the order", |s| {
        let scalar: Vec<u8> = s[32..].iter().rev().copied().collect();
        let above = plus(&scalar, &L);
        [&s[..32], &above.into_iter().rev().collect::<Vec<_>>()].concat()
    }),
    ("EdDSA: R the neutral element", |s| [&[1], [0; 31].as_slice(), &s[32..]].concat()),
    ("EdDSA: R the neutral element, S zero", |_| [&[1], [0; 63].as_slice()].concat()),
    ("EdDSA: R of order two", |s| [&[0xec], [0xff; 30].as_slice(), &[0x7f], &s[32..]].concat()),
    ("EdDSA: R with the sign flipped", |s| {
        let mut s = s;
        s[31] ^= 0x80;
        s
    }),
    ("EdDSA: R not reduced", |s| [&[0xee], [0xff; 30].as_slice(), &[0x7f], &s[32..]].concat()),
    ("EdDSA: S zero", |s| [&s[..32], &[0; 32]].concat()),
    ("EdDSA: R and S swapped", |s| [&s[32..], &s[..32]].concat()),
];

const RSASSA: &[(&str, Change)] = &[
    ("RS256: one", |_| [[0; 255].as_slice(), &[1]].concat()),
    ("RS256: in 257 bytes", |s| [&[0], s.as_slice()].concat()),
    ("RS256: in 1,024 bytes", |s| [[0; 768].as_slice(), &s].concat()),
    ("RS256: the padded hash itself", |_| {
        [&[0, 1], [0xff; 202].as_slice(), &[0], [0x42; 51].as_slice()].concat()
    }),
];

/// Spellings of the last character, whose low bits carry nothing: 64 bytes leave four, 256 bytes four, 32 bytes two.
fn stray(token: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let value = ALPHABET.iter().position(|letter| *letter == last.as_bytes()[0]).unwrap();
    format!("{rest}{}", char::from(ALPHABET[value + 1]))
}

pub(crate) fn rules() -> Vec<Rule> {
    let hs = good();
    let es = signed(Algorithm::Es256, P256.as_bytes());
    let ed = signed(Algorithm::EdDsa, ED.as_bytes());
    let rs = signed(Algorithm::Rs256, RSA.as_bytes());
    let mut rules = Vec::new();
    for (keys, token, prefix) in [
        (Keys::Hs256, &hs, "HS256"),
        (Keys::Es256, &es, "ES256"),
        (Keys::EdDsa, &ed, "EdDSA"),
        (Keys::Rs256, &rs, "RS256"),
    ] {
        let named = |name: &str| -> &'static str { format!("{prefix}: {name}").leak() };
        for (name, change) in ALL {
            rules.push(Rule::token(
                named(name),
                keys,
                token,
                &resigned(token, change),
                TokenFault::Signature,
            ));
        }
        let stripped = format!("{}.", token.rsplit_once('.').unwrap().0);
        rules.push(Rule::token(named("stripped"), keys, token, &stripped, TokenFault::Signature));
        rules.push(Rule::token(named("stray last bits"), keys, token, &stray(token), TokenFault::Malformed));
    }
    for (keys, token, table) in
        [(Keys::Es256, &es, ECDSA), (Keys::EdDsa, &ed, EDDSA), (Keys::Rs256, &rs, RSASSA)]
    {
        for (name, change) in table {
            rules.push(Rule::token(name, keys, token, &resigned(token, change), TokenFault::Signature));
        }
    }
    let long = resigned(&rs, |_| vec![1; 1_100]);
    rules.push(Rule::token("RS256: longer than any key", Keys::Rs256, &rs, &long, TokenFault::TooLarge));
    let es384 = signed(Algorithm::Es384, P384.as_bytes());
    let short = resigned(&es384, |s| [&s[16..48], &s[64..]].concat());
    rules.push(Rule::token(
        "ES384: r and s in 32 bytes each",
        Keys::Es384,
        &es384,
        &short,
        TokenFault::Signature,
    ));
    rules
}

#[tokio::test]
async fn refused() {
    run(&rules()).await;
}

/// ECDSA signatures come in pairs (r, s) and (r, n − s); JWS asks for neither (RFC 7518 §3.4), and providers send both.
/// So one token has two spellings; nothing here takes a token's bytes for its identity.
#[tokio::test]
async fn both_halves_of_an_ecdsa_pair_are_accepted() {
    let token = signed(Algorithm::Es256, P256.as_bytes());
    let other = resigned(&token, |s| [&s[..32], &minus(&N256, &s[32..])].concat());
    assert_ne!(token, other);
    for backend in backends() {
        let layer = Keys::Es256.layer(backend);
        for token in [&token, &other] {
            assert_accepted(&send(&layer, &vec![format!("Bearer {token}").into_bytes()]).await, token);
        }
    }
}

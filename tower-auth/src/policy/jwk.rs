//! Keys, checked before any backend sees them (RFC 7517, RFC 7518 §6, RFC 8037 §2, RFC 8725 §3.5).

use std::borrow::Cow;

use super::json::{self, Value};
use super::{der, jws};
use crate::keys::{Algorithm, Family, KeyFault};

/// Key material of a size and form that is known to be right once [`check`](Shape::check) has passed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Hmac { secret: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

impl Shape {
    /// The sizes RFC 7518 §3.2, §3.3, §3.4 and RFC 8032 §5.1.5 ask for.
    pub(crate) fn check(&self) -> Result<(), KeyFault> {
        let fits = match self {
            Self::Hmac { secret } if is_no_secret(secret) => return Err(KeyFault::NotSecret),
            // Shorter than every hash that could be used.
            Self::Hmac { secret } => secret.len() >= 32,
            Self::Rsa { n, e } => return check_rsa(n, e),
            Self::Ec { x, y } => x.len() == y.len() && matches!(x.len(), 32 | 48),
            Self::Ed25519 { x } => return check_ed25519(x),
        };
        if fits { Ok(()) } else { Err(KeyFault::Size) }
    }

    /// What this material may verify when nothing narrows it.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        Algorithm::ALL.into_iter().filter(|algorithm| self.fits(*algorithm)).collect()
    }

    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        match (self, algorithm.family()) {
            // "A key of the same size as the hash output or larger MUST be used" (RFC 7518 §3.2).
            (Self::Hmac { secret }, Family::Hmac) => secret.len() >= algorithm.hash_size(),
            (Self::Rsa { .. }, Family::Rsa) | (Self::Ed25519 { .. }, Family::Ed) => true,
            (Self::Ec { x, .. }, Family::Ec) => x.len() == algorithm.hash_size(),
            _ => false,
        }
    }
}

/// A key file in the place of a secret. With a public key there, everybody who has it could sign (RFC 8725 §2.1).
fn is_no_secret(secret: &[u8]) -> bool {
    let text = secret.trim_ascii();
    text.windows(11).any(|window| window == b"-----BEGIN ")
        || text.starts_with(b"ssh-")
        || text.starts_with(b"ecdsa-sha2-")
        || json::object(text)
            .is_ok_and(|members| members.iter().any(|(name, _)| name == "kty" || name == "keys"))
        || der::public_key(secret).or_else(|| der::rsa_public_key(secret)).is_some()
        || is_armoured(text)
}

/// The body of a public key in PEM without the lines around it, which is how some providers show theirs.
fn is_armoured(text: &[u8]) -> bool {
    use base64::Engine;
    let body: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body);
    der.is_ok_and(|der| der::public_key(&der).or_else(|| der::rsa_public_key(&der)).is_some())
}

/// Points of small order verify signatures that nobody made, and coordinates that are not reduced are no encodings at
/// all (RFC 8032 §5.1.3); the backends take both.
fn check_ed25519(x: &[u8]) -> Result<(), KeyFault> {
    /// The coordinates of order 4, 1 and 8 without the sign, least significant byte first.
    const SMALL: [[u8; 32]; 4] = [
        [0; 32],
        {
            let mut one = [0; 32];
            one[0] = 1;
            one
        },
        *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
        *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    ];
    let mut point: [u8; 32] = x.try_into().map_err(|_| KeyFault::Size)?;
    point[31] &= 0x7f;
    // p is 2^255 − 19, and p − 1 the coordinate of order 2.
    let at_the_end = point[0] >= 0xec && point[31] == 0x7f && point[1..31].iter().all(|byte| *byte == 0xff);
    if at_the_end || SMALL.contains(&point) { Err(KeyFault::Weak) } else { Ok(()) }
}

fn check_rsa(n: &[u8], e: &[u8]) -> Result<(), KeyFault> {
    // A leading zero would hide the real size (RFC 7518 §6.3.1.1).
    let first = n.first().filter(|first| **first != 0).ok_or(KeyFault::Size)?;
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if !(2048..=8192).contains(&bits) {
        return Err(KeyFault::Size);
    }
    if n.last().is_none_or(|last| last & 1 == 0) {
        return Err(KeyFault::Weak);
    }
    // FIPS 186-5 §A.1.1: odd and above 2^16; the upper bound is what both backends take.
    if e.is_empty() || e.len() > 4 || e[0] == 0 {
        return Err(KeyFault::Weak);
    }
    let exponent = e.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    if exponent < 65_537 || exponent & 1 == 0 || looks_like_roca(n) {
        return Err(KeyFault::Weak);
    }
    Ok(())
}

/// The fingerprint of CVE-2017-15361: moduli whose remainders by small primes are all powers of 65537. A sound modulus
/// looks so with a probability below 2^-27.
fn looks_like_roca(n: &[u8]) -> bool {
    const PRIMES: [u64; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    PRIMES.iter().all(|prime| {
        let remainder = n.iter().fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % prime);
        let mut power = 1;
        loop {
            if power == remainder {
                return true;
            }
            power = power * 65_537 % prime;
            if power == 1 {
                return false;
            }
        }
    })
}

/// One key as it came, and what it may be used for.
pub(crate) struct Parsed {
    pub(crate) kid: Option<String>,
    pub(crate) shape: Shape,
    pub(crate) algorithms: Vec<Algorithm>,
}

/// Reads one JWK.
pub(crate) fn parse(json: &[u8]) -> Result<Parsed, KeyFault> {
    let members = json::object(json).map_err(|_| KeyFault::Malformed)?;
    let get = |name: &str| members.iter().find(|(member, _)| member == name).map(|(_, value)| value);
    let text = |name: &str| match get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.into_cow())),
        Some(_) => Err(KeyFault::Malformed),
    };
    let bytes =
        |name: &str| jws::decode(&text(name)?.ok_or(KeyFault::Malformed)?).map_err(|_| KeyFault::Malformed);
    if text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(KeyFault::Purpose);
    }
    match get("key_ops") {
        None => {}
        Some(Value::Array(operations)) => {
            let operations = json::array(operations).map_err(|_| KeyFault::Malformed)?;
            let verifies =
                |operation: &Value<'_>| matches!(operation, Value::String(name) if name == "verify");
            operations.iter().any(verifies).then_some(()).ok_or(KeyFault::Purpose)?;
        }
        Some(_) => return Err(KeyFault::Malformed),
    }
    let (shape, curve_size) = match &*text("kty")?.ok_or(KeyFault::Malformed)? {
        "oct" => (Shape::Hmac { secret: bytes("k")? }, None),
        "RSA" => (Shape::Rsa { n: bytes("n")?, e: bytes("e")? }, None),
        "EC" => match text("crv")?.as_deref() {
            Some("P-256") => (Shape::Ec { x: bytes("x")?, y: bytes("y")? }, Some(32)),
            Some("P-384") => (Shape::Ec { x: bytes("x")?, y: bytes("y")? }, Some(48)),
            _ => return Err(KeyFault::Unsupported),
        },
        "OKP" if text("crv")?.as_deref() == Some("Ed25519") => (Shape::Ed25519 { x: bytes("x")? }, None),
        _ => return Err(KeyFault::Unsupported),
    };
    shape.check()?;
    if let (Shape::Ec { x, .. }, Some(size)) = (&shape, curve_size)
        && x.len() != size
    {
        return Err(KeyFault::Size);
    }
    let algorithms = match text("alg")? {
        None => shape.algorithms(),
        Some(name) => {
            let algorithm = Algorithm::from_name(&name).ok_or(KeyFault::Unsupported)?;
            if !shape.fits(algorithm) {
                return Err(KeyFault::Algorithm);
            }
            vec![algorithm]
        }
    };
    Ok(Parsed { kid: text("kid")?.map(Cow::into_owned), shape, algorithms })
}

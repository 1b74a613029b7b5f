//! Just enough DER to take public keys out of PEM files (RFC 5280 §4.1, RFC 8017 A.1.1), so that their shape is checked
//! here and not by the backends, which disagree.

use super::jwk::Shape;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The bytes between the first pair of armour lines, and whether the label says PKCS#1.
pub(crate) fn unarmour(pem: &[u8]) -> Option<(Vec<u8>, bool)> {
    use base64::Engine;
    let text = std::str::from_utf8(pem).ok()?;
    let (label, rest) = text.split_once("-----BEGIN ")?.1.split_once("-----")?;
    let body = rest.split_once(&format!("-----END {label}-----"))?.0;
    let body: String = body.split_ascii_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
    match label {
        "PUBLIC KEY" => Some((der, false)),
        "RSA PUBLIC KEY" => Some((der, true)),
        _ => None,
    }
}

/// A `SubjectPublicKeyInfo`.
pub(crate) fn public_key(der: &[u8]) -> Option<Shape> {
    let mut info = whole(der, SEQUENCE)?;
    let mut algorithm = element(&mut info, SEQUENCE)?;
    let bits = element(&mut info, BIT_STRING)?;
    let (unused, key) = bits.split_first()?;
    if *unused != 0 || !info.is_empty() {
        return None;
    }
    let kind = element(&mut algorithm, OID)?;
    match kind {
        RSA => rsa_public_key(key),
        ED25519 => Some(Shape::Ed25519 { x: key.to_vec() }),
        EC => {
            let bytes = match element(&mut algorithm, OID)? {
                P256 => 32,
                P384 => 48,
                _ => return None,
            };
            // Uncompressed points only (RFC 5480 §2.2).
            let point = key.strip_prefix(&[4])?;
            let (x, y) = (point.len() == 2 * bytes).then(|| point.split_at(bytes))?;
            Some(Shape::Ec { x: x.to_vec(), y: y.to_vec() })
        }
        _ => None,
    }
}

/// A PKCS#1 `RSAPublicKey`.
pub(crate) fn rsa_public_key(der: &[u8]) -> Option<Shape> {
    let mut key = whole(der, SEQUENCE)?;
    let n = unsigned(element(&mut key, INTEGER)?)?;
    let e = unsigned(element(&mut key, INTEGER)?)?;
    key.is_empty().then_some(Shape::Rsa { n, e })
}

/// A positive integer without its sign byte.
fn unsigned(bytes: &[u8]) -> Option<Vec<u8>> {
    match bytes {
        [0, rest @ ..] => Some(rest.to_vec()),
        [first, ..] if *first < 0x80 => Some(bytes.to_vec()),
        _ => None,
    }
}

fn whole(mut der: &[u8], tag: u8) -> Option<&[u8]> {
    let content = element(&mut der, tag)?;
    der.is_empty().then_some(content)
}

/// Takes one element with the given tag off the front.
fn element<'d>(der: &mut &'d [u8], tag: u8) -> Option<&'d [u8]> {
    let (&[found, length], mut rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let mut size = usize::from(length);
    if length >= 0x80 {
        let count = usize::from(length & 0x7f);
        if !(1..=3).contains(&count) {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        size = digits.iter().fold(0, |size, digit| (size << 8) | usize::from(*digit));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(size)?;
    *der = after;
    Some(content)
}

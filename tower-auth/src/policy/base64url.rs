//! Canonical base64url without padding (RFC 7515 §2): no other alphabet, no padding, no white space, no stray bits at the
//! end, so that one value has one spelling. Sixteen characters at once, without branches and tables, because most of what
//! is read of a token is this.

/// Characters of one step.
const STEP: usize = 16;
/// Bytes of one step.
const OUT: usize = 12;

/// `None` for anything else.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    decode_into(text, &mut bytes).then_some(bytes)
}

/// The capacity with which [`decode_into`] allocates nothing.
pub(crate) fn needed(text: &str) -> usize {
    text.len().div_ceil(STEP) * OUT
}

/// Replaces what is in `bytes`; when the text is anything else they are undefined.
pub(crate) fn decode_into(text: &str, bytes: &mut Vec<u8>) -> bool {
    let length = text.len() / 4 * 3 + [0, 0, 1, 2][text.len() % 4];
    bytes.clear();
    bytes.resize(needed(text), 0);
    let (steps, rest) = text.as_bytes().as_chunks::<STEP>();
    let (places, _) = bytes.as_chunks_mut::<OUT>();
    let mut wrong = [0; STEP];
    let mut last = [b'A'; STEP];
    last[..rest.len()].copy_from_slice(rest);
    // There is a place for the rest only if there is one.
    for (number, place) in places.iter_mut().enumerate() {
        *place = joined(sextets(steps.get(number).unwrap_or(&last), &mut wrong));
    }
    // What the last character says beyond the last byte must be nothing.
    let canonical = text.len() % 4 != 1 && bytes.get(length).is_none_or(|beyond| *beyond == 0);
    bytes.truncate(length);
    canonical && wrong == [0; STEP]
}

/// What each character stands for; `wrong` is no longer zero when one stands for nothing.
#[inline(always)]
fn sextets(characters: &[u8; STEP], wrong: &mut [u8; STEP]) -> [u8; STEP] {
    let mut sextets = [0; STEP];
    for index in 0..STEP {
        let character = characters[index];
        // All ones or all zeros.
        let mask = |is: bool| u8::from(is).wrapping_neg();
        // What is to be added, modulo 256; never nothing.
        let shift = mask(character.wrapping_sub(b'A') < 26) & b'A'.wrapping_neg()
            | mask(character.wrapping_sub(b'a') < 26) & (b'a' - 26).wrapping_neg()
            | mask(character.wrapping_sub(b'0') < 10) & (52 - b'0')
            | mask(character == b'-') & (62 - b'-')
            | mask(character == b'_') & (b'_' - 63).wrapping_neg();
        sextets[index] = character.wrapping_add(shift);
        wrong[index] |= mask(shift == 0);
    }
    sextets
}

/// Six bits of each.
#[inline(always)]
fn joined(sextets: [u8; STEP]) -> [u8; OUT] {
    let both = u128::from_be_bytes(sextets);
    let (first, second) = (narrow((both >> 64) as u64), narrow(both as u64));
    let mut bytes = [0; OUT];
    bytes[..8].copy_from_slice(&(first << 16 | second >> 32).to_be_bytes());
    bytes[8..].copy_from_slice(&(second as u32).to_be_bytes());
    bytes
}

/// Eight times six bits in a row.
#[inline(always)]
fn narrow(eight: u64) -> u64 {
    let four = (eight & 0x3f00_3f00_3f00_3f00) >> 2 | eight & 0x003f_003f_003f_003f;
    let two = (four & 0x0fff_0000_0fff_0000) >> 4 | four & 0x0000_0fff_0000_0fff;
    (two >> 32) << 24 | two & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn check(text: &str) {
        assert_eq!(decode(text), URL_SAFE_NO_PAD.decode(text).ok(), "{text}");
    }

    /// Texts of every length, and what one other character makes of them, are read as by a decoder that is not ours.
    #[test]
    fn like_another() {
        let bytes: Vec<u8> = (0..200_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for length in 0..bytes.len() {
            check(&URL_SAFE_NO_PAD.encode(&bytes[..length]));
        }
        for length in 0..=40 {
            let text = &URL_SAFE_NO_PAD.encode(&bytes)[..length];
            check(text);
            for position in 0..length {
                for character in 0..=0x7f_u8 {
                    let mut changed = text.as_bytes().to_vec();
                    changed[position] = character;
                    check(std::str::from_utf8(&changed).unwrap());
                }
            }
        }
        for other in ["é", "AAé", "AAAAAAAAAAAAAAAé", "AAAAAAAAAAAAAA\u{80}", "\u{ff21}AA"] {
            check(other);
        }
    }
}

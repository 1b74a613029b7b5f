//! Ids: which are acceptable, and how random bits become one.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

/// Longest id that is ever kept, in bytes.
pub(crate) const MAX_ID: usize = 128;

/// Longest id that is kept inline, in bytes: every generated form, and most that callers send.
const INLINE: usize = 47;

/// A correlation id: 1 to 128 bytes of `A–Z a–z 0–9 . _ -` unless the validation was told otherwise. Up to 47 bytes are
/// kept inline, longer ones shared: a clone never copies to the heap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CorrelationId {
    short: Short,
    /// Only what does not fit inline, so that equal ids are of one kind.
    long: Option<Arc<Box<[u8]>>>,
}

/// Whole words in one piece, as copies of other cuts wait for each other. Bytes behind the length are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(align(8))]
struct Short {
    bytes: [u8; INLINE],
    length: u8,
}

impl AsRef<[u8]> for Short {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl CorrelationId {
    /// Takes an id that is within the length limit and made of visible ASCII characters.
    pub(crate) fn new(id: &[u8]) -> Option<Self> {
        if id.is_empty() || id.len() > MAX_ID || !id.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        Some(Self::of(id))
    }

    /// Takes an id known to be within the length limit and made of visible ASCII characters.
    pub(crate) fn of(id: &[u8]) -> Self {
        let mut bytes = [0; INLINE];
        match bytes.get_mut(..id.len()) {
            Some(place) => {
                place.copy_from_slice(id);
                Self::inline(id.len(), bytes)
            }
            None => Self { long: Some(Arc::new(id.into())), ..Self::inline(0, bytes) },
        }
    }

    #[inline]
    const fn inline(length: usize, bytes: [u8; INLINE]) -> Self {
        Self { short: Short { bytes, length: length as u8 }, long: None }
    }

    /// 16 bytes as 32 lower-case hexadecimal digits.
    #[inline]
    pub(crate) fn hex(bits: [u8; 16]) -> Self {
        let digit = |nibble: u8| nibble + if nibble > 9 { b'a' - 10 } else { b'0' };
        let mut bytes = [0; INLINE];
        // From memory to memory, which compilers do for many bytes at once.
        for (pair, byte) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(bits) {
            *pair = [digit(byte >> 4), digit(byte & 0x0f)];
        }
        Self::inline(32, bytes)
    }

    /// A UUID in its usual form (RFC 9562 §4), version and variant set.
    #[inline]
    pub(crate) fn uuid(bits: u128, version: u8) -> Self {
        let high = (bits >> 64) as u64 & !0xf000 | u64::from(version) << 12;
        let low = bits as u64 & !(0b11 << 62) | 0b10 << 62;
        // From register to place: what is read again just after it was written takes longer than writing it.
        let (second, third) = (eight_digits(high as u32), eight_digits((low >> 32) as u32));
        let mut bytes = [0; INLINE];
        bytes[..8].copy_from_slice(&eight_digits((high >> 32) as u32).to_be_bytes());
        bytes[8] = b'-';
        bytes[9..13].copy_from_slice(&((second >> 32) as u32).to_be_bytes());
        bytes[13] = b'-';
        bytes[14..18].copy_from_slice(&(second as u32).to_be_bytes());
        bytes[18] = b'-';
        bytes[19..23].copy_from_slice(&((third >> 32) as u32).to_be_bytes());
        bytes[23] = b'-';
        bytes[24..28].copy_from_slice(&(third as u32).to_be_bytes());
        bytes[28..36].copy_from_slice(&eight_digits(low as u32).to_be_bytes());
        Self::inline(36, bytes)
    }

    /// UUID version 7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, the rest random.
    #[inline]
    pub(crate) fn uuid_v7(millis: u64, random: (u16, u64)) -> Self {
        Self::uuid(u128::from(millis << 16 | u64::from(random.0)) << 64 | u128::from(random.1), 7)
    }

    /// ULID: 48 bits of Unix milliseconds and 80 random ones in Crockford's base 32.
    pub(crate) fn ulid(millis: u64, random: (u16, u64)) -> Self {
        const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let bits = u128::from(millis << 16 | u64::from(random.0)) << 64 | u128::from(random.1);
        let mut bytes = [0; INLINE];
        for (index, digit) in bytes[..26].iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (125 - 5 * index)) as usize & 31];
        }
        Self::inline(26, bytes)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.long {
            None => self.short.as_ref(),
            Some(bytes) => bytes,
        }
    }

    /// The id as a field value, in one allocation that its clones share.
    pub(crate) fn value(&self) -> HeaderValue {
        struct Long(Arc<Box<[u8]>>);
        impl AsRef<[u8]> for Long {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let bytes = match &self.long {
            None => Bytes::from_owner(self.short),
            Some(bytes) => Bytes::from_owner(Long(bytes.clone())),
        };
        // Only what may stand in a field gets in.
        HeaderValue::from_maybe_shared(bytes).unwrap_or(HeaderValue::from_static(""))
    }

    /// A number that follows from the id alone, the same in every process and version: eight bytes at a time, then mixed so
    /// that all bits depend on all of it.
    pub(crate) fn hash64(&self) -> u64 {
        let mix = |hash: u64, word: u64| {
            let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^ hash >> 32
        };
        let (words, rest) = self.as_bytes().as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let mut hash = words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        hash = mix(hash, u64::from_le_bytes(last));
        hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ hash >> 31
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CorrelationId({})", self.as_str())
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes the lowest bits as lower-case hexadecimal digits, most significant first.
#[inline]
pub(crate) fn hex(bits: u128, out: &mut [u8]) {
    let digits = out.len();
    let mut shift = 4 * digits;
    let mut chunks = out.chunks_exact_mut(8);
    for eight in &mut chunks {
        shift -= 32;
        eight.copy_from_slice(&eight_digits((bits >> shift) as u32).to_be_bytes());
    }
    let rest = chunks.into_remainder();
    let last = eight_digits(bits as u32).to_be_bytes();
    rest.copy_from_slice(&last[8 - rest.len()..]);
}

/// Eight digits at once, the first in the highest byte: one nibble per byte, then `0`–`9` or `a`–`f` without a branch.
#[inline]
fn eight_digits(bits: u32) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let bits = u64::from(bits);
    let bits = (bits << 16 | bits) & 0x0000_ffff_0000_ffff;
    let bits = (bits << 8 | bits) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bits << 4 | bits) & (0x0f * ONES);
    // 1 where the nibble is above 9.
    let letters = (nibbles + 6 * ONES) >> 4 & ONES;
    nibbles + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10)
}

#[cfg(test)]
mod tests {
    use super::{CorrelationId, hex};

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for bits in [0, 1, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, u128::MAX, 0x9a << 60] {
            let mut out = [0; 32];
            hex(bits, &mut out);
            assert_eq!(std::str::from_utf8(&out).ok(), Some(format!("{bits:032x}").as_str()));
            let mut out = [0; 16];
            hex(bits, &mut out);
            assert_eq!(std::str::from_utf8(&out).ok(), Some(format!("{:016x}", bits as u64).as_str()));
            let mut out = [0; 2];
            hex(bits, &mut out);
            assert_eq!(std::str::from_utf8(&out).ok(), Some(format!("{:02x}", bits as u8).as_str()));
        }
    }

    #[test]
    fn time_and_randomness_keep_to_their_bits() {
        // RFC 9562, appendix A.6; of the random bits, those in the place of time, version and variant are not taken.
        let random = (0x0cc3 | 0xf000, 0x18c4_dc0c_0c07_398f | 0b11 << 62);
        let id = CorrelationId::uuid_v7(0x017f_22e2_79b0, random);
        assert_eq!(id.as_str(), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
        // Ten digits of time, computed with arbitrary precision: 0 to 9 and A to Z without I, L, O, U.
        let ulid = |millis, random| CorrelationId::ulid(millis, random);
        assert_eq!(ulid(1_469_918_176_385, (0, 0)).as_str(), "01ARYZ6S410000000000000000");
        assert_eq!(ulid(1_469_918_176_385, (u16::MAX, u64::MAX)).as_str(), "01ARYZ6S41ZZZZZZZZZZZZZZZZ");
        assert_eq!(ulid((1 << 48) - 1, (0, 1)).as_str(), "7ZZZZZZZZZ0000000000000001");
    }

    /// Services of different versions must agree on it.
    #[test]
    fn the_number_of_an_id_never_changes() {
        let number = |id: &[u8]| CorrelationId::new(id).unwrap().hash64();
        assert_eq!(number(b"readme-1"), 0xcfa7_15dc_653e_96d9);
        assert_eq!(number(b"a"), 0xd059_84e5_d591_2709);
        assert_eq!(number(b"0af7651916cd43dd8448eb211c80319c-17"), 0x1b86_44c1_d04e_485a);
    }
}

//! `traceparent` (W3C Trace Context level 2, §3.2).

use super::id::hex;

/// The fields of one `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

/// `sampled` (§3.2.2.5.1).
const SAMPLED: u8 = 1;
/// `random-trace-id` (level 2 §3.2.2.5.2).
const RANDOM: u8 = 2;

impl TraceParent {
    /// A new trace with random ids; zero is not a valid id (§3.2.2.3), so it becomes one.
    pub(crate) fn generate(trace_id: u128, parent_id: u64, sampled: bool) -> Self {
        let flags = RANDOM | if sampled { SAMPLED } else { 0 };
        Self { trace_id: trace_id.max(1), parent_id: parent_id.max(1), flags }
    }

    /// A position in a trace from its fields, such as those of another SDK's span context; `None` when an id is zero
    /// (§3.2.2.3). Flags without a meaning are left out.
    #[must_use]
    pub fn new(trace_id: u128, parent_id: u64, flags: u8) -> Option<Self> {
        (trace_id != 0 && parent_id != 0).then_some(Self {
            trace_id,
            parent_id,
            flags: flags & (SAMPLED | RANDOM),
        })
    }

    /// A new trace whose lowest 56 bits follow from something that was given: not random for those who ask (level 2
    /// §3.2.2.5.2).
    pub(crate) fn derived(random: u128, parent_id: u64, low56: u64) -> Self {
        const LOW: u128 = (1 << 56) - 1;
        let trace_id = (random & !LOW) | (u128::from(low56) & LOW);
        Self { trace_id: trace_id.max(1), parent_id: parent_id.max(1), flags: 0 }
    }

    /// The same trace under a new parent: this hop's own span.
    #[must_use]
    pub fn child(self, parent_id: u64) -> Self {
        Self { parent_id: parent_id.max(1), ..self }
    }

    /// Parses a field value; surrounding white space is not part of it (RFC 9110 §5.5).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (version, rest) = value.split_at_checked(2)?;
        let version = lower_hex(version)?;
        let (fixed, more) = rest.split_at_checked(53)?;
        // §3.2.2.1: ff is invalid; 00 has this length and no other; later versions may only add fields after a dash.
        let valid = match version {
            0xff => false,
            0 => more.is_empty(),
            _ => matches!(more.first(), None | Some(b'-')),
        };
        if !valid || fixed[0] != b'-' || fixed[33] != b'-' || fixed[50] != b'-' {
            return None;
        }
        let trace_id = lower_hex(&fixed[1..33]).filter(|&id| id != 0)?;
        let parent_id = lower_hex(&fixed[34..50]).filter(|&id| id != 0)?;
        let flags = lower_hex(&fixed[51..53])? as u8;
        // Bits without a meaning are not passed on (§3.2.2.5.3).
        Some(Self { trace_id, parent_id: parent_id as u64, flags: flags & (SAMPLED | RANDOM) })
    }

    /// The id of the whole trace.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The id of the span that made the call.
    #[must_use]
    pub fn parent_id(&self) -> u64 {
        self.parent_id
    }

    /// `trace-flags`: bit 0 is sampled, bit 1 random.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the caller may have recorded this trace.
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Whether at least the last 56 bits of the trace id are random (level 2).
    #[must_use]
    pub fn random(&self) -> bool {
        self.flags & RANDOM != 0
    }

    /// The field value, version 00.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 55] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(self.trace_id, &mut out[3..35]);
        hex(u128::from(self.parent_id), &mut out[36..52]);
        hex(u128::from(self.flags), &mut out[53..55]);
        out
    }
}

/// 2, 16 or 32 lower-case hexadecimal digits (§3.2.1: upper case is invalid).
fn lower_hex(digits: &[u8]) -> Option<u128> {
    let mut value = 0;
    let mut eights = digits.chunks_exact(8);
    for eight in &mut eights {
        value = value << 32 | u128::from(eight_values(eight.try_into().ok()?)?);
    }
    let rest = eights.remainder();
    if !rest.is_empty() {
        let mut eight = [b'0'; 8];
        eight[8 - rest.len()..].copy_from_slice(rest);
        value = value << (4 * rest.len()) | u128::from(eight_values(eight)?);
    }
    Some(value)
}

/// Eight digits at once: a nibble per byte, which written again must be what was read.
fn eight_values(digits: [u8; 8]) -> Option<u32> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let read = u64::from_be_bytes(digits);
    let letters = read >> 6 & ONES;
    let nibbles = (read & (0x0f * ONES)) + letters * 9;
    let letters = (nibbles + 6 * ONES) >> 4 & ONES;
    let written = nibbles + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10);
    if nibbles & (0xf0 * ONES) != 0 || written != read {
        return None;
    }
    let pairs = (nibbles >> 4 | nibbles) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs >> 8 | pairs) & 0x0000_ffff_0000_ffff;
    Some((fours >> 16 | fours) as u32)
}

#[cfg(test)]
mod tests {
    use super::{TraceParent, lower_hex};

    /// Every byte at every place, beside digits that are good.
    #[test]
    fn digits_are_those_of_the_standard_library_in_lower_case() {
        for length in [2, 16, 32] {
            let good = &b"0123456789abcdef0f1e2d3c4b5a6978"[..length];
            for place in 0..length {
                for byte in 0..=255 {
                    let mut digits = good.to_vec();
                    digits[place] = byte;
                    let expected = std::str::from_utf8(&digits)
                        .ok()
                        .filter(|_| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
                        .and_then(|digits| u128::from_str_radix(digits, 16).ok());
                    assert_eq!(lower_hex(&digits), expected, "{digits:?}");
                }
            }
        }
    }

    /// Zero is no id (§3.2.2.3, §3.2.2.4), whatever the generator says.
    #[test]
    fn no_id_is_ever_zero() {
        for made in [
            TraceParent::generate(0, 0, true),
            TraceParent::derived(0, 0, 0),
            TraceParent::generate(5, 6, false).child(0),
        ] {
            assert!(made.trace_id() != 0 && made.parent_id() == 1);
            assert_eq!(TraceParent::parse(&made.to_bytes()), Some(made));
        }
    }

    #[test]
    fn a_trace_that_follows_from_an_id_says_that_it_is_not_random() {
        let derived = TraceParent::derived(u128::MAX, 1, 0xab);
        assert_eq!(derived.trace_id(), u128::MAX << 56 | 0xab);
        assert!(!derived.random() && !derived.sampled());
        assert!(TraceParent::generate(1, 1, false).random());
    }
}

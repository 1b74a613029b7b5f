//! `traceparent` (W3C Trace Context level 2, §3.2).

use std::num::NonZeroU64;

use super::id::hex;

/// The fields of one `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The halves of the trace id, not both zero: a `u128` would have all that holds this padded to its alignment.
    trace_id: [u64; 2],
    parent_id: NonZeroU64,
    /// A byte's worth in a whole word, for the reason that [`Replaced`](super::inbound::Replaced) is one.
    flags: u64,
}

/// `sampled` (§3.2.2.5.1).
const SAMPLED: u64 = 1;
/// `random-trace-id` (level 2 §3.2.2.5.2).
const RANDOM: u64 = 2;

impl TraceParent {
    /// A new trace with random ids; zero is not a valid id (§3.2.2.3), so it becomes one.
    pub(crate) fn generate(trace_id: u128, parent_id: u64, sampled: bool) -> Self {
        let flags = RANDOM | if sampled { SAMPLED } else { 0 };
        Self { trace_id: not_zero(trace_id), parent_id: a_span(parent_id), flags }
    }

    /// A position in a trace from its fields, such as those of another SDK's span context; `None` when an id is zero
    /// (§3.2.2.3). Flags without a meaning are left out.
    #[must_use]
    pub fn new(trace_id: u128, parent_id: u64, flags: u8) -> Option<Self> {
        if trace_id == 0 {
            return None;
        }
        Some(Self {
            trace_id: halves(trace_id),
            parent_id: NonZeroU64::new(parent_id)?,
            flags: u64::from(flags) & (SAMPLED | RANDOM),
        })
    }

    /// A new trace whose lowest 56 bits follow from something that was given: not random for those who ask (level 2
    /// §3.2.2.5.2).
    pub(crate) fn derived(random: u128, parent_id: u64, low56: u64, sampled: bool) -> Self {
        const LOW: u128 = (1 << 56) - 1;
        let trace_id = (random & !LOW) | (u128::from(low56) & LOW);
        let flags = if sampled { SAMPLED } else { 0 };
        Self { trace_id: not_zero(trace_id), parent_id: a_span(parent_id), flags }
    }

    /// The same trace under a new parent: this hop's own span.
    #[must_use]
    pub fn child(self, parent_id: u64) -> Self {
        Self { parent_id: a_span(parent_id), ..self }
    }

    /// Parses a field value; surrounding white space is not part of it (RFC 9110 §5.5).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (fixed, more) = value.trim_ascii().split_first_chunk::<55>()?;
        let digits = |at: usize| fixed[at..].first_chunk().map_or(INVALID, |eight| eight_values(*eight));
        // Version and flags, two digits each.
        let short = eight_values([b'0', b'0', b'0', b'0', fixed[0], fixed[1], fixed[53], fixed[54]]);
        let (version, flags) = (short >> 8, short as u8);
        // §3.2.2.1: ff is invalid; 00 has this length and no other; later versions may only add fields after a dash.
        let ends = more.is_empty() || (version != 0 && more[0] == b'-');
        if !ends || version >= 0xff || fixed[2] != b'-' || fixed[35] != b'-' || fixed[52] != b'-' {
            return None;
        }
        let (first, second, third, fourth) = (digits(3), digits(11), digits(19), digits(27));
        let (high, low) = (digits(36), digits(44));
        if (first | second | third | fourth | high | low) > u64::from(u32::MAX) {
            return None;
        }
        let trace_id = u128::from(first << 32 | second) << 64 | u128::from(third << 32 | fourth);
        // Bits without a meaning are not passed on (§3.2.2.5.3).
        Self::new(trace_id, high << 32 | low, flags)
    }

    /// The id of the whole trace.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        let [high, low] = self.trace_id;
        u128::from(high) << 64 | u128::from(low)
    }

    /// The id of the span that made the call.
    #[must_use]
    pub fn parent_id(&self) -> u64 {
        self.parent_id.get()
    }

    /// `trace-flags`: bit 0 is sampled, bit 1 random.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags as u8
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
        hex(self.trace_id(), &mut out[3..35]);
        hex(u128::from(self.parent_id.get()), &mut out[36..52]);
        hex(u128::from(self.flags), &mut out[53..55]);
        out
    }
}

/// Zero is no id of a trace (§3.2.2.3).
fn not_zero(trace_id: u128) -> [u64; 2] {
    halves(trace_id.max(1))
}

fn halves(trace_id: u128) -> [u64; 2] {
    [(trace_id >> 64) as u64, trace_id as u64]
}

/// Nor of a span (§3.2.2.4).
fn a_span(parent_id: u64) -> NonZeroU64 {
    NonZeroU64::new(parent_id).unwrap_or(NonZeroU64::MIN)
}

/// What digits are worth that are none: more than eight of them can be.
const INVALID: u64 = u64::MAX;

/// Eight lower-case hexadecimal digits at once (§3.2.1: upper case is invalid): a nibble per byte, which written again
/// must be what was read.
#[inline]
fn eight_values(digits: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let read = u64::from_be_bytes(digits);
    let letters = read >> 6 & ONES;
    let nibbles = (read & (0x0f * ONES)) + letters * 9;
    let letters = (nibbles + 6 * ONES) >> 4 & ONES;
    let written = nibbles + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10);
    if nibbles & (0xf0 * ONES) != 0 || written != read {
        return INVALID;
    }
    let pairs = (nibbles >> 4 | nibbles) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs >> 8 | pairs) & 0x0000_ffff_0000_ffff;
    (fours >> 16 | fours) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::{INVALID, TraceParent, eight_values};

    /// Every byte at every place, beside digits that are good.
    #[test]
    fn digits_are_those_of_the_standard_library_in_lower_case() {
        for good in [*b"01234567", *b"89abcdef", *b"0f1e2d3c"] {
            for place in 0..8 {
                for byte in 0..=255 {
                    let mut digits = good;
                    digits[place] = byte;
                    let expected = std::str::from_utf8(&digits)
                        .ok()
                        .filter(|_| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
                        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
                    assert_eq!(eight_values(digits), expected.unwrap_or(INVALID), "{digits:?}");
                }
            }
        }
    }

    /// Every byte at every place of a whole value, beside a reading that is slow and plain.
    #[test]
    fn a_value_is_read_as_its_grammar_says() {
        let plain = |value: &[u8]| -> Option<TraceParent> {
            let text = std::str::from_utf8(value).ok()?.trim_ascii();
            if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')) {
                return None;
            }
            let [version, trace, parent, flags] = text.split('-').collect::<Vec<_>>()[..] else {
                return None;
            };
            if [version, trace, parent, flags].map(str::len) != [2, 32, 16, 2] || version == "ff" {
                return None;
            }
            TraceParent::new(
                u128::from_str_radix(trace, 16).ok()?,
                u64::from_str_radix(parent, 16).ok()?,
                u8::from_str_radix(flags, 16).ok()?,
            )
        };
        let good = *b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
        assert!(TraceParent::parse(&good).is_some_and(|read| read.to_bytes() == good));
        for place in 0..good.len() {
            for byte in 0..=255 {
                let mut value = good;
                value[place] = byte;
                assert_eq!(TraceParent::parse(&value), plain(&value), "{}", value.escape_ascii());
            }
        }
    }

    /// Zero is no id (§3.2.2.3, §3.2.2.4), whatever the generator says.
    #[test]
    fn no_id_is_ever_zero() {
        for made in [
            TraceParent::generate(0, 0, true),
            TraceParent::derived(0, 0, 0, false),
            TraceParent::generate(5, 6, false).child(0),
        ] {
            assert!(made.trace_id() != 0 && made.parent_id() == 1);
            assert_eq!(TraceParent::parse(&made.to_bytes()), Some(made));
        }
    }

    #[test]
    fn a_trace_that_follows_from_an_id_says_that_it_is_not_random() {
        let derived = TraceParent::derived(u128::MAX, 1, 0xab, false);
        assert_eq!(derived.trace_id(), u128::MAX << 56 | 0xab);
        assert!(!derived.random() && !derived.sampled());
        assert!(TraceParent::generate(1, 1, false).random());
    }
}

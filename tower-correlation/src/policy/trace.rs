//! W3C Trace Context, level 2: `traceparent` (§3.2) and `tracestate` (§3.3).

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

/// Up to 32 lower-case hexadecimal digits (§3.2.1: upper case is invalid).
fn lower_hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// Most members that a `tracestate` may have (§3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Bytes that every implementation passes on at least (§3.3.1.5); what is longer is cut to whole members.
const MAX_BYTES: usize = 512;
/// Members longer than this go first when the list is cut (§3.3.1.5).
const LONG_MEMBER: usize = 128;

/// Joins the field lines into one valid list; `None` when there is nothing to pass on or the list is invalid, which
/// voids all of it (§3.3.1.6).
#[must_use]
pub fn tracestate<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let mut members: Vec<&str> = Vec::new();
    for line in lines {
        let line = std::str::from_utf8(line).ok()?;
        for member in line.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let known =
                members.iter().any(|other| other.split_once('=').is_some_and(|(other, _)| other == key));
            if known
                || !valid_key(key.as_bytes())
                || !valid_value(value.as_bytes())
                || members.len() == MAX_MEMBERS
            {
                return None;
            }
            members.push(member);
        }
    }
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>();
    while length(&members) > MAX_BYTES + 1 {
        match members.iter().rposition(|member| member.len() > LONG_MEMBER) {
            Some(long) => drop(members.remove(long)),
            None => drop(members.pop()),
        }
    }
    (!members.is_empty()).then(|| members.join(","))
}

/// §3.3.1.3.1: a simple key, or `tenant@system`.
fn valid_key(key: &[u8]) -> bool {
    let rest = |part: &[u8]| {
        part.iter()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'_' | b'-' | b'*' | b'/'))
    };
    let mut parts = key.split(|&c| c == b'@');
    match (parts.next(), parts.next(), parts.next()) {
        (Some([first, more @ ..]), None, None) => {
            first.is_ascii_lowercase() && more.len() < 256 && rest(more)
        }
        (Some([tenant, tenant_more @ ..]), Some([system, system_more @ ..]), None) => {
            (tenant.is_ascii_lowercase() || tenant.is_ascii_digit())
                && tenant_more.len() < 241
                && rest(tenant_more)
                && system.is_ascii_lowercase()
                && system_more.len() < 14
                && rest(system_more)
        }
        _ => false,
    }
}

/// §3.3.1.3.2: 1 to 256 printable characters without comma and equals sign; spaces only inside.
fn valid_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len())
        && value.iter().all(|c| matches!(c, b' '..=b'~') && !matches!(c, b',' | b'='))
        && !value.ends_with(b" ")
}

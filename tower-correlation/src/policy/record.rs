//! What is written down of one call, and its form as a line of JSON (RFC 8259).

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::sampling::Kept;

/// On which side of a connection a call is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// It is answered here.
    Server,
    /// It is made here.
    Client,
}

impl Side {
    /// `server` or `client`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The response was handed over to its last byte.
    Complete,
    /// The service or the body returned an error or panicked.
    Error,
    /// Whoever waited for the response, or read it, gave up.
    Dropped,
}

impl Outcome {
    /// `complete`, `error` or `dropped`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Dropped => "dropped",
        }
    }
}

/// Names of the fields that every line may have; others must not be called so.
pub(crate) const NAMES: [&str; 24] = [
    "timestamp",
    "level",
    "message",
    "service",
    "instance",
    "version",
    "side",
    "correlation_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "method",
    "route",
    "status",
    "grpc_status",
    "outcome",
    "duration_ms",
    "ttfb_ms",
    "bytes_in",
    "bytes_out",
    "peer",
    "kept",
    "weight",
    "carried",
];

/// One call, complete.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// Since the Unix epoch.
    pub(crate) time: Duration,
    /// Fields that are the same in all lines, such as service, instance and version.
    pub(crate) constant: &'a [(&'static str, String)],
    pub(crate) side: Side,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) trace_id: Option<u128>,
    pub(crate) span_id: Option<u64>,
    pub(crate) parent_span_id: Option<u64>,
    pub(crate) method: &'a str,
    pub(crate) route: &'a str,
    pub(crate) status: Option<u16>,
    pub(crate) grpc_status: Option<u16>,
    pub(crate) outcome: Outcome,
    pub(crate) duration: Duration,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) bytes_in: Option<u64>,
    pub(crate) bytes_out: u64,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) kept: Kept,
    pub(crate) weight: f64,
    pub(crate) carried: f64,
    pub(crate) fields: &'a [(&'static str, String)],
}

impl Record<'_> {
    /// Appends the call as one JSON object, without a line end.
    pub(crate) fn json(&self, out: &mut String) {
        out.push_str("{\"timestamp\":\"");
        timestamp(self.time, out);
        out.push_str("\",\"level\":\"INFO\",\"message\":\"call\"");
        for (name, value) in self.constant {
            text(out, name, value);
        }
        text(out, "side", self.side.as_str());
        if let Some(id) = self.correlation_id {
            text(out, "correlation_id", id);
        }
        if let Some(id) = self.trace_id {
            raw(out, "trace_id", format_args!("\"{id:032x}\""));
        }
        for (name, id) in [("span_id", self.span_id), ("parent_span_id", self.parent_span_id)] {
            if let Some(id) = id {
                raw(out, name, format_args!("\"{id:016x}\""));
            }
        }
        text(out, "method", self.method);
        text(out, "route", self.route);
        if let Some(status) = self.status {
            raw(out, "status", format_args!("{status}"));
        }
        if let Some(status) = self.grpc_status {
            raw(out, "grpc_status", format_args!("{status}"));
        }
        text(out, "outcome", self.outcome.as_str());
        raw(out, "duration_ms", format_args!("{:.3}", millis(self.duration)));
        if let Some(first) = self.first_byte {
            raw(out, "ttfb_ms", format_args!("{:.3}", millis(first)));
        }
        if let Some(bytes) = self.bytes_in {
            raw(out, "bytes_in", format_args!("{bytes}"));
        }
        raw(out, "bytes_out", format_args!("{}", self.bytes_out));
        if let Some(peer) = self.peer {
            raw(out, "peer", format_args!("\"{peer}\""));
        }
        text(out, "kept", self.kept.as_str());
        raw(out, "weight", format_args!("{}", self.weight));
        if self.carried > 0.0 {
            raw(out, "carried", format_args!("{}", self.carried));
        }
        for (name, value) in self.fields {
            text(out, name, value);
        }
        out.push('}');
    }
}

/// Milliseconds with their fraction.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// `,"name":"value"`, escaped.
pub(crate) fn text(out: &mut String, name: &str, value: &str) {
    out.push_str(",\"");
    escape(out, name);
    out.push_str("\":\"");
    escape(out, value);
    out.push('"');
}

/// `,"name":value`, for values that need no escape.
pub(crate) fn raw(out: &mut String, name: &str, value: std::fmt::Arguments<'_>) {
    out.push_str(",\"");
    escape(out, name);
    out.push_str("\":");
    // Writing to a string does not fail.
    let _ = out.write_fmt(value);
}

/// RFC 8259 §7: quotation mark, reverse solidus and control characters; besides them the two line separators that some
/// readers of lines break at, DEL, which terminals act on, and what turns the direction of the text around it.
fn escape(out: &mut String, value: &str) {
    // All bytes at once, as most often there is nothing to escape.
    let plain = |byte: u8| (b' '..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
    if value.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.push_str(value);
        return;
    }
    let mut rest = value;
    let special = |c: char| {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c < ' ' || turns || matches!(c, '"' | '\\' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}')
    };
    while let Some(at) = rest.find(special) {
        out.push_str(&rest[..at]);
        let mut chars = rest[at..].chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c) => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// RFC 3339 in UTC with microseconds. Days become a date by counting in years that begin in March, as leap days are
/// their last ones then.
pub(crate) fn timestamp(since_epoch: Duration, out: &mut String) {
    let seconds = since_epoch.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // 719468 days lie between the first of March of the year 0 and the epoch; 146097 are 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + carry;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let micros = since_epoch.subsec_micros();
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> String {
        let mut out = String::new();
        timestamp(Duration::from_secs(seconds), &mut out);
        out
    }

    #[test]
    fn timestamps() {
        // Checked against `date -u -d @SECONDS`.
        assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00.000000Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn escapes() {
        let mut out = String::new();
        escape(&mut out, "a\"b\\c\nd\re\tf\0g\u{1b}h\u{7f}i\u{2028}jé\u{202e}k\u{2066}l\u{200f}m\u{61c}");
        assert_eq!(out, r#"a\"b\\c\nd\re\tf\u0000g\u001bh\u007fi\u2028jé\u202ek\u2066l\u200fm\u061c"#);
    }
}

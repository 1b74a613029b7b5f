//! Which calls are written down: consistent probability sampling (OpenTelemetry, "TraceState: Probability Sampling").

use std::time::Duration;

use super::state::TraceState;
use super::trace::TraceParent;

/// Randomness and thresholds have 56 bits.
const BITS: u32 = 56;
const END: u64 = 1 << BITS;
/// Hexadecimal digits of 56 bits.
const DIGITS: usize = 14;
/// OpenTelemetry's member of `tracestate`.
const OT: &str = "ot";

/// A rejection threshold: calls whose randomness is at least this are kept. The smaller, the more are kept, and what a
/// greater threshold keeps, a smaller one keeps too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Threshold(u64);

impl Threshold {
    /// The threshold as a number, for a place that several threads look at.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// What [`to_bits`](Self::to_bits) gave.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits.min(END))
    }

    /// The threshold that keeps this share; `None` when it is no share. Scaled before it is taken from the whole, as
    /// `1 - rate` would lose the digits of small rates; what is less than half of 2⁻⁵⁶ keeps nothing.
    pub(crate) fn of_rate(rate: f64) -> Option<Self> {
        (0.0..=1.0).contains(&rate).then(|| Self(END - (rate * END as f64).round() as u64))
    }

    /// Whether a call with this randomness is kept.
    pub(crate) fn keeps(self, randomness: u64) -> bool {
        randomness >= self.0
    }

    /// How many calls one kept call stands for; infinite when nothing is ever kept.
    pub(crate) fn weight(self) -> f64 {
        END as f64 / (END - self.0) as f64
    }

    /// The `th` of a `tracestate`: 1 to 14 lower-case hexadecimal digits, zeros at the end left out.
    pub(crate) fn parse(digits: &str) -> Option<Self> {
        let value = hex(digits)?;
        Some(Self(value << (4 * (DIGITS - digits.len()))))
    }

    /// As `th` says it; `None` for a threshold that keeps nothing, which has no form.
    pub(crate) fn digits(self) -> Option<String> {
        if self.0 >= END {
            return None;
        }
        let all = format!("{:014x}", self.0);
        let short = all.trim_end_matches('0');
        Some(if short.is_empty() { "0".to_owned() } else { short.to_owned() })
    }
}

/// 1 to 14 lower-case hexadecimal digits.
fn hex(digits: &str) -> Option<u64> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let valid = (1..=DIGITS).contains(&digits.len()) && digits.bytes().all(lower);
    valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// The value of OpenTelemetry's member. Every call asks, and most have none: so members are told apart by their commas
/// alone, and only what is found becomes text.
fn ot(state: &TraceState) -> Option<&str> {
    let mut members = state.value().as_bytes().split(|&byte| byte == b',');
    std::str::from_utf8(members.find_map(|member| member.strip_prefix(b"ot="))?).ok()
}

/// The value of a field of that member, such as `th` in `ot=th:c;rv:…`.
fn ot_field<'a>(state: &'a TraceState, name: &str) -> Option<&'a str> {
    let fields = ot(state)?.split(';').filter_map(|field| field.split_once(':'));
    fields.into_iter().find(|(field, _)| *field == name).map(|(_, value)| value)
}

/// The randomness that all services see in one trace: the explicit `rv`, else the last 56 bits of the trace id. Where the
/// random flag of level 2 says that they are random, they are; where it says nothing they are presumed to be, as
/// OpenTelemetry's samplers do. A trace that [`CorrelationLayer`](crate::CorrelationLayer) made for an id that came
/// without one has a hash of the id there.
pub(crate) fn randomness(trace: TraceParent, state: Option<&TraceState>) -> u64 {
    let explicit =
        state.and_then(|state| ot_field(state, "rv")).filter(|value| value.len() == DIGITS).and_then(hex);
    explicit.unwrap_or(trace.trace_id() as u64 & (END - 1))
}

/// The threshold that a caller decided by, from `tracestate`.
pub(crate) fn threshold(state: &TraceState) -> Option<Threshold> {
    Threshold::parse(ot_field(state, "th")?)
}

/// The state with this threshold in OpenTelemetry's member, its other fields kept; `None` when there is no form for it.
pub(crate) fn with_threshold(state: Option<&TraceState>, threshold: Threshold) -> Option<TraceState> {
    let mut member = format!("th:{}", threshold.digits()?);
    let others = state.and_then(ot).unwrap_or_default();
    for field in others.split(';').filter(|field| !field.is_empty() && !field.starts_with("th:")) {
        member.push(';');
        member.push_str(field);
    }
    TraceState::with(state, OT, &member)
}

/// How a call ended, as far as rules ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// `None` when there was no response.
    pub(crate) status: Option<u16>,
    pub(crate) duration: Duration,
    /// An error, a call given up, or a gRPC status that says that the server failed.
    pub(crate) failed: bool,
}

/// Why a call is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Its randomness is above the threshold: every service with this rate keeps it.
    Rate,
    /// Its status is on the list.
    Status,
    /// It took long.
    Slow,
    /// It failed.
    Failed,
}

impl Kept {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Status => "status",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

/// What is kept whatever its randomness.
#[derive(Debug, Clone, Default)]
pub(crate) struct Always {
    /// Ranges, both ends included.
    pub(crate) statuses: Vec<(u16, u16)>,
    pub(crate) slower_than: Option<Duration>,
    pub(crate) failed: bool,
}

impl Always {
    /// Whether a call may still be kept for how it ends; with a status, for anything besides that.
    pub(crate) fn may_keep(&self, status: Option<u16>) -> bool {
        let by_status = match status {
            Some(status) => self.has(status),
            None => !self.statuses.is_empty(),
        };
        by_status || self.failed || self.slower_than.is_some()
    }

    fn has(&self, status: u16) -> bool {
        self.statuses.iter().any(|&(first, last)| (first..=last).contains(&status))
    }

    fn keeps(&self, end: &End) -> Option<Kept> {
        if end.status.is_some_and(|status| self.has(status)) {
            Some(Kept::Status)
        } else if self.failed && end.failed {
            Some(Kept::Failed)
        } else if self.slower_than.is_some_and(|limit| end.duration > limit) {
            Some(Kept::Slow)
        } else {
            None
        }
    }

    /// Whether the call is written down, why, and how many calls it stands for: one, when calls that end like this are
    /// always kept, whether or not the rate would have kept this one.
    pub(crate) fn decide(&self, end: &End, sampled: bool, threshold: Threshold) -> Option<(Kept, f64)> {
        match (self.keeps(end), sampled) {
            (None, false) => None,
            (None, true) => Some((Kept::Rate, threshold.weight())),
            (Some(_), true) => Some((Kept::Rate, 1.0)),
            (Some(rule), false) => Some((rule, 1.0)),
        }
    }
}

/// At most so many lines a second on average, and so many at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    /// Time of the last look, since the start.
    last: Duration,
    /// Calls that the lines refused since the last one let through stood for.
    carried: f64,
}

impl Bucket {
    pub(crate) fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, tokens: burst, last: Duration::ZERO, carried: 0.0 }
    }

    /// Lets a line through, with the weight of those refused before it, or refuses it. A clock that goes back adds
    /// nothing.
    pub(crate) fn take(&mut self, now: Duration, weight: f64) -> Option<f64> {
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.last = self.last.max(now);
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        if self.tokens < 1.0 {
            self.carried += weight;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.carried))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> TraceState {
        TraceState::parse([text.as_bytes()]).unwrap()
    }

    fn trace(id: u128) -> TraceParent {
        TraceParent::new(id, 1, 2).unwrap()
    }

    #[test]
    fn thresholds_of_the_specification() {
        // "TraceState: Probability Sampling" gives c for 25 %, 8 for 50 %, 0 for 100 %.
        for (rate, digits) in [(1.0, "0"), (0.5, "8"), (0.25, "c"), (0.75, "4")] {
            let threshold = Threshold::of_rate(rate).unwrap();
            assert_eq!(threshold.digits().unwrap(), digits);
            assert_eq!(Threshold::parse(digits), Some(threshold));
            assert!((threshold.weight() * rate - 1.0).abs() < 1e-12);
        }
        // Rates that 1 - rate would round away: the least there is keeps the one highest randomness.
        for bits in 1..=BITS {
            let rate = 0.5_f64.powi(bits as i32);
            let threshold = Threshold::of_rate(rate).unwrap();
            assert_eq!(threshold.0, END - (END >> bits), "{rate}");
            assert_eq!(threshold.digits().and_then(|digits| Threshold::parse(&digits)), Some(threshold));
            assert!(
                threshold.keeps(END - 1) && !threshold.keeps(threshold.0 - 1) && threshold.keeps(threshold.0)
            );
        }
        assert_eq!(Threshold::of_rate(f64::MIN_POSITIVE), Threshold::of_rate(-0.0));
        let none = Threshold::of_rate(0.0).unwrap();
        assert!(!none.keeps(END - 1) && none.digits().is_none());
        assert!(Threshold::of_rate(1.0).unwrap().keeps(0));
        assert_eq!(Threshold::from_bits(none.to_bits()), none);
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Threshold::of_rate(bad), None);
        }
        for bad in ["", "C", "c ", "0123456789abcde", "g", "+1"] {
            assert_eq!(Threshold::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn explicit_randomness_goes_before_the_trace_id() {
        let low = 0x00ff_0000_0000_0001;
        let id = trace(0xabcd << 112 | u128::from(low) | 0xee << 56);
        assert_eq!(randomness(id, None), low);
        assert_eq!(randomness(id, Some(&state("ot=th:8;rv:0123456789abcd,x=y"))), 0x0001_2345_6789_abcd);
        for other in ["ot=rv:123", "ot=rv:0123456789ABCD", "x=rv:0123456789abcd", "ot=th:8"] {
            assert_eq!(randomness(id, Some(&state(other))), low, "{other}");
        }
    }

    #[test]
    fn a_threshold_is_put_in_and_read_back() {
        let quarter = Threshold::of_rate(0.25).unwrap();
        let made = with_threshold(None, quarter).unwrap();
        assert_eq!(made.as_str(), "ot=th:c");
        assert_eq!(threshold(&made), Some(quarter));
        let other = state("a=1,ot=th:8;rv:0123456789abcd;x:y,b=2");
        let made = with_threshold(Some(&other), quarter).unwrap();
        assert_eq!(made.as_str(), "ot=th:c;rv:0123456789abcd;x:y,a=1,b=2");
        assert!(with_threshold(None, Threshold::of_rate(0.0).unwrap()).is_none());
    }

    #[test]
    fn rules_keep_with_weight_one_and_the_rate_with_its_own() {
        let always = Always {
            statuses: vec![(500, 599), (429, 429)],
            slower_than: Some(Duration::from_secs(1)),
            failed: true,
        };
        let tenth = Threshold::of_rate(0.1).unwrap();
        let ok = End { status: Some(200), duration: Duration::from_secs(1), failed: false };
        assert_eq!(always.decide(&ok, false, tenth), None);
        let (kept, weight) = always.decide(&ok, true, tenth).unwrap();
        assert!(kept == Kept::Rate && (weight - 10.0).abs() < 1e-9);
        let cases = [
            (End { status: Some(500), ..ok }, Kept::Status),
            (End { status: Some(429), ..ok }, Kept::Status),
            (End { duration: Duration::from_millis(1001), ..ok }, Kept::Slow),
            (End { failed: true, ..ok }, Kept::Failed),
            (End { status: None, failed: true, ..ok }, Kept::Failed),
        ];
        for (end, rule) in cases {
            assert_eq!(always.decide(&end, false, tenth), Some((rule, 1.0)));
            // Calls that end like this are all kept: one that the rate keeps too stands for itself alone.
            assert_eq!(always.decide(&end, true, tenth), Some((Kept::Rate, 1.0)));
        }
        assert!(!Always::default().may_keep(None));
        let statuses = Always { statuses: vec![(500, 599)], ..Always::default() };
        assert!(statuses.may_keep(None) && statuses.may_keep(Some(503)) && !statuses.may_keep(Some(200)));
    }

    #[test]
    fn a_bucket_lets_burst_and_rate_through_and_carries_the_rest() {
        let mut bucket = Bucket::new(10.0, 2.0);
        let at = Duration::from_millis;
        assert_eq!(bucket.take(at(0), 5.0), Some(0.0));
        assert_eq!(bucket.take(at(0), 5.0), Some(0.0));
        assert_eq!(bucket.take(at(0), 5.0), None);
        assert_eq!(bucket.take(at(50), 7.0), None);
        assert_eq!(bucket.take(at(101), 1.0), Some(12.0));
        assert_eq!(bucket.take(at(10), 1.0), None, "a clock that goes back adds nothing");
        // However long the pause, no more than the burst.
        let after = (0..9).filter(|_| bucket.take(at(1_000_000), 1.0).is_some()).count();
        assert_eq!(after, 2);
    }
}

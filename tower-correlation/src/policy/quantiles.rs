//! A histogram of fixed size whose quantiles are at most 1.6 % off.

use std::time::Duration;

/// Parts of an octave: 32, so a bucket is 1/32 wide and its middle at most 1/64 off.
const SUB: u32 = 5;
/// The finest octave begins at 64 ns; what is shorter counts as that.
const FIRST: u32 = 6;
/// The last one ends after 73 minutes; what is longer counts as that.
const LAST: u32 = 42;
/// Number of buckets.
pub(crate) const BUCKETS: usize = ((LAST - FIRST) << SUB) as usize;

/// The bucket of a duration.
pub(crate) fn bucket(duration: Duration) -> usize {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).clamp(1 << FIRST, (1 << LAST) - 1);
    let octave = nanos.ilog2();
    let within = (nanos >> (octave - SUB)) & ((1 << SUB) - 1);
    (((octave - FIRST) << SUB) as usize) + within as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> Duration {
    let octave = FIRST + (bucket >> SUB) as u32;
    let width = 1 << (octave - SUB);
    let begin = (1 << octave) + (bucket as u64 & ((1 << SUB) - 1)) * width;
    Duration::from_nanos(begin + width / 2)
}

/// The duration that a share of all, such as 0.99, does not exceed; `None` when there are none.
pub(crate) fn quantile(counts: &[u64], share: f64) -> Option<Duration> {
    let total: u64 = counts.iter().sum();
    let rank = ((share * total as f64).ceil() as u64).max(1);
    let mut seen = 0;
    let found = counts.iter().position(|count| {
        seen += count;
        seen >= rank
    });
    found.filter(|_| total > 0).map(middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        // A seeded, skewed distribution from microseconds to minutes.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut durations: Vec<Duration> = (0..50_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let unit = (seed >> 11) as f64 / (1u64 << 53) as f64;
                Duration::from_secs_f64(1e-6 * 1e8_f64.powf(unit))
            })
            .collect();
        let mut counts = [0; BUCKETS];
        for duration in &durations {
            counts[bucket(*duration)] += 1;
        }
        durations.sort();
        for share in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = durations[((share * 50_000.0_f64).ceil() as usize) - 1].as_secs_f64();
            let near = quantile(&counts, share).unwrap().as_secs_f64();
            assert!((near / exact - 1.0).abs() < 0.02, "{share}: {near} for {exact}");
        }
        assert_eq!(quantile(&[0; BUCKETS], 0.5), None);
    }

    #[test]
    fn a_share_between_two_calls_is_the_one_above() {
        let mut counts = [0; BUCKETS];
        let at = |millis| Duration::from_millis(millis);
        for millis in [1, 10, 100] {
            counts[bucket(at(millis))] += 1;
        }
        for (share, expected) in [(0.3, 1), (0.34, 10), (0.5, 10), (0.66, 10), (0.67, 100), (0.99, 100)] {
            assert_eq!(quantile(&counts, share), Some(middle(bucket(at(expected)))), "{share}");
        }
    }

    #[test]
    fn the_ends_are_closed() {
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}

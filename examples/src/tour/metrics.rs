//! Reading `/metrics`: the text format of Prometheus, as far as counters and gauges go.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Sub;

/// The counters of one or several instances, by name and labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counters {
    samples: BTreeMap<Series, f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Counters {
    /// Reads a page; lines that are no sample are passed over, as every reader of the format does.
    pub(super) fn parse(page: &str) -> Self {
        let samples = page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect();
        Self { samples }
    }

    /// Adds another instance's samples to these.
    pub(super) fn add(&mut self, other: &Self) {
        for (series, value) in &other.samples {
            *self.samples.entry(series.clone()).or_default() += value;
        }
    }

    /// The sum of all series of that name whose labels include `labels`.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let includes = |series: &Series| {
            labels.iter().all(|(label, value)| series.labels.get(*label).is_some_and(|found| found == value))
        };
        self.samples
            .iter()
            .filter(|(series, _)| series.name == name && includes(series))
            .map(|(_, v)| v)
            .sum()
    }

    /// The same, as the count it is.
    pub(super) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let sum = self.sum(name, labels).round();
        // A counter is neither negative nor beyond what a tour can reach.
        if sum <= 0.0 { 0 } else { sum as u64 }
    }

    /// The series whose names begin with `prefix` and that are not zero, written as on the page.
    pub(super) fn lines(&self, prefix: &str) -> Vec<String> {
        let wanted = |(series, value): &(&Series, &f64)| series.name.starts_with(prefix) && **value != 0.0;
        self.samples.iter().filter(wanted).map(|(series, value)| format!("{series} {value}")).collect()
    }
}

impl Sub for &Counters {
    type Output = Counters;

    /// What happened between two readings.
    fn sub(self, earlier: Self) -> Counters {
        let since = |(series, value): (&Series, &f64)| {
            (series.clone(), value - earlier.samples.get(series).copied().unwrap_or_default())
        };
        Counters { samples: self.samples.iter().map(since).collect() }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (index, (label, value)) in self.labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write!(f, "{before}{label}={value:?}")?;
        }
        if self.labels.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

/// `name{label="value",…} 12`, with an optional timestamp behind.
fn sample(line: &str) -> Option<(Series, f64)> {
    let line = line.trim();
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value, after) = label(rest)?;
            labels.insert(label, value);
            rest = after.trim_start_matches([',', ' ']);
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((Series { name: name.to_owned(), labels }, value))
}

/// One `label="value"` and what follows; the value's escapes are `\\`, `\"` and `\n`.
fn label(text: &str) -> Option<(String, String, &str)> {
    let (name, quoted) = text.split_once("=\"")?;
    let mut value = String::new();
    let mut escaped = false;
    for (index, character) in quoted.char_indices() {
        match (escaped, character) {
            (false, '\\') => escaped = true,
            (false, '"') => return Some((name.trim().to_owned(), value, &quoted[index + 1..])),
            (true, 'n') => {
                value.push('\n');
                escaped = false;
            }
            (_, other) => {
                value.push(other);
                escaped = false;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Counters;

    const PAGE: &str = "# TYPE hits_total counter\nhits_total{outcome=\"a \\\"b\\\"\",at=\"x\"} 3\n\
                        hits_total{outcome=\"c\",at=\"x\"} 4\nup 1\nrubbish\n";

    #[test]
    fn samples_are_summed_by_label() {
        let page = Counters::parse(PAGE);
        assert_eq!(page.count("hits_total", &[]), 7);
        assert_eq!(page.count("hits_total", &[("outcome", "c")]), 4);
        assert_eq!(page.count("hits_total", &[("outcome", "a \"b\"")]), 3);
        assert_eq!(page.count("hits_total", &[("outcome", "d")]), 0);
        assert_eq!(page.count("up", &[]), 1);
        assert_eq!(page.count("rubbish", &[]), 0);
    }

    #[test]
    fn instances_add_and_readings_subtract() {
        let before = Counters::parse(PAGE);
        let mut after = before.clone();
        after.add(&Counters::parse("hits_total{outcome=\"c\",at=\"x\"} 2\n"));
        assert_eq!((&after - &before).lines("hits"), ["hits_total{at=\"x\",outcome=\"c\"} 2"]);
    }
}

//! Summaries of routes: few lines for many calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::call::with_line;
use super::metrics::{Red, Tally};
use super::{Observe, Output, Side};
use crate::policy::quantiles::quantile;
use crate::policy::record::{millis, raw, text, timestamp};

/// All calls of one route since the summary before.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RouteSummary {
    /// Where the calls were observed.
    pub side: Side,
    /// The route, or `_unmatched`, or `_other`.
    pub route: String,
    /// Calls that ended.
    pub count: u64,
    /// Of these, the ones with a status of 500 or more, an error, or a gRPC status that says that the server failed.
    pub errors: u64,
    /// Half of the calls took no longer; like all quantiles at most 1.6 % off between 64 ns and 73 minutes.
    pub p50: Duration,
    /// 90 % took no longer.
    pub p90: Duration,
    /// 99 % took no longer.
    pub p99: Duration,
}

fn of_side(side: Side, red: &Red) -> impl Iterator<Item = RouteSummary> {
    let take = |count: &AtomicU64| count.swap(0, Ordering::Acquire);
    red.routes.iter().filter_map(move |route| {
        let tally: &Tally = route.summary.as_deref()?;
        let buckets: Vec<u64> = tally.buckets.iter().map(take).collect();
        let errors = tally.errors.swap(0, Ordering::Relaxed);
        let count = buckets.iter().sum();
        // An error whose call is just being added waits for it.
        tally.errors.fetch_add(errors.saturating_sub(count), Ordering::Relaxed);
        let errors = errors.min(count);
        if count == 0 {
            return None;
        }
        let at = |share| quantile(&buckets, share).unwrap_or_default();
        let route = route.name.to_string();
        Some(RouteSummary { side, route, count, errors, p50: at(0.5), p90: at(0.9), p99: at(0.99) })
    })
}

impl Observe {
    /// What was gathered since the last time, one entry for each route that was called; gathering begins anew. Empty
    /// unless [`summary`](super::ObserveBuilder::summary) was asked for.
    #[must_use]
    pub fn summaries(&self) -> Vec<RouteSummary> {
        let Self { shared } = self;
        of_side(Side::Server, &shared.server).chain(of_side(Side::Client, &shared.client)).collect()
    }

    /// Writes the summaries as lines with message `summary`. What became of the lines of calls says
    /// [`accounting`](Self::accounting).
    pub fn write_summaries(&self) {
        for summary in self.summaries() {
            match &self.shared.output {
                Output::None => {}
                Output::Json(write) => with_line(|line| {
                    self.summary_line(&summary, line);
                    write(line);
                }),
                #[cfg(feature = "tracing")]
                Output::Tracing => super::event::summary(&summary, &self.shared.constant),
            }
        }
    }

    /// Writes the summaries once in every period, for ever: a future for whoever runs background work. A period of less
    /// than a second is one second, as one of nothing would leave no time for anything else.
    pub async fn write_summaries_every(self, period: Duration) {
        let period = period.max(Duration::from_secs(1));
        loop {
            tokio::time::sleep(period).await;
            self.write_summaries();
        }
    }

    fn summary_line(&self, summary: &RouteSummary, line: &mut String) {
        line.push_str("{\"timestamp\":\"");
        timestamp(self.shared.wall_clock(), line);
        line.push_str("\",\"level\":\"INFO\",\"message\":\"summary\"");
        for (name, value) in &self.shared.constant {
            text(line, name, value);
        }
        text(line, "side", summary.side.as_str());
        text(line, "route", &summary.route);
        raw(line, "count", format_args!("{}", summary.count));
        raw(line, "errors", format_args!("{}", summary.errors));
        for (name, duration) in [("p50_ms", summary.p50), ("p90_ms", summary.p90), ("p99_ms", summary.p99)] {
            raw(line, name, format_args!("{:.3}", millis(duration)));
        }
        line.push('}');
    }
}

//! Lines as `tracing` events.

use super::RouteSummary;
use crate::policy::record::{Record, millis};

const TARGET: &str = "tower_correlation::observe";

fn constant<'a>(all: &'a [(&'static str, String)], name: &str) -> Option<&'a str> {
    all.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
}

pub(super) fn event(record: &Record<'_>) {
    let constant = |name| constant(record.constant, name);
    let own = (!record.fields.is_empty()).then(|| {
        let fields: Vec<String> =
            record.fields.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        fields.join(" ")
    });
    let span = |id| tracing::field::display(format!("{id:016x}"));
    tracing::info!(
        target: TARGET,
        service = constant("service"),
        instance = constant("instance"),
        version = constant("version"),
        side = record.side.as_str(),
        correlation_id = record.correlation_id,
        trace_id = record.trace_id.map(|id| tracing::field::display(format!("{id:032x}"))),
        span_id = record.span_id.map(span),
        parent_span_id = record.parent_span_id.map(span),
        method = record.method,
        route = record.route,
        status = record.status,
        grpc_status = record.grpc_status,
        outcome = record.outcome.as_str(),
        duration_ms = millis(record.duration),
        ttfb_ms = record.first_byte.map(millis),
        bytes_in = record.bytes_in,
        bytes_out = record.bytes_out,
        peer = record.peer.map(tracing::field::display),
        kept = record.kept.as_str(),
        weight = record.weight,
        carried = (record.carried > 0.0).then_some(record.carried),
        fields = own,
        "call"
    );
}

pub(super) fn summary(summary: &RouteSummary, all: &[(&'static str, String)]) {
    tracing::info!(
        target: TARGET,
        service = constant(all, "service"),
        instance = constant(all, "instance"),
        version = constant(all, "version"),
        side = summary.side.as_str(),
        route = summary.route,
        count = summary.count,
        errors = summary.errors,
        p50_ms = millis(summary.p50),
        p90_ms = millis(summary.p90),
        p99_ms = millis(summary.p99),
        "summary"
    );
}

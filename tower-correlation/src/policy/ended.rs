//! How calls end as far as metrics tell it apart, and which of these ends are errors (OpenTelemetry, semantic conventions
//! for HTTP and gRPC: the attribute `error.type`).

use super::record::{Outcome, Side};

/// The statuses of HTTP, 100 to 999.
const STATUSES: usize = 900;
/// The first index of those whose response broke off, by how; then of those without a response; then of gRPC's.
const ERROR: usize = STATUSES;
const DROPPED: usize = 2 * STATUSES;
const NO_RESPONSE: usize = 3 * STATUSES;
const GRPC: usize = NO_RESPONSE + 2;

/// The statuses of gRPC, each at the place of its number.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// What stands for a number that has no name (gRPC, "Status codes and their use").
const UNKNOWN: u16 = 2;

/// Whether a gRPC status says that the server failed ("Semantic conventions for gRPC", column of servers).
pub(crate) fn grpc_failed(status: u16) -> bool {
    matches!(known(status), 2 | 4 | 12 | 13 | 14 | 15)
}

fn known(status: u16) -> u16 {
    if usize::from(status) < GRPC_STATUSES.len() { status } else { UNKNOWN }
}

/// Whether a status of HTTP is an error on this side.
fn is_error(side: Side, status: u16) -> bool {
    match side {
        Side::Server => status >= 500,
        Side::Client => status >= 400,
    }
}

/// Whether one of gRPC is.
fn is_grpc_error(side: Side, status: u16) -> bool {
    match side {
        Side::Server => grpc_failed(status),
        Side::Client => status != 0,
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With a status that says all: of a response that is complete, or that is an error anyway.
    Status(u16),
    /// With a status of gRPC, in a response with status 200 like all of gRPC's.
    Grpc(u16),
    /// Not at its end: after a response with this status had begun, or before there was one.
    Short(Option<u16>, Broken),
}

/// What a call ended with that did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Error,
    Dropped,
}

/// The labels of an end; none where there is nothing to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EndLabels {
    pub(crate) status: Option<String>,
    pub(crate) grpc: Option<&'static str>,
    pub(crate) error: Option<String>,
}

impl Ended {
    /// How many of them there are: one more than the last index.
    pub(crate) const COUNT: usize = GRPC + GRPC_STATUSES.len();

    pub(crate) fn of(side: Side, status: Option<u16>, grpc: Option<u16>, outcome: Outcome) -> Self {
        match (status, outcome, grpc) {
            (Some(200), Outcome::Complete, Some(grpc)) => Self::Grpc(known(grpc)),
            (Some(status), Outcome::Complete, _) => Self::Status(status),
            (Some(status), ..) if is_error(side, status) => Self::Status(status),
            (status, Outcome::Dropped, _) => Self::Short(status, Broken::Dropped),
            (status, ..) => Self::Short(status, Broken::Error),
        }
    }

    /// Its place among all.
    pub(crate) fn index(self) -> usize {
        let place = |status: u16| usize::from(status.clamp(100, 999)) - 100;
        match self {
            Self::Status(status) => place(status),
            Self::Short(Some(status), Broken::Error) => ERROR + place(status),
            Self::Short(Some(status), Broken::Dropped) => DROPPED + place(status),
            Self::Short(None, Broken::Error) => NO_RESPONSE,
            Self::Short(None, Broken::Dropped) => NO_RESPONSE + 1,
            Self::Grpc(status) => GRPC + usize::from(known(status)),
        }
    }

    pub(crate) fn labels(self, side: Side) -> EndLabels {
        match self {
            Self::Status(status) => {
                let error = is_error(side, status).then(|| status.to_string());
                EndLabels { status: Some(status.to_string()), grpc: None, error }
            }
            Self::Grpc(status) => {
                let name = GRPC_STATUSES[usize::from(known(status))];
                let error = is_grpc_error(side, status).then(|| name.to_owned());
                EndLabels { status: Some("200".to_owned()), grpc: Some(name), error }
            }
            Self::Short(status, broken) => {
                let error = if broken == Broken::Error { Outcome::Error } else { Outcome::Dropped };
                let error = Some(error.as_str().to_owned());
                EndLabels { status: status.map(|status| status.to_string()), grpc: None, error }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ends_have_distinct_places() {
        let statuses = || (100..=999).map(Some);
        let all = statuses().flatten().map(Ended::Status);
        let short = |broken| statuses().chain([None]).map(move |status| Ended::Short(status, broken));
        let all = all.chain(short(Broken::Error)).chain(short(Broken::Dropped));
        let all: HashSet<usize> = all.chain((0..17).map(Ended::Grpc)).map(Ended::index).collect();
        assert_eq!(all.len(), Ended::COUNT);
        assert_eq!(all.into_iter().max(), Some(Ended::COUNT - 1));
    }
}

//! Every public layer against every host: each cell compiles and runs. One request is let through, its body and
//! trailers intact; one is decided by the layer itself.
//!
//! | host | what it asks for |
//! |---|---|
//! | axum `Router::layer` | layer and service `Clone + Send + Sync`, error `Into<Infallible>`, a `Send` future |
//! | axum, the Router wrapped | the response body is axum's own: the stack is closed with `MapResponseBodyLayer` |
//! | tonic server `layer` | `Clone + Send` and not `Sync`, tonic's request body |
//! | tonic `Channel` | the wrapped channel is still a `GrpcService` |
//! | hyper by `TowerToHyperService` | `Clone`, the body is `Incoming` |
//! | hyper-util legacy client | a service of `Request<B>`, response body `Incoming` |
//! | reqwest | a service of its own request type: an adapter |
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hosts;
mod origin;
mod reqwest_service;
mod rows;
#[path = "../tokens/mod.rs"]
mod tokens;

/// One row: a layer in each of the seven hosts. A cell is `runs` (one request let through, one decided by the layer),
/// `passes "reason"` (only let through: the layer has nothing to decide there) or `no "reason"` (makes no sense).
macro_rules! row {
    ($row:ident { $($host:ident: $kind:ident $($reason:literal)?,)+ }) => {
        mod $row {
            $(cell!($row $host $kind $($reason)?);)+

            /// The row has a cell for each host.
            #[test]
            fn complete() {
                let mut hosts = vec![$(stringify!($host)),+];
                hosts.sort_unstable();
                assert_eq!(hosts, crate::HOSTS);
            }
        }
    };
}

macro_rules! cell {
    ($row:ident $host:ident runs) => {
        #[tokio::test]
        async fn $host() {
            use crate::hosts::*;
            let row = crate::rows::$row::Row::default();
            let host = $host!(row.layer());
            row.lets_through(&host).await;
            row.decides(&host).await;
        }
    };
    ($row:ident $host:ident passes $reason:literal) => {
        #[doc = $reason]
        #[tokio::test]
        async fn $host() {
            use crate::hosts::*;
            let row = crate::rows::$row::Row::default();
            let host = $host!(row.layer());
            row.lets_through(&host).await;
        }
    };
    ($row:ident $host:ident no $reason:literal) => {
        // Makes no sense, and why.
        const _: () = assert!(!$reason.is_empty());
    };
}

/// In alphabetical order.
const HOSTS: [&str; 7] = [
    "axum_router",
    "axum_wrapped",
    "hyper_client",
    "hyper_server",
    "reqwest_client",
    "tonic_channel",
    "tonic_server",
];

row!(authenticate {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "authenticates who calls; a client attaches a token with `BearerLayer`",
    hyper_server: runs,
    hyper_client: no "authenticates who calls; a client attaches a token with `BearerLayer`",
    reqwest_client: no "authenticates who calls; a client attaches a token with `BearerLayer`",
});

row!(require_scopes {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "authorizes who calls; a client asks its issuer for scopes",
    hyper_server: runs,
    hyper_client: no "authorizes who calls; a client asks its issuer for scopes",
    reqwest_client: no "authorizes who calls; a client asks its issuer for scopes",
});

row!(bearer {
    axum_router: no "a server has no token to attach",
    axum_wrapped: no "a server has no token to attach",
    tonic_server: no "a server has no token to attach",
    tonic_channel: runs,
    hyper_server: no "a server has no token to attach",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(http_breaker {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: runs,
    hyper_server: runs,
    hyper_client: runs,
    reqwest_client: runs,
});

row!(breaker {
    axum_router: no "rejects with an error, which axum does not take; `HttpBreakerLayer` answers",
    axum_wrapped: no "rejects with an error, which axum does not take; `HttpBreakerLayer` answers",
    tonic_server: no "an error ends the stream without a status; `HttpBreakerLayer` answers",
    tonic_channel: runs,
    hyper_server: no "an error ends the connection without an answer; `HttpBreakerLayer` answers",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(retry {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: passes "Every gRPC call has a body, and a body is not sent twice.",
    tonic_channel: passes "Every gRPC call has a body, and a body is not sent twice.",
    hyper_server: no "hyper's `Incoming` cannot be made anew for a second attempt",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(attempt_timeout {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: runs,
    hyper_server: runs,
    hyper_client: runs,
    reqwest_client: runs,
});

row!(cache {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: passes "A gRPC call is a POST, which no cache answers.",
    tonic_channel: passes "A gRPC call is a POST, which no cache answers.",
    hyper_server: runs,
    hyper_client: runs,
    reqwest_client: runs,
});

row!(private_cache {
    axum_router: no "belongs to one user; in front of a server it would mix them",
    axum_wrapped: no "belongs to one user; in front of a server it would mix them",
    tonic_server: no "belongs to one user; in front of a server it would mix them",
    tonic_channel: passes "A gRPC call is a POST, which no cache answers.",
    hyper_server: no "belongs to one user; in front of a server it would mix them",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(versions {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "picks the version of what arrives; a client says which one it wants",
    hyper_server: runs,
    hyper_client: no "picks the version of what arrives; a client says which one it wants",
    reqwest_client: no "picks the version of what arrives; a client says which one it wants",
});

row!(correlation {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "names what arrives; a client carries the name on with `PropagateLayer`",
    hyper_server: runs,
    hyper_client: no "names what arrives; a client carries the name on with `PropagateLayer`",
    reqwest_client: no "names what arrives; a client carries the name on with `PropagateLayer`",
});

row!(propagate {
    axum_router: no "stamps what leaves; a server names what arrives with `CorrelationLayer`",
    axum_wrapped: no "stamps what leaves; a server names what arrives with `CorrelationLayer`",
    tonic_server: no "stamps what leaves; a server names what arrives with `CorrelationLayer`",
    tonic_channel: runs,
    hyper_server: no "stamps what leaves; a server names what arrives with `CorrelationLayer`",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(require_claims {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "authorizes who calls; a client asks its issuer",
    hyper_server: runs,
    hyper_client: no "authorizes who calls; a client asks its issuer",
    reqwest_client: no "authorizes who calls; a client asks its issuer",
});

row!(require_roles {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "authorizes who calls; a client asks its issuer",
    hyper_server: runs,
    hyper_client: no "authorizes who calls; a client asks its issuer",
    reqwest_client: no "authorizes who calls; a client asks its issuer",
});

row!(authorize {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "authorizes who calls; a client asks its issuer",
    hyper_server: runs,
    hyper_client: no "authorizes who calls; a client asks its issuer",
    reqwest_client: no "authorizes who calls; a client asks its issuer",
});

row!(http_bulkhead {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: runs,
    hyper_server: runs,
    hyper_client: runs,
    reqwest_client: runs,
});

row!(bulkhead {
    axum_router: no "rejects with an error, which axum does not take; `HttpBulkheadLayer` answers",
    axum_wrapped: no "rejects with an error, which axum does not take; `HttpBulkheadLayer` answers",
    tonic_server: no "an error ends the stream without a status; `HttpBulkheadLayer` answers",
    tonic_channel: runs,
    hyper_server: no "an error ends the connection without an answer; `HttpBulkheadLayer` answers",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(http_keyed_breaker {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: runs,
    hyper_server: runs,
    hyper_client: runs,
    reqwest_client: runs,
});

row!(keyed_breaker {
    axum_router: no "rejects with an error, which axum does not take; `HttpKeyedBreakerLayer` answers",
    axum_wrapped: no "rejects with an error, which axum does not take; `HttpKeyedBreakerLayer` answers",
    tonic_server: no "an error ends the stream without a status; `HttpKeyedBreakerLayer` answers",
    tonic_channel: runs,
    hyper_server: no "an error ends the connection without an answer; `HttpKeyedBreakerLayer` answers",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(http_fallback {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "the fallback's error has to become the client's, which only the crate itself can make",
    hyper_server: runs,
    hyper_client: no "the fallback's error has to become the client's, which only the crate itself can make",
    reqwest_client: no "the fallback's error has to become the client's, which only the crate itself can make",
});

row!(standard {
    axum_router: no "is for calls that leave; a server sheds load with `HttpBulkheadLayer` and `HttpBreakerLayer`",
    axum_wrapped: no "is for calls that leave; a server sheds load with `HttpBulkheadLayer` and `HttpBreakerLayer`",
    tonic_server: no "is for calls that leave; a server sheds load with `HttpBulkheadLayer` and `HttpBreakerLayer`",
    tonic_channel: runs,
    hyper_server: no "is for calls that leave; a server sheds load with `HttpBulkheadLayer` and `HttpBreakerLayer`",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(version_range {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "guards a handler; a client says which version it wants",
    hyper_server: runs,
    hyper_client: no "guards a handler; a client says which version it wants",
    reqwest_client: no "guards a handler; a client says which version it wants",
});

row!(migrate {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: passes "gRPC has versions of its own: packages.",
    tonic_channel: no "translates for those who call; a client speaks one version",
    hyper_server: no "the layer changes the body, and this host's service takes hyper's own; see the axum hosts",
    hyper_client: no "translates for those who call; a client speaks one version",
    reqwest_client: no "translates for those who call; a client speaks one version",
});

row!(client_version {
    axum_router: no "stamps what leaves; a server reads the version with `VersionLayer`",
    axum_wrapped: no "stamps what leaves; a server reads the version with `VersionLayer`",
    tonic_server: no "stamps what leaves; a server reads the version with `VersionLayer`",
    tonic_channel: runs,
    hyper_server: no "stamps what leaves; a server reads the version with `VersionLayer`",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(echo {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "names answers to those who call",
    hyper_server: runs,
    hyper_client: no "names answers to those who call",
    reqwest_client: no "names answers to those who call",
});

row!(problem_id {
    axum_router: passes "The origin sends no problem documents; those are tests of the crate.",
    axum_wrapped: passes "The origin sends no problem documents; those are tests of the crate.",
    tonic_server: passes "gRPC has no problem documents.",
    tonic_channel: no "names answers to those who call",
    hyper_server: passes "The origin sends no problem documents; those are tests of the crate.",
    hyper_client: no "names answers to those who call",
    reqwest_client: no "names answers to those who call",
});

row!(observe {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: no "records what arrives; `ObserveLayer::client` records what leaves",
    hyper_server: runs,
    hyper_client: no "records what arrives; `ObserveLayer::client` records what leaves",
    reqwest_client: no "records what arrives; `ObserveLayer::client` records what leaves",
});

row!(observe_client {
    axum_router: no "records what leaves; `ObserveLayer::server` records what arrives",
    axum_wrapped: no "records what leaves; `ObserveLayer::server` records what arrives",
    tonic_server: no "records what leaves; `ObserveLayer::server` records what arrives",
    tonic_channel: runs,
    hyper_server: no "records what leaves; `ObserveLayer::server` records what arrives",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(total_timeout {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: runs,
    hyper_server: runs,
    hyper_client: runs,
    reqwest_client: runs,
});

row!(http_throttle {
    axum_router: runs,
    axum_wrapped: runs,
    tonic_server: runs,
    tonic_channel: runs,
    hyper_server: runs,
    hyper_client: runs,
    reqwest_client: runs,
});

row!(throttle {
    axum_router: no "rejects with an error, which axum does not take; `HttpThrottleLayer` answers",
    axum_wrapped: no "rejects with an error, which axum does not take; `HttpThrottleLayer` answers",
    tonic_server: no "an error ends the stream without a status; `HttpThrottleLayer` answers",
    tonic_channel: runs,
    hyper_server: no "an error ends the connection without an answer; `HttpThrottleLayer` answers",
    hyper_client: runs,
    reqwest_client: runs,
});

row!(inbound {
    axum_router: passes "It decides nothing: it hands the request's token to calls of the task.",
    axum_wrapped: passes "It decides nothing: it hands the request's token to calls of the task.",
    tonic_server: passes "It decides nothing: it hands the request's token to calls of the task.",
    tonic_channel: no "hands on what arrived; a client has nothing that arrived",
    hyper_server: passes "It decides nothing: it hands the request's token to calls of the task.",
    hyper_client: no "hands on what arrived; a client has nothing that arrived",
    reqwest_client: no "hands on what arrived; a client has nothing that arrived",
});

row!(count_request {
    axum_router: passes "It decides nothing: it counts for `ObserveLayer`.",
    axum_wrapped: passes "It decides nothing: it counts for `ObserveLayer`.",
    tonic_server: passes "It decides nothing: it counts for `ObserveLayer`.",
    tonic_channel: passes "It decides nothing: it counts for `ObserveLayer`.",
    hyper_server: no "it changes the type of the body, and this host's service takes hyper's own",
    hyper_client: passes "It decides nothing: it counts for `ObserveLayer`.",
    reqwest_client: passes "It decides nothing: it counts for `ObserveLayer`.",
});

row!(fallback {
    axum_router: no "answers in place of an error; `HttpFallbackLayer` answers in place of a response",
    axum_wrapped: no "answers in place of an error; `HttpFallbackLayer` answers in place of a response",
    tonic_server: no "answers in place of an error; `HttpFallbackLayer` answers in place of a response",
    tonic_channel: no "the fallback's error has to become the client's, which only the crate itself can make",
    hyper_server: no "answers in place of an error; `HttpFallbackLayer` answers in place of a response",
    hyper_client: no "the fallback's error has to become the client's, which only the crate itself can make",
    reqwest_client: no "the fallback's error has to become the client's, which only the crate itself can make",
});

row!(dpop {
    axum_router: no "needs tokens bound to its key; `tower-auth/tests/servers` runs it against a provider that issues them",
    axum_wrapped: no "needs tokens bound to its key; `tower-auth/tests/servers` runs it against a provider that issues them",
    tonic_server: no "needs tokens bound to its key; `tower-auth/tests/servers` runs it against a provider that issues them",
    tonic_channel: no "needs tokens bound to its key; `tower-auth/tests/servers` runs it against a provider that issues them",
    hyper_server: no "needs tokens bound to its key; `tower-auth/tests/servers` runs it against a provider that issues them",
    hyper_client: no "needs tokens bound to its key; `tower-auth/tests/servers` runs it against a provider that issues them",
    reqwest_client: no "needs tokens bound to its key; `tower-auth/tests/servers` runs it against a provider that issues them",
});

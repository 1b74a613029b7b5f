//! The system that the five layers were made for: parts that its programs share.

pub mod accept;
mod admin;
mod allocator;
pub mod balancer;
pub mod cli;
pub mod component;
pub mod demo;
pub mod fault;
pub mod gateway;
pub mod interim;
pub mod issuer;
pub mod launch;
mod observe;
pub mod proxy;
#[cfg(feature = "redis")]
pub mod redis;
pub mod secret;
pub mod service;
pub mod tour;

/// Any error that can cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error with its causes, which say by themselves what happened and where.
#[must_use]
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

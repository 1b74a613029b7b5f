//! The decisions of this crate, as pure functions and values: no clock, randomness, lock, task or I/O in here.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub(crate) mod baggage;
#[cfg(feature = "observe")]
pub(crate) mod ended;
pub(crate) mod id;
pub(crate) mod inbound;
#[cfg(feature = "observe")]
pub(crate) mod quantiles;
#[cfg(feature = "observe")]
pub(crate) mod record;
#[cfg(feature = "observe")]
pub(crate) mod sampling;
pub(crate) mod state;
pub(crate) mod trace;

//! The decisions of this crate, as pure functions and values: no clock, randomness, lock, task or I/O in here.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(feature = "retry")]
mod backoff;
#[cfg(feature = "retry")]
mod budget;
mod bulkhead;
mod config;
#[cfg(feature = "retry")]
mod grpc_timeout;
mod keyed;
mod machine;
mod outcome;
mod period;
mod probing;
mod ramp;
#[cfg(feature = "retry")]
mod repeat;
mod retry_after;
#[cfg(feature = "throttle")]
mod throttle;
mod window;

#[cfg(feature = "retry")]
pub(crate) use backoff::Backoff;
#[cfg(feature = "retry")]
pub(crate) use budget::Budget;
pub(crate) use bulkhead::Limits;
pub use config::CancelPolicy;
pub(crate) use config::{Config, Rate, positive, within};
#[cfg(feature = "retry")]
pub(crate) use grpc_timeout::{GRPC_TIMEOUT, grpc_timeout, grpc_timeout_value};
pub(crate) use keyed::{Leaves, Shelf, Tenant};
pub(crate) use machine::{Admission, After, Machine, Pass, Refusal};
pub use outcome::{Outcome, State, Verdict};
pub use period::OpenPeriod;
#[cfg(feature = "retry")]
pub(crate) use repeat::{Ended, Next, Refused, Situation, idempotent, takes_over};
pub(crate) use retry_after::{Pushback, UNKNOWN, grpc_status, pushback, retry_after};
#[cfg(feature = "throttle")]
pub(crate) use throttle::{ThrottleConfig, ThrottlePolicy};
pub(crate) use window::{ARMED, Counts, SLOTS, Slotting, Step, Word};

//! The crate as its users see it.
mod client;
mod layer;
mod remote;
mod support;
mod verify;

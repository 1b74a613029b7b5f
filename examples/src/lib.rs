//! The system that the five layers were made for: parts that its programs share.

pub mod proxy;

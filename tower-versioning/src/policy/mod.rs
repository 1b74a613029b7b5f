//! The decisions of this crate, as pure functions and values: no clock, randomness, lock, task or I/O in here.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(feature = "client")]
pub(crate) mod announce;
pub(crate) mod decide;
pub(crate) mod extract;
pub(crate) mod lifecycle;
pub(crate) mod media;
#[cfg(feature = "migrate")]
pub(crate) mod migrate;
#[cfg(feature = "migrate")]
pub(crate) mod migrate_document;
#[cfg(feature = "migrate")]
pub(crate) mod migrate_fields;
#[cfg(feature = "migrate")]
pub(crate) mod migrate_pattern;
#[cfg(feature = "migrate")]
pub(crate) mod migrate_query;
pub(crate) mod moment;
pub(crate) mod path;
pub(crate) mod range;
pub(crate) mod select;
pub(crate) mod source;
pub(crate) mod spelled;
#[cfg(feature = "client")]
pub(crate) mod stamp;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod vary;
pub(crate) mod version;

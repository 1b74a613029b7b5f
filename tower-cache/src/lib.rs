#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod error;
mod policy;

pub use body::ResponseBody;
pub use error::{BoxError, ConfigError};

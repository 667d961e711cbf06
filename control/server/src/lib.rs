//! The control plane: where documents come from and how revisions reach the proxies.
//!
//! A proxy is spoken to only in the serialised messages of [`sluice_config::wire`], in one process too. A transport
//! between machines takes the place of the two channels and changes nothing else.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod file;
mod judge;
mod read;
pub mod store;

pub use file::{FileControl, OpenError};
pub use read::{MAX_BYTES, read};
pub use sluice_control_core::source::{Standing, Unreadable};

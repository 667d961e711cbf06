//! The control plane: where documents come from, what is made of wishes to change them, and how revisions reach the proxies.
//!
//! `reconcile` is the only writer. `api` takes what operators want, `file` sees what a file holds, `store` keeps what was
//! decided, `distribute` brings it to proxies. A proxy is spoken to only in the serialised messages of
//! [`sluice_config::wire`], in one process too. Decisions are made in `sluice-control-core` only.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
pub mod api;
mod clock;
mod control;
mod distribute;
mod events;
mod file;
mod judge;
mod plane;
mod read;
mod reconcile;
mod status;
pub mod store;

pub use admin::{Address, Tls, TlsError};
pub use api::{Access, TokensError};
pub use clock::Clock;
pub use control::{Control, Link, OpenError, Options, Shared, Stands, serve_in_process, serve_status};
pub use plane::Plane;
pub use read::{MAX_BYTES, read};
pub use sluice_control_core::file::{Standing, Unreadable};

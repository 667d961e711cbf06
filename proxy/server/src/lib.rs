//! The data plane: the only crate that knows sockets, HTTP/2 and pingora.
//!
//! A request's way is one straight function in `exchange`; what stands around it:
//! `house` is a thread that serves, `accept` takes connections in (as far as `overload` has room), `proxy_protocol` and `said` tell whose they are, `connection` finds out the protocol, `downstream` speaks it with the client, `upstream` with the
//! origin, `relay` runs both directions at once. `live` is what a revision becomes, `source` is how one arrives (from
//! `control` or from what was kept by `keep`), `stage` is how it comes to run, `resolve` finds what addresses a document leaves open, `worker` is what the requests of one thread share. `crew` is all threads, `process` their beginning and end, `handover` how the next process takes over. Decisions are made in `sluice-proxy-core` only.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod alarm;
mod client;
mod connection;
mod context;
pub mod control;
mod crew;
mod downstream;
mod endpoints;
mod exchange;
pub mod explain;
mod files;
mod filter;
mod framed;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod grpc;
pub mod h1;
mod handover;
pub mod health;
mod house;
mod keep;
mod keys;
mod listener;
pub mod live;
pub mod log;
mod memory;
pub mod message;
mod meter;
pub mod metrics;
mod notify;
mod overload;
mod patience;
mod pending;
pub mod probe;
mod process;
mod proxy_protocol;
mod relay;
mod replay;
mod reply;
mod report;
mod request_id;
mod resolve;
mod retry;
mod said;
mod side;
#[cfg(test)]
mod sizes;
mod socket;
mod source;
mod stage;
pub mod status;
mod tls;
mod upkeep;
mod upstream;
mod worker;

pub use files::unusable_files;
pub use handover::{Beside, ClaimError, Inherited, UpgradeError, Upgraded, upgrade};
pub use health::HealthSource;
pub use listener::BindError;
pub use process::{Options, RunError, Source, run};

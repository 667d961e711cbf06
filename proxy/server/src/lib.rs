//! The data plane: the only crate that knows sockets, HTTP/2 and pingora.
//!
//! A request's way is one straight function in `exchange`; what stands around it:
//! `house` is a thread that serves, `accept` takes connections in (as far as `overload` has room), `connection` finds out the protocol, `downstream` speaks it with the client, `upstream` with the
//! origin, `relay` runs both directions at once. `live` is what a revision becomes, `source` is how one arrives (from
//! `control` or from what was kept by `keep`), `stage` is how it comes to run, `worker` is what the requests of one thread share. Decisions are made in `sluice-proxy-core` only.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
mod alarm;
mod client;
mod connection;
mod context;
pub mod control;
mod downstream;
mod exchange;
mod filter;
mod framed;
pub mod h1;
pub mod health;
mod house;
mod keep;
mod listener;
pub mod live;
pub mod log;
mod memory;
pub mod message;
mod meter;
pub mod metrics;
mod overload;
mod patience;
pub mod probe;
mod process;
mod relay;
mod reply;
mod report;
mod side;
#[cfg(test)]
mod sizes;
mod socket;
mod source;
mod stage;
pub mod status;
mod upstream;
mod worker;

pub use health::HealthSource;
pub use listener::BindError;
pub use process::{Options, RunError, Source, run};
pub use upstream::DialError;

//! Scripted origins, clients that show bytes, load that counts every failure, and a running Sluice.
//!
//! Everything here blocks and has a deadline ([`wait::DEADLINE`]); what goes wrong panics with what was awaited, since
//! a suite has nothing better to do about it. The HTTP/1 code is written apart from the product's on purpose: two
//! sides that share a codec agree on its faults.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod body;
mod cable;
mod document;
mod failure;
mod head;
mod narrow;
mod process;
mod status;
mod turn;
mod veil;

pub mod api;
pub mod control;
pub mod dns;
pub mod fleet;
pub mod h1;
pub mod h2;
pub mod load;
pub mod metrics;
pub mod origin;
pub mod shares;
pub mod sluice;
pub mod subscribers;
pub mod tool;
pub mod wait;

pub use address::free_address;
pub use api::Api;
pub use body::Body;
pub use cable::Cable;
pub use dns::Dns;
pub use document::Document;
pub use failure::Failure;
pub use fleet::Fleet;
pub use head::{Fields, Head};
pub use narrow::narrow;
pub use origin::Origin;
pub use process::Process;
pub use sluice::{Ran, Sluice};
pub use status::Status;
pub use subscribers::Subscribers;
pub use turn::Turn;
pub use veil::Veil;

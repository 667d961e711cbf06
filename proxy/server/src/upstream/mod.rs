//! The origin's side: how each service's endpoints are reached, whom to dial, connections kept for reuse, and HTTP/1.1 and
//! HTTP/2 spoken over them.

pub(crate) mod dial;
mod h1;
pub(crate) mod h2;
mod peer;
mod pool;
mod reach;
mod seats;
mod trust;
mod wire;

pub(crate) use dial::{Connector, Dialer, SEAT, Unreached};
pub(crate) use h1::{OriginReader, OriginWriter};
pub(crate) use peer::{Peer, target};
pub(crate) use pool::{Connection, Pool};
pub(crate) use reach::Reach;
pub(crate) use wire::Wire;

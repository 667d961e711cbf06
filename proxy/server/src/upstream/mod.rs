//! The origin's side: whom to dial, connections kept for reuse, and HTTP/1.1 spoken over them.

mod h1;
mod peer;
mod pool;

pub(crate) use h1::{OriginReader, OriginWriter};
pub use peer::DialError;
pub(crate) use peer::{Dialer, Peer};
pub(crate) use pool::{Connection, Pool};

//! HTTP/2 as a client, by the `h2` crate: connections that many requests share, and the two halves of one of their streams.

mod head;
mod pulse;
mod session;
mod set;
mod stream;

pub(crate) use session::Slot;
pub(super) use set::Set;
pub(crate) use stream::begin;

#[cfg(test)]
mod tests;

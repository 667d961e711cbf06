//! Every decision of the control plane, without I/O, clock or chance of its own.
//!
//! A decision has one shape: `state.step(input) -> (effect, reason)`. What the world did comes in as a value, what is to
//! be done goes out as a value, and the reason is data that the shell logs. So each can be tested by property.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod audit;
pub mod change;
pub mod drift;
pub mod file;
pub mod fleet;
pub mod ingest;
pub mod plan;
pub mod revision;

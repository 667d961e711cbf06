//! Every decision of the data plane: which route, region, version and endpoint a request gets, what its ending means,
//! and whether it may be tried again.
//!
//! Nothing here does I/O, reads a clock or draws chance: `now` and the random source are arguments, and each answer
//! carries its reason as data. A decision can therefore be property-tested, simulated and replayed.
//!
//! A request meets the modules in this order: [`route`] finds the service, [`sticky`] what identifies the user,
//! [`select`] composes, for one [`service`], [`place`] (region), [`split`] (version) and [`pick`] (endpoint), [`outcome`]
//! says what the ending means, [`retry`] whether there is another attempt, [`histogram`] keeps the times. [`endpoint`] and
//! [`health`] hold what outlives a revision.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod endpoint;
#[cfg(test)]
mod fixture;
pub mod health;
pub mod histogram;
pub mod outcome;
pub mod pick;
pub mod place;
pub mod retry;
pub mod route;
pub mod select;
pub mod service;
pub mod split;
pub mod sticky;

//! An endpoint for people.

use std::time::Duration;

use super::{Advice, Force, Offer};
use crate::breaker;
use crate::health::{Cause, Standing};
use crate::outlier::Ejected;

/// An endpoint for people: what it may be given, and all that speaks for or against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// What follows from all of it.
    pub offer: Offer,
    /// What its health checks say.
    pub standing: Standing,
    /// What the last probe found wrong.
    pub fault: Option<Cause>,
    /// The operator's word.
    pub force: Option<Force>,
    /// What it says of itself.
    pub advice: Advice,
    /// Its breaker.
    pub breaker: breaker::View,
    /// The running ejection.
    pub ejected: Option<Ejected>,
    /// How many ejections count for the length of the next.
    pub ejections: u32,
    /// It is in slow start.
    pub warming: bool,
    /// Requests that it is answering.
    pub in_flight: u32,
    /// Most of them at once.
    pub limit: Option<u32>,
    /// How long its answers take; none before the first.
    pub latency: Option<Duration>,
    /// For how much longer it wants to be left alone.
    pub busy: Option<Duration>,
}

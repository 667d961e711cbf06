//! What the whole process may use up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bound::{Auto, MostThatFits, SizeThatFits, Times, TimesOrOff};

/// What the whole process may use up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProcessLimits {
    /// Open connections of clients at once over all listeners; at the limit idle ones are closed, the oldest first, and further ones wait. `auto`: half of the files that the process may open, less 200; or `off`. 1 to 10,000,000. Default `auto`.
    pub(crate) connections: MostThatFits,
    /// Memory of the process. From 85 % of it idle connections are closed and the others end with their answer, from 95 % requests are answered 503. `auto`: nine tenths of what its control group may use, where that is bounded; or `off`. At least `16MiB`. Default `auto`.
    pub(crate) memory: SizeThatFits,
    /// Probes of health checks in a second, over all endpoints; further ones wait for their turn. Or `off`. `1/s` to `1000000/s`. Default `500/s`.
    pub(crate) probes: TimesOrOff,
}

impl Default for ProcessLimits {
    fn default() -> Self {
        Self {
            connections: MostThatFits::Auto(Auto::Auto),
            memory: SizeThatFits::Auto,
            probes: TimesOrOff(Some(Times(500))),
        }
    }
}

//! How a process tells that it is well: one shape for the proxy and the control plane.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// Whether something is well. The order is from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All is well.
    Healthy,
    /// It does its work, and something is wrong.
    Degraded,
    /// It does not do its work.
    Unhealthy,
}

/// One part that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// How it is.
    pub status: Status,
    /// When it was last looked at.
    pub last_check: Timestamp,
    /// How long that took, in milliseconds.
    pub response_time_ms: u64,
    /// What is wrong, in words for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

impl Component {
    /// Looked at `at`, which took so long. `Err` tells how bad it is and what is wrong.
    #[must_use]
    pub fn checked(at: Timestamp, took: Duration, found: Result<(), (Status, String)>) -> Self {
        let (status, error_message) = match found {
            Ok(()) => (Status::Healthy, None),
            Err((status, message)) => (status, Some(message)),
        };
        let response_time_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self { status, last_check: at, response_time_ms, error_message }
    }
}

/// How a process is, as `/api/health` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// That of the worst component.
    pub overall_status: Status,
    /// Every part that was looked at, by name.
    pub component_status: BTreeMap<String, Component>,
    /// Since the process began.
    pub uptime_seconds: u64,
    /// Of the program.
    pub version: String,
}

impl Health {
    /// The health of a process with these parts. What must not make a whole process unhealthy says `Degraded` itself.
    #[must_use]
    pub fn new(components: BTreeMap<String, Component>, uptime: Duration, version: &str) -> Self {
        let worst = components.values().map(|component| component.status).max();
        Self {
            overall_status: worst.unwrap_or(Status::Healthy),
            component_status: components,
            uptime_seconds: uptime.as_secs(),
            version: version.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_as_well_as_its_worst_part() {
        let at = Timestamp::from_millis(0);
        let well = Component::checked(at, Duration::from_millis(3), Ok(()));
        let ill = Component::checked(at, Duration::ZERO, Err((Status::Degraded, "slow disk".to_owned())));
        let all = BTreeMap::from([("store".to_owned(), well), ("disk".to_owned(), ill)]);
        let health = Health::new(all, Duration::from_secs(90), "0.1.0");
        assert_eq!(health.overall_status, Status::Degraded);
        assert_eq!(
            serde_json::to_string(&health).unwrap(),
            r#"{"overall_status":"degraded","component_status":{"disk":{"status":"degraded","last_check":"1970-01-01T00:00:00.000Z","response_time_ms":0,"error_message":"slow disk"},"store":{"status":"healthy","last_check":"1970-01-01T00:00:00.000Z","response_time_ms":3}},"uptime_seconds":90,"version":"0.1.0"}"#
        );
        assert_eq!(Health::new(BTreeMap::new(), Duration::ZERO, "").overall_status, Status::Healthy);
    }
}

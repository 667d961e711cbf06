//! A probe over the network: the same dialling as traffic, a connection of its own each time, so that an endpoint that takes
//! no new connections is found out.

use std::fmt;
use std::io;

use sluice_config::validated;
use sluice_proxy_core::health::Cause;

use super::ration::Rationed;
use super::{Finding, Probe, Target, grpc, http, tcp};
use crate::upstream::{Dialer, Unreached, target};

/// Asks as the health check says.
#[derive(Debug)]
pub struct Asker {
    dialer: Dialer,
}

impl Asker {
    /// Builds the connector, once for all endpoints.
    ///
    /// # Errors
    /// When `/dev/null` cannot be read.
    pub fn new() -> io::Result<Self> {
        Ok(Self { dialer: Dialer::new()? })
    }

    async fn ask(&self, to: &Target) -> Result<Finding, Cause> {
        let wire = self.dialer.dial(&target(to.address()), &to.reach).await;
        let wire = Rationed::new(wire.map_err(|error| told(&error, connect_cause(&error)))?);
        match &to.check.probe {
            validated::Probe::Http(probe) => http::ask(wire, to, probe).await,
            validated::Probe::Tcp(probe) => tcp::ask(wire, probe, to.check.agent).await,
            validated::Probe::Grpc(probe) => grpc::ask(wire, to, probe).await,
        }
    }
}

impl Probe for Asker {
    async fn probe(&self, target: &Target) -> Finding {
        self.ask(target).await.unwrap_or_else(Finding::bad)
    }
}

const fn connect_cause(error: &Unreached) -> Cause {
    match error {
        Unreached::Refused => Cause::Refused,
        Unreached::TimedOut => Cause::Timeout,
        Unreached::Failed(_) => Cause::Unreachable,
        Unreached::Tls(_) => Cause::Tls,
    }
}

pub(super) fn told(error: &dyn fmt::Display, cause: Cause) -> Cause {
    tracing::debug!(%error, cause = cause.as_str(), "a probe failed");
    cause
}

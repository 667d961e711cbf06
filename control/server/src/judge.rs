//! Proving what was read: the one place where the control plane asks whether a document is sound.

use std::net::SocketAddr;

use sluice_config::{Environment, Overlay, Problems, Validated};
use sluice_control_core::change::Written;

/// Proves documents.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    environment: Environment,
    /// Our own admin addresses, which no endpoint may be: what traffic can reach could change it.
    own: Vec<SocketAddr>,
}

impl Judge {
    /// Fills this environment into files; refuses endpoints at these addresses.
    #[must_use]
    pub(crate) const fn new(environment: Environment, own: Vec<SocketAddr>) -> Self {
        Self { environment, own }
    }

    /// What fills in `${NAME}` in files.
    pub(crate) const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What a file holds.
    pub(crate) fn file(&self, bytes: &[u8]) -> Result<Written, Problems> {
        self.written(sluice_config::decode(bytes)?, &self.environment)
    }

    /// What came by the API. The environment of this process is not its author's: a variable is filled in by the command
    /// that sends the document, or not at all.
    pub(crate) fn sent(&self, text: &str) -> Result<Written, Problems> {
        self.written(text, &Environment::empty())
    }

    /// A pair that was stored.
    pub(crate) fn stored(&self, json: &str, overlay: &Overlay) -> Result<Validated, Problems> {
        Ok(sluice_config::read_pair(json, &Environment::empty(), overlay)?.validated)
    }

    fn written(&self, text: &str, environment: &Environment) -> Result<Written, Problems> {
        let written = Written::new(text, environment)?;
        sluice_config::refuse_endpoints(text, environment, &self.own)?;
        Ok(written)
    }
}

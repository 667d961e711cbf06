//! Proving what was read: the one place where the control plane asks whether a document is sound.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_config::value::Digest;
use sluice_config::{Environment, Overlay, Problems, Validated};
use sluice_control_core::change::Written;
use sluice_control_core::revision::Document;

/// Proves documents.
#[derive(Debug, Clone)]
pub struct Judge {
    environment: Environment,
    /// Our own admin addresses, which no endpoint may be: what traffic can reach could change it.
    own: Vec<SocketAddr>,
}

impl Judge {
    /// Fills this environment into files; refuses endpoints at these addresses.
    #[must_use]
    pub const fn new(environment: Environment, own: Vec<SocketAddr>) -> Self {
        Self { environment, own }
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
        let source = sluice_config::read_refusing(text, environment, &self.own)?;
        let document = Document { source: text.to_owned(), json: source.json };
        Ok(Written { document, validated: Arc::new(source.validated), text: Digest::of(text.as_bytes()) })
    }
}

//! Proving what was read: the one place where the control plane asks whether a document is sound.

use sluice_config::{Environment, Problems};
use sluice_control_core::source::Sound;

/// The digest of the document and its text as it goes to proxies, or all of its problems.
pub(crate) fn judge(bytes: &[u8], environment: &Environment) -> Result<Sound, Problems> {
    let source = sluice_config::read(sluice_config::decode(bytes)?, environment)?;
    Ok(Sound { digest: source.validated.digest, document: source.json })
}

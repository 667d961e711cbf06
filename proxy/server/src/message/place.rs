//! Where a request goes: its target and the authority it names.

use sluice_config::path;
use sluice_config::validated::Paths;

use super::{Method, Refused, authority, target};

/// Buffers for both. The authority of the last request stays for the next one on the same connection, which nearly
/// always names it again: then it need not be checked and copied again.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    target: String,
    /// Where the path ends.
    path_end: usize,
    /// The path may have another normal form than itself.
    odd: bool,
    /// Whether `authority` and `host` are of this request.
    named: bool,
    authority: String,
    host: String,
}

impl Place {
    pub(super) fn clear(&mut self) {
        self.target.clear();
        self.path_end = 0;
        self.odd = false;
        self.named = false;
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn path(&self) -> &str {
        &self.target[..self.path_end]
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.target.get(self.path_end + 1..)
    }

    pub(super) fn authority(&self) -> &str {
        if self.named { &self.authority } else { "" }
    }

    pub(super) fn host(&self) -> &str {
        if self.named { &self.host } else { "" }
    }

    /// Takes a target of visible ASCII. One in absolute-form names the authority and must agree with `host`, the Host
    /// field: the RFC would let it win, but an origin that reads Host all the same would serve another site than was routed.
    pub(super) fn set_target(&mut self, method: &Method, text: &[u8], host: Option<&[u8]>) -> Result<(), Refused> {
        let parts = target::parse(method, text)?;
        if let Some((port, named)) = parts.authority {
            self.set_authority(named)?;
            if host.is_some_and(|host| !authority::agree(named, host, port)) {
                return Err(Refused::bad("host_mismatch"));
            }
        }
        let rest = std::str::from_utf8(parts.rest).map_err(|_| Refused::bad("target_character"))?;
        self.target.clear();
        if parts.path_end == 0 {
            self.target.push('/');
        }
        self.target.push_str(rest);
        self.path_end = parts.path_end.max(1);
        self.odd = !parts.plain;
        Ok(())
    }

    /// Brings the path into its normal form, in the buffer that holds it.
    pub(super) fn normalize(&mut self, policy: Paths) -> Result<(), Refused> {
        if !self.odd {
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.target).into_bytes();
        let length = match path::normalize(&mut bytes[..self.path_end], policy) {
            Ok(length) => length,
            Err(rule) => {
                self.clear();
                return Err(Refused::bad(rule));
            }
        };
        bytes.copy_within(self.path_end.., length);
        bytes.truncate(bytes.len() - (self.path_end - length));
        self.target = String::from_utf8(bytes).map_err(|_| Refused::bad("target_character"))?;
        self.path_end = length;
        self.odd = false;
        Ok(())
    }

    /// Takes `host [":" port]`.
    pub(super) fn set_authority(&mut self, text: &[u8]) -> Result<(), Refused> {
        if self.authority.as_bytes() != text || text.is_empty() {
            self.take_authority(text)?;
        }
        self.named = true;
        Ok(())
    }

    fn take_authority(&mut self, text: &[u8]) -> Result<(), Refused> {
        self.named = false;
        let end = authority::check(text)?;
        let text = std::str::from_utf8(text).map_err(|_| Refused::bad("host_name"))?;
        self.authority.clear();
        self.authority.push_str(text);
        self.host.clear();
        self.host.push_str(text[..end].strip_suffix('.').unwrap_or(&text[..end]));
        self.host.make_ascii_lowercase();
        Ok(())
    }
}

//! The shares that the document on disk asks for. It may be the user's own.

use std::path::PathBuf;

use sluice_config::validated::{Capability, Validated};
use sluice_config::{Environment, decode, validate};
use sluice_proxy_core::place::takes_part;

use super::plan::{REGIONS, VERSIONS};

/// The shares that regions and versions should get, each adding up to 1 unless nothing may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    pub(super) regions: [f64; REGIONS.len()],
    pub(super) versions: [f64; VERSIONS.len()],
}

/// The document on disk, and what it asks for.
#[derive(Debug)]
pub(super) struct Intended {
    path: PathBuf,
    content: Vec<u8>,
    document: Option<Validated>,
    /// Counts the texts that were read.
    edition: u64,
}

impl Intended {
    /// Of the document at `path`, which was not read yet.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, content: Vec::new(), document: None, edition: 0 }
    }

    /// Reads the document again if its text changed, and tells which text it is by number. A text that is refused changes
    /// no share, as it changes nothing in the proxy.
    pub(super) fn refresh(&mut self) -> u64 {
        // A text that is not there is another one than the story's, too.
        let content = sluice_control::read(&self.path).unwrap_or_default();
        if content != self.content {
            let proven = decode(&content).and_then(|text| validate(text, &Environment::empty()));
            self.document = proven.ok().or_else(|| self.document.take());
            self.content = content;
            self.edition += 1;
        }
        self.edition
    }

    /// Whether the document on disk is this text.
    pub(super) fn is(&self, text: &str) -> bool {
        self.content == text.as_bytes()
    }

    /// What the document asks for while only these regions have endpoints that are in. Absent: more than its weights
    /// decides.
    pub(super) fn shares(&self, alive: impl Fn(usize) -> bool) -> Option<Shares> {
        let document = self.document.as_ref().filter(|document| is_plain(document))?;
        let region = |at: usize| {
            let known = document.regions.iter().find(|known| known.name.as_str() == REGIONS[at].name)?;
            (alive(at) && takes_part(known, Capability::Read)).then(|| known.weight.get())
        };
        let version = |at: usize| {
            let mut known = document.services[0].versions.iter();
            Some(known.find(|known| known.name.as_str() == VERSIONS[at])?.weight.get())
        };
        Some(Shares { regions: shares(std::array::from_fn(region)), versions: shares(std::array::from_fn(version)) })
    }
}

/// Whether shares follow from the weights of regions and versions alone: every request takes one route to one service,
/// whose versions are in every region.
fn is_plain(document: &Validated) -> bool {
    let ([route], [service]) = (&document.routes[..], &document.services[..]) else { return false };
    let everywhere = |pools: usize| pools == document.regions.len();
    let known = |name: &str| VERSIONS.contains(&name);
    route.version.is_none()
        && route.capability.is_none()
        && service.versions.iter().all(|version| everywhere(version.pools.len()) && known(version.name.as_str()))
        && document.regions.iter().all(|region| REGIONS.iter().any(|known| known.name == region.name.as_str()))
}

/// The shares that weights give; of what is not there, none.
pub(super) fn shares<const N: usize>(weights: [Option<u32>; N]) -> [f64; N] {
    let all: u32 = weights.iter().flatten().sum();
    weights.map(|weight| f64::from(weight.unwrap_or(0)) / f64::from(all.max(1)))
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Ports, document};
    use super::*;

    #[test]
    fn shares_are_those_of_the_text_on_disk() {
        let ports: Ports = [[[9001, 9002], [9003, 9004]], [[9005, 9006], [9007, 9008]], [[9009, 9010], [9011, 9012]]];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sluice.yaml");
        let told = document(8080, &ports, [95, 5]);
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(&told);
        let mut intended = Intended::new(path.clone());
        assert_eq!(intended.shares(|_| true), None, "nothing was read yet");
        let first = intended.refresh();
        assert!(intended.is(&told));
        assert_eq!(intended.shares(|_| true).unwrap(), Shares { regions: [0.6, 0.3, 0.1], versions: [0.95, 0.05] });

        let edited = told.replace("weight: 95", "weight: 45").replace("weight: 60", "weight: 70");
        write(&edited);
        let second = intended.refresh();
        assert!(second != first && second == intended.refresh() && !intended.is(&told));
        let lost = intended.shares(|region| region != 1).unwrap();
        assert_eq!(lost, Shares { regions: [70.0 / 80.0, 0.0, 10.0 / 80.0], versions: [0.9, 0.1] });

        write("listeners: [");
        intended.refresh();
        assert_eq!(intended.shares(|region| region != 1), Some(lost), "what is refused changes no share");

        write(&edited.replace("service: shop", "service: shop, version: v2"));
        intended.refresh();
        assert_eq!(intended.shares(|_| true), None, "the route decides, not the weights");

        write(&told);
        let back = intended.refresh();
        std::fs::remove_file(&path).unwrap();
        assert!(intended.refresh() != back && !intended.is(&told), "what is gone is not the story's");
    }
}

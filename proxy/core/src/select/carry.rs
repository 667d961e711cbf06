//! How a worker's knowledge of a service goes on in the next revision: by the names of versions and regions and the
//! addresses of endpoints.

use rand::Rng;
use sluice_config::name::{RegionName, VersionName};

use super::pool::{Pool, Scratch};
use super::{CAPABILITIES, Selector, placement_index};
use crate::place::Placement;
use crate::service::Service;
use crate::split::Strata;

/// For each region and version of a new revision, its index in the old one.
struct Origins {
    regions: Vec<Option<usize>>,
    versions: Vec<Option<usize>>,
}

impl Origins {
    fn of(old: &Service, new: &Service) -> Self {
        let region = |name: &RegionName| old.regions.iter().position(|region| region.name == *name);
        let version = |name: &VersionName| old.versions.iter().position(|version| version.name == *name);
        Self {
            regions: new.regions.iter().map(|now| region(&now.name)).collect(),
            versions: new.versions.iter().map(|now| version(&now.name)).collect(),
        }
    }
}

impl Selector {
    /// For the next revision of a service: splits, placements and balancers go on where the old ones were. O(n log n) in the
    /// endpoints.
    pub fn carry(&self, old: &Service, new: &Service, rng: &mut impl Rng) -> Self {
        let origins = Origins::of(old, new);
        let mut next = Self {
            seen: None,
            zone: self.zone.clone(),
            placements: self.carry_placements(old, new, &origins),
            splits: self.carry_splits(old, new, &origins),
            pools: self.carry_pools(old, new, &origins),
            scratch: Scratch::default(),
        };
        next.refresh(new, rng);
        next
    }

    fn carry_placements(&self, old: &Service, new: &Service, origins: &Origins) -> Vec<Placement> {
        let mut placements = Vec::with_capacity(CAPABILITIES.len() * (new.versions() + 1));
        for capability in CAPABILITIES {
            for version in std::iter::once(None).chain((0..new.versions()).map(Some)) {
                let was = version.map_or(Some(None), |at: usize| origins.versions[at].map(Some));
                placements.push(match was {
                    Some(was) => {
                        let old = &self.placements[placement_index(old, capability, was)];
                        Placement::carry(&new.regions, old, |at| origins.regions[at])
                    }
                    None => Placement::new(new.regions.len()),
                });
            }
        }
        placements
    }

    /// A split goes on from that of the first of its regions that had one.
    fn carry_splits(&self, old: &Service, new: &Service, origins: &Origins) -> Vec<Strata> {
        let carried = new.splits.iter().enumerate().map(|(at, shares)| {
            let regions = (0..new.regions.len()).filter(|region| new.split_of[*region] == Some(at));
            let was = regions.filter_map(|region| origins.regions[region]).find_map(|region| old.split_of[region]);
            match was {
                Some(was) => Strata::carry(shares.clone(), &self.splits[was], |version| origins.versions[version]),
                None => Strata::new(shares.clone()),
            }
        });
        carried.collect()
    }

    fn carry_pools(&self, old: &Service, new: &Service, origins: &Origins) -> Vec<Pool> {
        let carried = new.pools.iter().enumerate().map(|(at, members)| {
            let (region, version) = (at / new.versions(), at % new.versions());
            let pool = Pool::new(new, at, self.zone.as_ref());
            match (origins.regions[region], origins.versions[version]) {
                (Some(region), Some(version)) => {
                    let was = old.pool_index(region, version);
                    pool.carry(&self.pools[was], &old.pools[was], members)
                }
                (None, _) | (_, None) => pool,
            }
        });
        carried.collect()
    }
}

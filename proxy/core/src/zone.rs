//! Decides which part of a pool's requests stays in the proxy's own zone.
//!
//! Envoy's over-provisioning rule: a zone is trusted with its eligible part times a factor (140 %: a zone with 72 % of
//! its weight eligible still takes everything), and what it is not trusted with goes to the other zones, in proportion to
//! their weights. If the two sides together are not trusted with everything, both take in proportion to what they are
//! trusted with. A plain preference would run the own zone into the ground as it fails; no factor would send
//! traffic across for each endpoint that restarts.
//!
//! Zones are compared by name. An endpoint that does not say its zone is in another one. A preference needs a number of
//! endpoints in the own zone, eligible or not, so that a zone with few does not carry all of its proxies alone.

use sluice_config::validated::Zones;

/// The whole of a pool's requests.
pub const PARTS: u32 = 1_000_000;

/// An endpoint, as zones see it.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// In the proxy's own zone.
    pub near: bool,
    /// Its weight if nothing is held back.
    pub whole: u32,
    /// Its weight now.
    pub now: u32,
}

/// Whether the own zone is preferred among endpoints that are in it or not.
pub fn is_preferred(zones: &Zones, near: impl Iterator<Item = bool>) -> bool {
    let (mut inside, mut outside) = (0, 0);
    for near in near {
        *if near { &mut inside } else { &mut outside } += 1;
    }
    outside > 0 && inside >= zones.min_endpoints.max(1)
}

/// How many of [`PARTS`] stay in the own zone.
#[must_use]
pub fn part(zones: &Zones, residents: impl Iterator<Item = Resident>) -> u32 {
    let (mut inside, mut outside) = ((0_u64, 0_u64), (0_u64, 0_u64));
    for Resident { near, whole, now } in residents {
        let side = if near { &mut inside } else { &mut outside };
        *side = (side.0 + u64::from(whole), side.1 + u64::from(now));
    }
    let trusted = |(whole, now): (u64, u64)| {
        let trusted = u128::from(now) * u128::from(PARTS) * u128::from(zones.overprovisioning.get());
        (trusted / (100 * u128::from(whole)).max(1)).min(u128::from(PARTS)) as u32
    };
    let (near, far) = (trusted(inside), trusted(outside));
    match near + far {
        0 => PARTS,
        both if both < PARTS => (u64::from(near) * u64::from(PARTS) / u64::from(both)) as u32,
        _ => near,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_config::percentage::Percentage;
    use sluice_config::validated::OVERPROVISIONING;

    use super::*;

    const ZONES: Zones = Zones { overprovisioning: OVERPROVISIONING, min_endpoints: 2 };

    fn residents(near: (u32, u32), far: (u32, u32)) -> impl Iterator<Item = Resident> {
        let side = |near, (all, up): (u32, u32)| {
            (0..all).map(move |at| Resident { near, whole: 10, now: 10 * u32::from(at < up) })
        };
        side(true, near).chain(side(false, far))
    }

    #[test]
    fn the_own_zone_takes_all_while_it_is_trusted_with_it() {
        assert_eq!(part(&ZONES, residents((10, 10), (20, 20))), PARTS);
        assert_eq!(part(&ZONES, residents((10, 8), (20, 20))), PARTS);
        assert_eq!(part(&ZONES, residents((10, 7), (20, 20))), PARTS * 98 / 100);
        assert_eq!(part(&ZONES, residents((10, 5), (20, 20))), PARTS * 70 / 100);
        assert_eq!(part(&ZONES, residents((10, 0), (20, 20))), 0);
        assert_eq!(part(&ZONES, residents((10, 5), (20, 0))), PARTS, "nobody else can");
        assert_eq!(part(&ZONES, residents((10, 2), (20, 2))), PARTS * 2 / 3, "in proportion to what they can take");
    }

    #[test]
    fn a_preference_needs_enough_endpoints_and_another_zone() {
        assert!(is_preferred(&ZONES, [true, true, false].into_iter()));
        assert!(!is_preferred(&ZONES, [true, false].into_iter()));
        assert!(!is_preferred(&ZONES, [true, true].into_iter()));
    }

    proptest! {
        /// Losing endpoints of the own zone never keeps more in it, and losing others never sends more away. Fails without
        /// the factor's cap or the case of both being short.
        #[test]
        fn more_health_never_means_less(near in (1_u32..20, 0_u32..20), far in (1_u32..20, 0_u32..20), factor in 100_u32..300) {
            let zones = Zones { overprovisioning: Percentage::new(factor).unwrap(), min_endpoints: 1 };
            let (near, far) = ((near.0, near.1.min(near.0)), (far.0, far.1.min(far.0)));
            prop_assume!(near.1 + far.1 > 0);
            let now = part(&zones, residents(near, far));
            prop_assert!(now <= PARTS);
            prop_assert!(far.1 > 0 || now == PARTS, "nobody else can take the rest");
            if near.1 > 0 && near.1 + far.1 > 1 {
                prop_assert!(part(&zones, residents((near.0, near.1 - 1), far)) <= now);
            }
            if far.1 > 0 && near.1 + far.1 > 1 {
                prop_assert!(part(&zones, residents(near, (far.0, far.1 - 1))) >= now);
            }
        }
    }
}

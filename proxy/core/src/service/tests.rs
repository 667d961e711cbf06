use super::*;
use crate::fixture::{compile, regions, set, shop, version};
use crate::split::ONE;

#[test]
fn regions_with_the_same_versions_share_one_split() {
    let document =
        shop(false, vec![version("v1", 90, &[(0, 1), (1, 1), (2, 1)]), version("v2", 10, &[(0, 1), (1, 1)])]);
    let (service, _) = compile(&regions(), &document, &Registry::default());
    assert_eq!(service.splits.len(), 2);
    assert_eq!(service.split_of, [Some(0), Some(0), Some(1)]);
    assert!((service.splits[1].share(0) - 1.0).abs() < 1.0 / ONE as f64);
}

#[test]
fn the_primary_stands_in_first_then_the_heaviest_then_standbys() {
    let mut rows = regions().to_vec();
    rows.reverse();
    assert_eq!(fallbacks(&rows), [2, 1, 0]);
}

#[test]
fn explain_names_the_obstacle_of_each_endpoint() {
    let mut document = shop(true, vec![version("v1", 100, &[(0, 3), (1, 1), (2, 1)]), version("v2", 0, &[(0, 1)])]);
    document.versions[0].pools[0].endpoints[2].weight = sluice_config::value::Weight::ZERO;
    let (service, _) = compile(&regions(), &document, &Registry::default());
    set(&service, 1, 0, false);
    let first = &service.pool(0, 0)[0].endpoint;
    first.step(crate::health::Verdict::Good, &crate::fixture::POLICY);
    let obstacles: Vec<_> = service.explain(Capability::Read, None, None).iter().map(|c| c.obstacle).collect();
    let expected = [
        None,
        Some(Obstacle::Unprobed),
        Some(Obstacle::Weight),
        Some(Obstacle::NotReached),
        Some(Obstacle::Out),
        Some(Obstacle::Standby),
    ];
    assert_eq!(obstacles, expected);
    let pinned = service.explain(Capability::Read, Some(1), None);
    assert_eq!(pinned[3].obstacle, None, "a route that names a version reaches it at weight 0");
}

#[test]
fn what_is_intended_is_what_is_chosen() {
    use crate::fixture::ask;
    use crate::select::Selector;
    use rand::SeedableRng;

    let document = shop(false, vec![version("v1", 60, &[(0, 1), (1, 1), (2, 1)]), version("v2", 40, &[(0, 1)])]);
    let (service, _) = compile(&regions(), &document, &Registry::default());
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let mut selector = Selector::new(&service, None, &mut rng);
    let mut seen = vec![vec![0_u32; 2]; 3];
    for _ in 0..10_000 {
        let spot = selector.choose(&service, &ask(), &mut rng).unwrap().spot;
        seen[spot.region][spot.version] += 1;
    }
    let intended = intended(&regions(), &document, Capability::Read);
    for (seen, share) in seen.iter().flatten().zip(intended.iter().flatten()) {
        assert!((f64::from(*seen) - share * 10_000.0).abs() <= 2.0, "{seen} seen, {share} intended");
    }
    let spare = shop(false, vec![version("v1", 60, &[(2, 1)])]);
    assert_eq!(super::intended(&regions(), &spare, Capability::Read), [[0.0], [0.0], [1.0]], "a standby's turn");
}
